package logfs

import (
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// setDirect switches direct writes on or off, and tells whether they are on.
func setDirect(f vfs.File, on bool) bool {
	fd := f.Fd()
	if fd == vfs.InvalidFd {
		return false
	}
	flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
	if err != nil {
		return false
	}
	if on {
		flags |= unix.O_DIRECT
	} else {
		flags &^= unix.O_DIRECT
	}
	_, err = unix.FcntlInt(fd, unix.F_SETFL, flags)
	return on && err == nil
}

// refused tells whether a write failed because it was direct.
func refused(err error) bool { return errors.Is(err, unix.EINVAL) }

// firstHole returns where the first part of a file is that has no place on the disk yet, or its length.
func firstHole(f vfs.File, length int64) int64 {
	fd := f.Fd()
	if fd == vfs.InvalidFd {
		return length
	}
	at, err := unix.Seek(int(fd), 0, unix.SEEK_HOLE)
	if err != nil {
		return length
	}
	return at
}
