package diskio

import (
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// Uncache has the kernel forget what it keeps of a part of a file in memory, so that a read of it asks the disk. What is not written yet
// stays. It is a hint: where it cannot be followed, reads are what they were.
func Uncache(f vfs.File, off, n int64) {
	fd := f.Fd()
	if g, ok := f.(*file); ok {
		fd = g.fd
	}
	if fd != vfs.InvalidFd {
		_ = unix.Fadvise(int(fd), off, n, unix.FADV_DONTNEED)
	}
}
