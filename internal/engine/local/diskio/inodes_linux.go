package diskio

import (
	"math"

	"golang.org/x/sys/unix"
)

// freeFiles returns how many inodes are free. Btrfs, and others that make them as they are needed, tell of none at all.
func freeFiles(path string) (n int64, known bool) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil || s.Files == 0 {
		return 0, false
	}
	return int64(min(s.Ffree, math.MaxInt64)), true
}
