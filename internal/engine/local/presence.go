package local

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/extent"
)

// What is missing is damage: a store that was made is not opened without what it had. The disks are counted by quorum, the logs by the log
// list, the tables by Pebble; here are the files by which Pebble finds all others, and the extents.

// checkPresence verifies that the files are there by which Pebble finds the others: without them it would begin anew.
func checkPresence(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(names) == 0 {
		return fmt.Errorf("%s, the folder of the key space, is missing or empty; put it back: %w", dir, engine.ErrCorrupt)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if err := checkNames(fs, dir, names); err != nil {
		return err
	}
	missing := func(name string) error {
		return fmt.Errorf("%s is missing, without which the store is not found; put it back: %w", fs.PathJoin(dir, name), engine.ErrCorrupt)
	}
	if newestMarker(names, "format-version") == "" {
		return missing("marker.format-version")
	}
	manifest := newestMarker(names, "manifest")
	switch {
	case manifest == "":
		return missing("marker.manifest")
	case !slices.Contains(names, manifest):
		return missing(manifest)
	case !slices.Contains(names, manifest+companionSuffix):
		return missing(manifest + companionSuffix)
	}
	return nil
}

// lastNumber is the highest number that a file of the key space may have: the log list keeps them in 32 bits, and those of new files go on from
// the highest there is. No store comes near it by itself.
const lastNumber = 1<<32 - 1<<24

// checkNames refuses files that Pebble would take for its own and that it cannot have made: it does not doubt a name, and goes on from the
// highest number there is.
func checkNames(fs vfs.FS, dir string, names []string) error {
	for _, name := range names {
		why := ""
		if rest, ok := strings.CutPrefix(name, "marker."); ok {
			parts := strings.SplitN(rest, ".", 3)
			if _, err := strconv.ParseUint(parts[min(1, len(parts)-1)], 10, 64); err != nil {
				why = "a marker has a number"
			}
		} else if digits, ok := fileNumber(name); ok {
			switch n, err := strconv.ParseUint(digits, 10, 64); {
			case err != nil || n > lastNumber:
				why = "none can have so high a number"
			case digits != fmt.Sprintf("%06d", n):
				why = fmt.Sprintf("the number would be written %06d", n)
			}
		}
		if why != "" {
			return fmt.Errorf("%s is no file of the store, as %s: move it away: %w", fs.PathJoin(dir, name), why, engine.ErrCorrupt)
		}
	}
	return nil
}

// fileNumber returns the digits in the name of a log, table, manifest or file of options.
func fileNumber(name string) (digits string, ok bool) {
	for _, prefix := range []string{"MANIFEST-", "OPTIONS-"} {
		if digits, ok = strings.CutPrefix(name, prefix); ok {
			break
		}
	}
	for _, suffix := range []string{".log", ".sst", ".blob"} {
		if !ok {
			digits, ok = strings.CutSuffix(name, suffix)
		}
	}
	return digits, ok && digits != "" && strings.Trim(digits, "0123456789") == ""
}

// newestMarker returns what the marker of a kind says, by its name: marker.KIND.ITERATION.VALUE.
func newestMarker(names []string, kind string) (value string) {
	var newest uint64
	for _, name := range names {
		rest, ok := strings.CutPrefix(name, "marker."+kind+".")
		if !ok {
			continue
		}
		iteration, target, _ := strings.Cut(rest, ".")
		if n, err := strconv.ParseUint(iteration, 10, 64); err == nil && n >= newest {
			newest, value = n, target
		}
	}
	return value
}

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
		case s.disks.complete():
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
