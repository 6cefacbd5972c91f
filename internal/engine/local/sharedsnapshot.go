package local

import (
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// sharedSnapshots shares one snapshot among the views between two transactions: they would all see the same. To make a snapshot and to
// let it go takes the lock of the whole key space twice and looks for compactions, which costs as much as the read itself.
type sharedSnapshots struct {
	applied atomic.Uint64 // batches applied
	last    atomic.Pointer[sharedSnapshot]
}

// sharedSnapshot is a snapshot in use.
type sharedSnapshot struct {
	snap    *pebble.Snapshot
	applied uint64       // batches that it shows, at least
	users   atomic.Int64 // views, and one for being sharedSnapshots.last, or of a backup; 0: closed
}

// advance tells that a batch was applied, and returns how many were: views that begin from now on see it.
func (m *sharedSnapshots) advance() uint64 { return m.applied.Add(1) }

// enter returns a snapshot that shows every batch that was applied before the call. The caller leaves it.
func (m *sharedSnapshots) enter(db *pebble.DB) *sharedSnapshot {
	applied := m.applied.Load()
	if s := m.last.Load(); s != nil && s.applied == applied && s.join() {
		return s
	}
	s := &sharedSnapshot{snap: db.NewSnapshot(), applied: applied}
	s.users.Store(2)
	if old := m.last.Swap(s); old != nil {
		old.leave()
	}
	return s
}

// drop lets the last snapshot go if it is out of date, or in any case: as long as it is held, what was deleted since takes space.
func (m *sharedSnapshots) drop(always bool) {
	s := m.last.Load()
	if s != nil && (always || s.applied != m.applied.Load()) && m.last.CompareAndSwap(s, nil) {
		s.leave()
	}
}

// join adds a user unless the last one has left already.
func (s *sharedSnapshot) join() bool {
	for {
		n := s.users.Load()
		if n == 0 {
			return false
		}
		if s.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (s *sharedSnapshot) leave() {
	if s.users.Add(-1) == 0 {
		_ = s.snap.Close() // only ever fails when it is closed twice
	}
}
