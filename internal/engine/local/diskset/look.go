package diskset

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// Look tells what is wrong with the record of disk i, and whether the disk is lost by that: its directory is gone, or is another disk's.
func (set *Set) Look(i int) (lost bool, err error) {
	switch b, err := set.read(i); {
	case errors.Is(err, fs.ErrNotExist):
		return true, fmt.Errorf("%s is gone from it: the directory was removed, or its disk unmounted", FormatName)
	case errors.Is(err, diskio.ErrOtherDisk):
		return true, err
	case err != nil:
		return false, fmt.Errorf("it cannot be read: %w", err)
	default:
		if f, _, err := decodeFormat(b); err == nil && !set.is(f, i) {
			return true, diskio.ErrOtherDisk
		}
	}
	return false, nil
}

// Mend writes the record of disk i again if a copy of it is damaged, and tells whether it did, and how many bytes it read. One that cannot
// be read is none that Mend mends, and shows in Look.
func (set *Set) Mend(i int) (n int64, mended bool, err error) {
	set.mu.Lock()
	defer set.mu.Unlock()
	b, err := set.read(i)
	if err != nil {
		return 0, false, nil
	}
	n = int64(len(b))
	if f, whole, err := decodeFormat(b); err == nil && (whole || !set.is(f, i)) {
		return n, false, nil
	}
	d := set.Disks[i]
	d.repair = true
	return n, true, set.put(d, d.format.Load())
}

func (set *Set) read(i int) ([]byte, error) {
	return diskio.ReadFile(set.fs, set.fs.PathJoin(set.Disks[i].Dir, FormatName))
}

// is tells whether a record is of disk i.
func (set *Set) is(f *format, i int) bool { return f.store == set.Store && f.disk == set.IDs[i] }
