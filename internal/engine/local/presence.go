package local

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/extent"
)

// What is missing is damage: a store that was made is not opened without what it had. The disks are counted by quorum (package diskset), the logs
// by their list (package wal), the tables by Pebble, and the files by which it finds them by package guard; here are the extents.

// checkExtents verifies that every extent in which somebody owns a chunk is there, and has the numbers of those that were go on. An extent
// that was accepted as lost is written down; reads of it fail.
func (s *Store) checkExtents() error {
	there := make(map[uint64]bool)
	for _, info := range s.extents.Extents() {
		there[info.ID] = true
	}
	lost, last, err := s.ownedElsewhere(there)
	if err != nil {
		return err
	}
	s.extents.Skip(last)
	for _, id := range lost {
		name := fmt.Sprintf("%016x", id)
		key := systemKey(sysLost, binary.BigEndian.AppendUint64(nil, id))
		if _, known, err := s.db.Get(key); err == nil {
			if err := known.Close(); err != nil {
				return kind(err)
			}
			continue
		} else if !errors.Is(err, pebble.ErrNotFound) {
			return kind(err)
		}
		switch {
		case slices.Contains(s.opts.AcceptMissing, name):
			b := s.db.NewBatch()
			if err := errors.Join(b.Set(key, nil, nil), s.commit(b), b.Close()); err != nil {
				return err
			}
			s.log.Error("the store goes on without an extent, as --accept-missing says: reads of what lay in it fail", zap.String("extent", name))
		case s.disks.Complete():
			return fmt.Errorf("extent %s, in which content lies, is on no disk: there is no %s/%s.NN; put it back. If it is lost for good, start once with "+
				"--accept-missing %s: reads of what lay in it will fail: %w", name, extentDir, name, name, engine.ErrCorrupt)
		default: // it may be on the disks that are missing, and reads say so
			s.log.Error("an extent is on none of the disks that are there", zap.String("extent", name))
		}
	}
	return nil
}

// ownedElsewhere returns the extents that are not there but have chunks with owners, and the highest extent that any chunk was in. It
// looks at one count of each extent that is there.
func (s *Store) ownedElsewhere(there map[uint64]bool) (lost []uint64, last uint64, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: systemKey(sysRef, nil), UpperBound: systemKey(sysRef+1, nil)})
	if err != nil {
		return nil, 0, kind(err)
	}
	defer func() { err = errors.Join(err, kind(it.Close())) }()
	for ok := it.First(); ok; {
		if len(it.Key()) != 2+len(engine.Ref{}) {
			return nil, 0, fmt.Errorf("count of chunk %x: %w", it.Key(), engine.ErrCorrupt)
		}
		ref := engine.Ref(it.Key()[2:])
		id := extent.ID(ref)
		last = max(last, id)
		if !there[id] {
			v, err := it.ValueAndErr()
			if err != nil {
				return nil, 0, kind(err)
			}
			n, err := decodeInt(v)
			if err != nil {
				return nil, 0, fmt.Errorf("count of chunk %x: %w", ref, err)
			}
			moved := false
			if n > 0 {
				if _, moved, err = s.forward(ref); err != nil {
					return nil, 0, err
				}
			}
			if n <= 0 || moved {
				ok = it.Next()
				continue
			}
			lost = append(lost, id)
		}
		if id+1 == 0 {
			break
		}
		ok = it.SeekGE(systemKey(sysRef, binary.BigEndian.AppendUint64(nil, id+1)))
	}
	return lost, last, nil
}
