package local

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blobd/blobd/internal/engine"
)

// reserve is the space on each disk that is left to Pebble's flushes and compactions, and to transactions that make room. Refusing
// the others in time keeps the log from failing, which only a restart mends. Disks on which that is less than an eighth also keep
// what all memtables take when they are flushed.
const (
	reserve    = 64 << 20
	spaceEvery = time.Second
	minLook    = 1 << 20 // bytes that writers take between two looks, at least
)

// memtables is how many there may be before writers wait for a flush.
const memtables = 4

// room counts what writers take between two looks at the disks, so that many fast ones do not pass the limit together.
type room struct {
	left   atomic.Int64 // what may be taken before the next look
	active atomic.Int64 // what those take who write now
	mu     sync.Mutex   // one look at a time
}

// takeRoom admits a write that takes n bytes on a disk. What it admitted ends with giveRoom.
func (s *Store) takeRoom(n int64) error {
	s.room.active.Add(n)
	if s.room.left.Add(-n) >= 0 {
		return nil
	}
	if s.checkSpace() >= 0 {
		return nil
	}
	s.room.active.Add(-n)
	if err := s.state.noRoom(); err != nil {
		return err
	}
	return fmt.Errorf("%w: the writes under way take what is left", engine.ErrNoSpace)
}

func (s *Store) giveRoom(n int64) { s.room.active.Add(-n) }

// chunkRoom is what a chunk takes on a disk, at most: its part of the rows, with their headers and some of what the file system needs.
// One of a block or less lies whole on one disk.
func (s *Store) chunkRoom(size int64) int64 {
	part := max(size/int64(s.disks.k), min(size, 64<<10))
	return part + part/32 + 16<<10
}

// watchSpace refuses writes while a disk in use is nearly full, and lets snapshots go that nobody reads any more.
func (s *Store) watchSpace(ctx context.Context) {
	tick := time.NewTicker(spaceEvery)
	defer tick.Stop()
	for {
		s.checkSpace()
		s.moments.drop(false)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// checkSpace looks at the disks, and returns what writers may take: less than nothing if those under way take too much.
func (s *Store) checkSpace() (left int64) {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	left = math.MaxInt64 / 2
	var full error
	for _, d := range s.disks.disks {
		if d.detail != "" {
			continue
		}
		u, err := s.opts.FS.GetDiskUsage(d.dir)
		if err != nil {
			continue // a disk that is gone shows elsewhere; some file systems cannot tell
		}
		free := int64(min(u.AvailBytes, math.MaxInt64/2))
		keep := int64(max(reserve, min(reserve+memtables*s.opts.MemTableSize, u.TotalBytes/8)))
		if free < keep && full == nil {
			full = fmt.Errorf("%s has %d MiB left, %d are kept in reserve", d.dir, free>>20, keep>>20)
		}
		left = min(left, free-keep)
	}
	s.state.setFull(full)
	left -= s.room.active.Load()
	s.room.left.Store(min(max(left, 0), max(left/8, minLook)))
	return left
}
