package diskset

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
func (set *Set) replace(strays []*Disk, words []string) ([]*Disk, error) {
	for _, word := range words {
		i := slices.IndexFunc(set.IDs[:len(set.Disks)], func(id [16]byte) bool { return strings.EqualFold(word, diskWord(id)) })
		if i < 0 {
			return nil, fmt.Errorf("the store has no disk %s: blobd disk list names those that it has", word)
		}
		if d := set.Disks[i]; d.format.Load() != nil {
			return nil, fmt.Errorf("disk %s is there, in %s: leave its directory out if another is to take its place, and empty it only when all is rebuilt", word, d.Dir)
		}
		j := slices.IndexFunc(strays, func(d *Disk) bool { return d.blank && d.lock != nil && d.Detail == "" })
		if j < 0 {
			return nil, fmt.Errorf("there is no empty directory among those given that could take the place of disk %s: make one on the new disk, and give it in place of the old: %w",
				word, engine.ErrUnavailable)
		}
		d := strays[j]
		strays = slices.Delete(strays, j, j+1)
		set.log.Warn("an empty directory takes the place of a disk; what was on that is rebuilt", zap.String("disk", word), zap.String("dir", d.Dir))
		d.format.Store(set.unwritten(i))
		d.repair = true
		set.Disks[i] = d
	}
	return strays, nil
}

// rebuildable refuses replacements after which content could not be rebuilt: of the disks that stay too few have all that was written. One may be
// out of date, or have been replaced before and lack columns still. That is seen from without, before anything is changed.
func (set *Set) rebuildable() error {
	whole := 0
	columns := make(map[uint64]int)
	for _, d := range set.Disks {
		if !d.Usable() || d.blank {
			continue
		}
		if d.format.Load().epoch == set.epoch {
			whole++
		}
		names, err := set.fs.List(set.fs.PathJoin(d.Dir, ExtentDir))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("list %s in data directory %s: %w", ExtentDir, d.Dir, diskio.Kind(err))
		}
		for _, name := range names {
			if id, ok := extent.Number(name); ok {
				columns[id]++
			}
		}
	}
	short := 0
	for _, n := range columns {
		if n < set.K {
			short++
		}
	}
	if whole >= set.K && short == 0 {
		return nil
	}
	return fmt.Errorf("%d of the disks that stay are up to date, and %d extents have fewer than %d parts on them, so that not all could be rebuilt: give the old disks for now, "+
		"start, and replace one when blobd health says that nothing waits to be healed. If they are lost for good, --lossy takes the new ones in and gives up what they alone had: %w",
		whole, short, set.K, engine.ErrUnavailable)
}
