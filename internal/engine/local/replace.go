package local

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskio"
	"github.com/blobd/blobd/internal/engine/local/extent"
)

// replace takes empty directories in the place of disks that are lost for good, by the operator's word, and returns the directories that are
// left. Such a disk has no vote in which history is the newest: it has seen none. It gets its record with the others, when the start
// has found everything good; until then the directory is what it was. It has the id of the disk that it replaces, and so it is to all
// others a disk that was away and missed everything.
func (set *diskSet) replace(strays []*disk, words []string) ([]*disk, error) {
	for _, word := range words {
		i := slices.IndexFunc(set.ids[:len(set.disks)], func(id [16]byte) bool { return strings.EqualFold(word, diskWord(id)) })
		if i < 0 {
			return nil, fmt.Errorf("the store has no disk %s: blobd disk list names those that it has", word)
		}
		if d := set.disks[i]; d.format.Load() != nil {
			return nil, fmt.Errorf("disk %s is there, in %s: leave its directory out if another is to take its place, and empty it only when all is rebuilt", word, d.dir)
		}
		j := slices.IndexFunc(strays, func(d *disk) bool { return d.blank && d.lock != nil && d.detail == "" })
		if j < 0 {
			return nil, fmt.Errorf("there is no empty directory among those given that could take the place of disk %s: make one on the new disk, and give it in place of the old: %w",
				word, engine.ErrUnavailable)
		}
		d := strays[j]
		strays = slices.Delete(strays, j, j+1)
		set.log.Warn("an empty directory takes the place of a disk; what was on that is rebuilt", zap.String("disk", word), zap.String("dir", d.dir))
		// Epoch 0 would be that of a store that is being made.
		d.format.Store(&format{version: formatVersion, store: set.store, disk: set.ids[i], index: uint8(i), k: uint8(set.k), m: uint8(set.m), epoch: 1, disks: set.ids})
		d.repair = true
		set.disks[i] = d
	}
	return strays, nil
}

// rebuildable refuses replacements after which content could not be rebuilt: of the disks that stay too few have all that was written. One may be
// out of date, or have been replaced before and lack columns still. That is seen from without, before anything is changed.
func (set *diskSet) rebuildable() error {
	whole := 0
	columns := make(map[uint64]int)
	for _, d := range set.disks {
		if !d.usable() || d.blank {
			continue
		}
		if d.format.Load().epoch == set.epoch {
			whole++
		}
		names, err := set.fs.List(set.fs.PathJoin(d.dir, extentDir))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("list %s in data directory %s: %w", extentDir, d.dir, kind(err))
		}
		for _, name := range names {
			if id, ok := extent.Number(name); ok {
				columns[id]++
			}
		}
	}
	short := 0
	for _, n := range columns {
		if n < set.k {
			short++
		}
	}
	if whole >= set.k && short == 0 {
		return nil
	}
	return fmt.Errorf("%d of the disks that stay are up to date, and %d extents have fewer than %d parts on them, so that not all could be rebuilt: give the old disks for now, "+
		"start, and replace one when blobd health says that nothing waits to be healed. If they are lost for good, --lossy takes the new ones in and gives up what they alone had: %w",
		whole, short, set.k, engine.ErrUnavailable)
}

// DiskInfo is what is known of one disk of a store, from the outside.
type DiskInfo struct {
	Name  string // by which AcceptMissing and Replace know it; empty if it is none of a store
	Index int
	Dir   string // empty if it is in none of the directories
	State string // what a person has to know of it
	Good  bool   // it is there, and as far as the newest
}

// Disks tells which disks a store has and what is in the directories, from blobd.format alone. It changes nothing and takes no lock, so
// the store may be open.
func Disks(opts Options) ([]DiskInfo, error) {
	opts = opts.withDefaults()
	fs, dirs := opts.FS, opts.Dirs
	found := make(map[string]*format)
	var newest *format
	states := make(map[string]string)
	for _, dir := range dirs {
		b, err := diskio.ReadFile(fs, fs.PathJoin(dir, formatName))
		switch {
		case err == nil:
			f, _, err := decodeFormat(b)
			if err != nil {
				states[dir] = formatName + ": " + err.Error()
				continue
			}
			found[dir] = f
			if newest == nil || f.epoch > newest.epoch {
				newest = f
			}
		case errors.Is(err, os.ErrNotExist):
			states[dir] = "no disk of a store: not there, not mounted, or empty"
			if names, err := fs.List(dir); err == nil && slices.ContainsFunc(names, func(name string) bool { return name == metaDir || name == extentDir }) {
				states[dir] = formatName + " is missing from it"
			}
		default:
			states[dir] = err.Error()
		}
	}
	if newest == nil {
		return nil, fmt.Errorf("there is no store in %s: %w", strings.Join(dirs, ", "), engine.ErrUnavailable)
	}
	list := make([]DiskInfo, newest.n())
	for i := range list {
		list[i] = DiskInfo{Name: diskWord(newest.disks[i]), Index: i, State: "missing: in none of the directories"}
		if newest.left&(1<<i) != 0 {
			list[i].State = "missing: the store goes on without it, as --accept-missing said"
		}
	}
	for _, dir := range dirs {
		f := found[dir]
		switch {
		case f == nil:
			list = append(list, DiskInfo{Index: -1, Dir: dir, State: states[dir]})
		case f.store != newest.store:
			list = append(list, DiskInfo{Index: -1, Dir: dir, State: "a disk of another store"})
		case list[f.index].Dir != "":
			list = append(list, DiskInfo{Index: -1, Dir: dir, State: "a copy of " + list[f.index].Dir})
		default:
			d := &list[f.index]
			d.Dir, d.Good, d.State = dir, f.epoch == newest.epoch, "in use"
			if !d.Good {
				d.State = "out of date: a start with all disks brings it what it missed"
			} else if newest.members&(1<<f.index) != 0 {
				d.State = "in use, with metadata"
			}
		}
	}
	return list, nil
}
