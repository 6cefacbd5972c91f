package local

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/guard"
	"github.com/blobd/blobd/internal/engine/local/wal"
)

// A full disk: space that was deleted is reclaimed at once, and not when Pebble's compactions or the collector would come to it, and a start
// without space to replay the log serves what it has, read-only.

const spaceEvery = time.Second

// watchSpace looks at the disks once in a while, and lets snapshots go that nobody reads any more.
func (s *Store) watchSpace(ctx context.Context) {
	tick := time.NewTicker(spaceEvery)
	defer tick.Stop()
	for {
		s.space.Check()
		s.snapshots.drop(false)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// collectNow has the collector work.
func (s *Store) collectNow() {
	select {
	case s.collectDue <- struct{}{}:
	default:
	}
}

// unflushed is the size of the live write-ahead log in bytes, for what the memtables hold.
func (s *Store) unflushed() int64 {
	if s.readOnly || !s.gate.enter() {
		return 0
	}
	defer s.gate.leave()
	return int64(s.db.Metrics().WAL.Size)
}

// reclaim makes room after deletes: it collects, and then compacts the key space, until there is room.
func (s *Store) reclaim(ctx context.Context) error {
	if err := s.Collect(ctx); err != nil && !errors.Is(err, engine.ErrNoSpace) {
		return err
	}
	if s.space.Check(); !s.space.Short() {
		return nil
	}
	err := kind(s.compact(ctx))
	s.space.Check()
	if err != nil {
		return fmt.Errorf("compact the key space: %w", err)
	}
	return nil
}

const (
	// compactRun is the content of the lowest level that is compacted at a time, in bytes. The new tables are written before the old
	// ones go.
	compactRun = 16 << 20
	// compactPatience is for one run. Pebble tries for ever what fails in its background, a flush for want of room say, and whoever waits
	// for that waits as long.
	compactPatience = 20 * time.Second
)

// compact takes what was deleted out of the key space's tables, from one end to the other, until there is room. Ranges in which only
// the lowest level has tables cost nothing: there is nothing to take out.
func (s *Store) compact(ctx context.Context) error {
	if !s.gate.enter() {
		return engine.ErrClosed
	}
	defer s.gate.leave()
	s.snapshots.drop(true) // what its snapshot shows cannot be taken out
	if err := s.flush(); err != nil {
		return err
	}
	levels, err := s.db.SSTables()
	if err != nil {
		return err
	}
	// The tables of the level with most content cut the key space into runs.
	var most []pebble.SSTableInfo
	var size uint64
	for _, tables := range levels[1:] {
		var sum uint64
		for _, t := range tables {
			sum += t.Size
		}
		if sum >= size {
			most, size = tables, sum
		}
	}
	from := []byte{0}
	var run uint64
	var errs []error
	for _, t := range most {
		if run += t.Size; run < min(compactRun, uint64(s.space.Spare)) {
			continue
		}
		run = 0
		to := append(slices.Clone(t.Largest.UserKey), 0)
		// Where one run does not fit another may.
		if err := s.compactRange(ctx, from, to); err != nil && !errors.Is(err, engine.ErrNoSpace) {
			return err
		} else if err != nil {
			errs = append(errs, err)
		}
		if s.space.Check(); !s.space.Short() {
			return nil
		}
		from = to
	}
	return errors.Join(append(errs, s.compactRange(ctx, from, []byte{0xff}))...)
}

// compactRange compacts a run.
func (s *Store) compactRange(ctx context.Context, from, to []byte) error {
	if err := s.state.working(); err != nil {
		return err
	}
	run, cancel := context.WithTimeout(ctx, compactPatience)
	defer cancel()
	err := s.db.Compact(run, from, to, false)
	if err != nil && run.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: no room was found in %v", engine.ErrNoSpace, compactPatience)
	}
	return kind(err)
}

// openKeys opens the key space. Pebble flushes its logs first, and tries that for ever where there is no room: then they are only read
// into memory, and rescue decides how it goes on.
func (s *Store) openKeys() (err error) {
	if s.readOnly, err = s.cramped(); err != nil {
		return err
	}
	if !s.readOnly {
		err = kind(s.logs.Rewrite())
		if s.readOnly = errors.Is(err, engine.ErrNoSpace) && !s.disks.Fresh(); err != nil && !s.readOnly {
			return err
		}
	}
	if !s.readOnly {
		members := s.disks.Replicas()
		if s.meta != nil {
			members = s.members()
		}
		if err := s.disks.Start(members, s.logs.Start()); err != nil {
			return err
		}
	}
	fs, dir := s.metaFS()
	lower := wal.New(fs, s.disks.LogFrames(), s.logs, s.state.outwait)
	s.db, err = openPebble(fs, dir, guard.New(lower, s.state, s.space.Fits), s.opts, s.state, s.disks.LogFrames(), s.disks.Fresh(), s.readOnly)
	if err != nil {
		return fmt.Errorf("open the key space: %w", kind(err))
	}
	return s.state.Failed()
}

// cramped tells whether the disks may not have the room, with their reserves, in which a start flushes its logs.
func (s *Store) cramped() (bool, error) {
	if !s.space.Watched() || s.disks.Fresh() {
		return false, nil
	}
	if s.space.Lacks(s.space.Spare) == nil {
		return false, nil // as writers leave it
	}
	need, err := s.logBytes()
	return s.space.Lacks(need+s.space.Last) != nil, err
}

// logBytes is what the logs hold that a start has to flush.
func (s *Store) logBytes() (int64, error) {
	fs, dir := s.metaFS()
	n, err := s.disks.LogFrames().Size(fs, dir)
	return n, kind(err)
}

// rescue makes room, before a start on a full disk, by what takes none: it drops extents in which nothing lives. If that is not enough
// the store serves what it has and takes no writes.
func (s *Store) rescue() error {
	if !s.readOnly {
		return nil
	}
	need, err := s.logBytes()
	if err != nil {
		return err
	}
	need += s.space.Last
	if s.space.Lacks(need) != nil {
		if err := s.dropDead(); err != nil {
			return err
		}
	}
	lack := s.space.Lacks(need)
	if lack == nil {
		if err := s.reopenKeys(); err != nil {
			return err
		}
	}
	if s.readOnly {
		if lack == nil { // it went between
			lack = errors.New("a disk was full when the logs were to be written")
		}
		_ = s.state.Fail(fmt.Errorf("%w: %w to start: make room there by other means and start again; until then everything can be read", engine.ErrNoSpace, lack))
	}
	return nil
}

// reopenKeys opens the key space for writing after it was opened for reading.
func (s *Store) reopenKeys() error {
	s.reopening.Lock()
	defer s.reopening.Unlock()
	err := s.db.Close()
	if s.db = nil; err != nil {
		return fmt.Errorf("open the key space: %w", kind(err))
	}
	return s.openKeys()
}

// dropDead drops the extents in which nothing lives.
func (s *Store) dropDead() error {
	// What made the chunks garbage must not be lost by a crash after their bytes are.
	fs, dir := s.metaFS()
	names, err := fs.List(dir)
	if err != nil {
		return kind(err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".log") {
			continue
		}
		f, err := fs.Open(fs.PathJoin(dir, name))
		if err != nil {
			return kind(err)
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return fmt.Errorf("sync %s: %w", name, kind(err))
		}
	}
	all, _, err := s.survey(context.Background())
	if err != nil {
		return err
	}
	for _, x := range all {
		if x.live > 0 || x.info.Open || x.info.Data == 0 {
			continue
		}
		if err := s.extents.Drop(x.info.ID); err != nil {
			return err
		}
		s.log.Info("dropped an extent in which nothing lives, to make room for the start", zap.Uint64("extent", x.info.ID))
	}
	return nil
}
