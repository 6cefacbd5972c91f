//go:build unix

package local

import (
	"fmt"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// linkedFile is a file being written that has a name still whenever it is synced. The system goes on to write and sync a file that was
// removed, and nobody would find again what was acknowledged by that.
type linkedFile struct {
	vfs.File
	name string
	fd   int
}

// linked watches over the name of a file.
func linked(f vfs.File, name string) vfs.File {
	if fd := f.Fd(); fd != vfs.InvalidFd {
		return &linkedFile{f, name, int(fd)}
	}
	return f
}

// Linked returns an error if the file has no name any more.
func (f *linkedFile) Linked() error {
	n, err := links(f.fd)
	if err != nil {
		return fmt.Errorf("stat %s: %w", f.name, err)
	}
	if n == 0 {
		return fmt.Errorf("%s was removed while it was in use", f.name)
	}
	return nil
}

// Sync implements vfs.File.
func (f *linkedFile) Sync() error {
	if err := f.File.Sync(); err != nil {
		return err
	}
	return f.Linked()
}

// SyncData implements vfs.File.
func (f *linkedFile) SyncData() error {
	if err := f.File.SyncData(); err != nil {
		return err
	}
	return f.Linked()
}

// SyncTo implements vfs.File.
func (f *linkedFile) SyncTo(length int64) (fullSync bool, err error) {
	if fullSync, err = f.File.SyncTo(length); err == nil && fullSync {
		err = f.Linked()
	}
	return fullSync, err
}

// linksByStat counts the names of an open file.
func linksByStat(fd int) (uint64, error) {
	var s syscall.Stat_t
	err := syscall.Fstat(fd, &s)
	return uint64(s.Nlink), err
}
