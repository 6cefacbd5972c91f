//go:build unix

package privatefs

import (
	"fmt"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// inode is which file of which file system it is.
type inode struct{ dev, ino uint64 }

// linkedFile is a file being written that is found under its name still whenever it is synced. The system goes on to write and sync a file
// that was removed, whose folder was moved, or over which another disk or a copy was mounted, and nobody would find again what was acknowledged
// by that.
type linkedFile struct {
	vfs.File
	owned *owned
	name  atomic.Pointer[string]
	is    inode
}

// linked watches over the name of a file.
func (o *owned) linked(f vfs.File, name string) (vfs.File, error) {
	fd := f.Fd()
	if fd == vfs.InvalidFd {
		return f, nil
	}
	is, err := inodeOf(int(fd), "")
	if err != nil {
		return f, fmt.Errorf("stat %s: %w", name, err)
	}
	l := &linkedFile{File: f, owned: o, is: is}
	l.name.Store(&name)
	o.files.Store(name, l)
	return l, nil
}

// renamed has an open file known by its new name.
func (o *owned) renamed(oldname, newname string) {
	if f, ok := o.files.LoadAndDelete(oldname); ok {
		f.(*linkedFile).name.Store(&newname)
		o.files.Store(newname, f)
	}
}

// Linked returns an error if the file is not what is found under its name.
func (f *linkedFile) Linked() error {
	name := *f.name.Load()
	switch is, err := inodeOf(0, name); {
	case err == syscall.ENOENT || err == syscall.ENOTDIR:
		if now := *f.name.Load(); now != name { // it was given another one meanwhile
			return f.Linked()
		}
		return fmt.Errorf("%s was removed while it was in use", name)
	case err != nil:
		return fmt.Errorf("stat %s: %w", name, err)
	case is != f.is:
		return fmt.Errorf("%s: %w", name, diskio.ErrOtherDisk)
	}
	return nil
}

// Close implements vfs.File.
func (f *linkedFile) Close() error {
	f.owned.files.CompareAndDelete(*f.name.Load(), f)
	return f.File.Close()
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

// inodeByStat is inodeOf by what every system has.
func inodeByStat(fd int, name string) (inode, error) {
	var s syscall.Stat_t
	var err error
	if name == "" {
		err = syscall.Fstat(fd, &s)
	} else {
		err = syscall.Lstat(name, &s)
	}
	return inode{uint64(s.Dev), uint64(s.Ino)}, err
}
