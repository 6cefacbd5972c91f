//go:build unix && !linux

package local

func inodeOf(fd int, name string) (inode, error) { return inodeByStat(fd, name) }
