//go:build unix && !linux

package privatefs

func inodeOf(fd int, name string) (inode, error) { return inodeByStat(fd, name) }
