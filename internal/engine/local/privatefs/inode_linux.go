package privatefs

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// inodeOf tells which file or folder has a name, or with an empty name is open as fd, and asks for nothing else. A file whose times were asked for
// gets a new time with its next write (multigrain timestamps, Linux 6.13), and not only when the coarse clock has moved: every sync of the log
// would change its inode.
func inodeOf(fd int, name string) (inode, error) {
	var s unix.Statx_t
	flags := unix.AT_SYMLINK_NOFOLLOW
	if name == "" {
		flags = unix.AT_EMPTY_PATH
	} else {
		fd = unix.AT_FDCWD
	}
	err := unix.Statx(fd, name, flags, unix.STATX_INO, &s)
	if err == syscall.ENOSYS || err == syscall.EPERM || err == nil && s.Mask&unix.STATX_INO == 0 { // an older system, or one that is kept from it
		return inodeByStat(fd, name)
	}
	return inode{unix.Mkdev(s.Dev_major, s.Dev_minor), s.Ino}, err
}
