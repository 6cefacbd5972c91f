package local

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskset"
	"github.com/blobd/blobd/internal/engine/local/extent"
)

// restoreMark is in engine.SpaceRestore from before there is a store until Finish: a store that has it was not filled to the end.
var restoreMark = []byte{byte(engine.SpaceRestore), 0}

// lostExtent holds the chunks of a restored store whose bytes no backup has. It has no files.
const lostExtent = 1

// errUnfinished: a restore did not come to its end.
var errUnfinished = errors.New("the restore that made the store was interrupted, or ran out of room, and it holds a part of the backup only: remove what is in its directories and restore again")

// refuseRestore tells what is in the directories that are to be filled: a store, or a part of one.
func refuseRestore(o Options) error {
	o.Restore, o.Still, o.Logger = false, true, zap.NewNop()
	s, err := Open(o)
	if err == nil {
		_ = s.Close() // it was read only
	}
	if errors.Is(err, errUnfinished) {
		return errUnfinished
	}
	return fmt.Errorf("%w in %s: name empty directories to restore to", diskset.ErrOccupied, strings.Join(o.Dirs, ", "))
}

// checkRestored refuses a store that was to be filled and was not.
func (s *Store) checkRestored() error {
	_, c, err := s.db.Get(restoreMark)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return nil
	case err != nil:
		return kind(err)
	}
	return errors.Join(errUnfinished, c.Close())
}

// markRestore marks a store that is to be filled.
func (s *Store) markRestore() error {
	if !s.opts.Restore {
		return nil
	}
	s.extents.Skip(lostExtent)
	b := s.db.NewBatch()
	defer b.Close()
	if err := b.Set(restoreMark, nil, nil); err != nil {
		return err
	}
	return s.commit(b)
}

// Load implements engine.Restorer.
func (s *Store) Load(ctx context.Context, fn func(engine.Tx) error) error {
	if !s.opts.Restore {
		return errors.New("the store is not made to be filled from a backup")
	}
	return s.Update(ctx, nil, fn) // every key begins with nothing
}

// Lost implements engine.Restorer.
func (s *Store) Lost(size int64) engine.Ref {
	ref := extent.Nowhere(lostExtent, s.lost.Add(1), size)
	s.pins.pin(ref)
	return ref
}

// Finish implements engine.Restorer.
func (s *Store) Finish(ctx context.Context, stamp engine.Stamp) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	err := errors.Join(b.DeleteRange([]byte{byte(engine.SpaceRestore)}, []byte{byte(engine.SpaceRestore) + 1}, nil),
		b.Merge(systemKey(sysStamp, nil), appendInt(nil, int64(stamp)), nil))
	if s.lost.Load() > 0 {
		err = errors.Join(err, b.Set(systemKey(sysLost, binary.BigEndian.AppendUint64(nil, lostExtent)), nil, nil))
	}
	if err != nil {
		return err
	}
	return s.commit(b)
}
