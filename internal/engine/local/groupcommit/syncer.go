// Package groupcommit makes what was applied to a log durable, for many transactions by one sync.
//
// A sync costs several times what it takes to write a small blob into the log, so whoever comes while one is under way waits for the
// next, together with all others who do.
//
// Under many writers that alone makes small groups, of those few who come during one sync. But most will be back: their clients
// send the next request when they have the answer. So where a crowd waits, the next sync is held back until enough of those who were
// waiting when the one before ended wait for it, or until patience is over, as some may not come back. Enough is all of a small crowd,
// which so shares its syncs; of a large one it is half, as the processor has the requests of the others to work on meanwhile.
// Fewer than a crowd are never held up, and where none came back in time the next few syncs are not held back either.
package groupcommit

import (
	"slices"
	"sync"
	"time"

	"github.com/blobd/blobd/internal/speedup"
)

// Syncer has a log synced.
type Syncer struct {
	sync     func() error  // makes durable all that was applied before the call
	patience time.Duration // longest that a sync is held back; none is if it is 0

	mu    sync.Mutex
	next  *Group // whose sync has not begun; nil if nobody waits for one
	under *Group // the one before: its sync began last, or nobody may join it any more
	skip  int    // so many syncs are not held back
	stuck error  // why nobody waits; nil if they do

	took, sizes Tally // guarded by mu: syncs by nanoseconds and by members
}

// Group is those who share a sync. The first of them has it made.
type Group struct {
	size    int           // guarded by Syncer.mu, final when the sync begins
	want    int           // guarded by Syncer.mu: the size at which whole is closed; 0 while nobody waits for that
	whole   chan struct{} // closed when it has the wanted size
	done    chan struct{} // closed when the sync has ended; what follows is final then
	waiting int           // those who shared the sync and those who waited for the next one when it ended
	err     error

	// One channel for both ends of the wait: a select over two that all share is as dear as the rest of the wait, for each of a crowd.
	told  chan struct{} // closed when nobody has to wait any more; what follows is final then
	ended bool          // the sync has
	stuck error         // why it is not waited for, if it has not
}

// tell lets those go who wait. Called with Syncer.mu held.
func (g *Group) tell(ended bool, stuck error) {
	select {
	case <-g.told:
	default:
		g.ended, g.stuck = ended, stuck
		close(g.told)
	}
}

// Wait returns how the sync ended, or, with ended false, why it is not waited for any longer.
func (g *Group) Wait() (ended bool, err error) {
	if <-g.told; g.ended {
		return true, g.err
	}
	return false, g.stuck
}

// Outcome returns how the sync ended, however long that takes.
func (g *Group) Outcome() error {
	<-g.done
	return g.err
}

const (
	crowd    = 4 // transactions waiting from which on a sync is held back
	small    = 8 // those of which it waits for all: half of them would cost more syncs than the processor saves
	patience = 400 * time.Microsecond
	skipped  = 32 // syncs that are not held back after one was in vain
)

// New returns a Syncer by a function that makes durable all that was applied before its call.
func New(sync func() error) *Syncer {
	s := &Syncer{sync: sync, patience: patience, took: newTally(tookBounds), sizes: newTally(sizeBounds)}
	if !speedup.SyncGroups.On() {
		s.patience = 0
	}
	return s
}

// Begin returns the group whose sync makes durable all that was applied before the call.
func (s *Syncer) Begin() *Group {
	g, before, first := s.join()
	if first {
		// Not by the caller, who may be told to go before the disk has answered.
		go s.lead(g, before)
	}
	return g
}

// lead has the sync of a group made, after that of the one before.
func (s *Syncer) lead(g, before *Group) {
	if before != nil {
		<-before.done
		if before.waiting >= crowd && s.patience > 0 {
			s.gather(g, enough(before.waiting))
		}
	}
	s.mu.Lock()
	if s.next == g {
		s.next, s.under = nil, g
	}
	s.mu.Unlock()
	began := time.Now()
	g.err = s.sync()
	took := time.Since(began)
	s.mu.Lock()
	s.took.add(int64(took))
	s.sizes.add(int64(g.size))
	speedup.Syncs.Add(0, 1)
	speedup.SyncWrites.Add(0, int64(g.size))
	g.waiting = g.size
	if s.next != nil {
		g.waiting += s.next.size
	}
	g.tell(true, nil)
	s.mu.Unlock()
	close(g.done)
}

// Tallies are the syncs so far by how long they took, in nanoseconds, and by how many shared one.
func (s *Syncer) Tallies() (took, sizes Tally) {
	s.mu.Lock()
	defer s.mu.Unlock()
	took, sizes = s.took, s.sizes
	took.Counts, sizes.Counts = slices.Clone(took.Counts), slices.Clone(sizes.Counts)
	return took, sizes
}

// Hold lets those go who wait, and has nobody wait from now on; with nil, those wait again who come. The syncs go on.
func (s *Syncer) Hold(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range []*Group{s.under, s.next} {
		if g != nil && why != nil {
			g.tell(false, why)
		}
	}
	if why == nil && s.stuck != nil && s.next != nil { // whoever comes now does not join those who did not wait
		s.next, s.under = nil, s.next
	}
	s.stuck = why
}

// join adds the caller to the group whose sync comes next. Its first member is told so, and which group's sync comes before.
func (s *Syncer) join() (g, before *Group, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if first = s.next == nil; first {
		s.next = &Group{done: make(chan struct{}), told: make(chan struct{})}
		if s.stuck != nil {
			s.next.tell(false, s.stuck)
		}
	}
	g = s.next
	if g.size++; g.size == g.want {
		close(g.whole)
	}
	return g, s.under, first
}

// enough is for how many of so many a sync is held back.
func enough(waiting int) int { return max(min(waiting, small), waiting/2) }

// gather waits until a group has so many members, but not longer than patience.
func (s *Syncer) gather(g *Group, want int) {
	s.mu.Lock()
	if g.size >= want || s.skip > 0 {
		s.skip = max(0, s.skip-1)
		s.mu.Unlock()
		return
	}
	g.want, g.whole = want, make(chan struct{})
	s.mu.Unlock()
	speedup.SyncsHeld.Add(0, 1)
	timer := time.NewTimer(s.patience)
	defer timer.Stop()
	select {
	case <-g.whole:
	case <-timer.C:
	}
	s.mu.Lock()
	if g.size < crowd {
		speedup.SyncsInVain.Add(0, 1)
		s.skip = skipped
	}
	s.mu.Unlock()
}
