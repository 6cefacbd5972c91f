// Package privatefs is the system's file system for what a store keeps.
//
//   - What is made is for the user alone whom the process runs as, whatever the umask: it holds the keys of accounts, and content that has
//     been read past every check.
//   - A data directory is locked, and nothing is looked for, made, renamed or removed in one, or in a folder of it, that is not the same
//     one still. A sync of a file that is no longer found under its name fails.
//   - What is neither a file nor a folder is refused, and waited for by nobody.
package privatefs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine/local/diskio"
)

const (
	privateDir  = 0o700
	privateFile = 0o600
)

// FS implements vfs.FS.
type FS struct {
	vfs.FS
	owned *owned
}

// New returns the system's file system for stores whose data directories have folders of these names.
func New(folders ...string) FS {
	return FS{vfs.Default, &owned{folders: folders, dirs: make(map[string]*os.File)}}
}

// RealFiles tells logfs that files are the system's.
func (p FS) RealFiles() {}

// plain refuses what is neither a file nor a folder. To open a named pipe may wait for ever, and a link leads to where another disk's
// files may be, or to one that is not mounted. Only a data directory, or one above it, may be a link.
func (o *owned) plain(name string) error {
	info, err := os.Lstat(name)
	if err != nil {
		return nil // what is to be done with it says so
	}
	what := ""
	switch mode := info.Mode(); {
	case mode.IsRegular(), mode.IsDir():
		return nil
	case mode&os.ModeSymlink != 0:
		if to, err := os.Stat(name); err == nil && to.IsDir() && !o.folder(name) {
			return nil
		}
		what = "a symbolic link"
	case mode&os.ModeNamedPipe != 0:
		what = "a named pipe"
	case mode&os.ModeSocket != 0:
		what = "a socket"
	case mode&os.ModeDevice != 0:
		what = "a device"
	default:
		what = mode.Type().String()
	}
	return fmt.Errorf("%s is %s; move it away, and put back the file or folder that was there: %w", name, what, diskio.ErrNotPlain)
}

// ready tells whether a file may be used: its folder is the store's, and it is one.
func (p FS) ready(name string) error {
	if err := p.owned.file(name); err != nil {
		return err
	}
	return p.owned.plain(name)
}

// opened watches over a file that is being written. That its folder is the same is looked at again, as another may have come meanwhile.
func (p FS) opened(f vfs.File, name string, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	l, err := p.owned.linked(f, name)
	if err == nil {
		err = p.owned.file(name)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Open implements vfs.FS.
func (p FS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if err := p.ready(name); err != nil {
		return nil, err
	}
	return p.FS.Open(name, opts...)
}

// OpenDir implements vfs.FS.
func (p FS) OpenDir(name string) (vfs.File, error) {
	if err := errors.Join(p.owned.dir(name), p.owned.plain(name)); err != nil {
		return nil, err
	}
	return p.FS.OpenDir(name)
}

// ReuseForWrite implements vfs.FS.
func (p FS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := errors.Join(p.ready(oldname), p.ready(newname)); err != nil {
		return nil, err
	}
	f, err := p.FS.ReuseForWrite(oldname, newname, category)
	return p.opened(f, newname, err)
}

// List implements vfs.FS.
func (p FS) List(dir string) ([]string, error) {
	if err := errors.Join(p.owned.dir(dir), p.owned.plain(dir)); err != nil {
		return nil, err
	}
	return p.FS.List(dir)
}

// Stat implements vfs.FS.
func (p FS) Stat(name string) (vfs.FileInfo, error) {
	if err := errors.Join(p.owned.dir(name), p.ready(name)); err != nil {
		return nil, err
	}
	return p.FS.Stat(name)
}

// Create implements vfs.FS. Before the mode is right the directory keeps others out.
func (p FS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := p.ready(name); err != nil {
		return nil, err
	}
	f, err := p.FS.Create(name, category)
	if err == nil {
		err = closing(f, os.Chmod(name, privateFile))
	}
	return p.opened(f, name, err)
}

// OpenReadWrite implements vfs.FS. It makes a file that is not there.
func (p FS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if err := p.ready(name); err != nil {
		return nil, err
	}
	f, err := p.FS.OpenReadWrite(name, category, opts...)
	if err == nil {
		err = closing(f, os.Chmod(name, privateFile))
	}
	return p.opened(f, name, err)
}

// closing closes a file whose mode could not be set.
func closing(f vfs.File, err error) error {
	if err != nil {
		return errors.Join(err, f.Close())
	}
	return nil
}

// MkdirAll implements vfs.FS.
func (p FS) MkdirAll(dir string, _ os.FileMode) error {
	if err := errors.Join(p.owned.file(dir), p.owned.dir(dir)); err != nil {
		return err
	}
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	if err := p.FS.MkdirAll(dir, privateDir); err != nil {
		return err
	}
	return os.Chmod(dir, privateDir)
}

// Link implements vfs.FS.
func (p FS) Link(oldname, newname string) error {
	if err := errors.Join(p.owned.file(oldname), p.owned.file(newname)); err != nil {
		return err
	}
	return p.FS.Link(oldname, newname)
}

// Rename implements vfs.FS.
func (p FS) Rename(oldname, newname string) error {
	if err := errors.Join(p.owned.file(oldname), p.owned.file(newname)); err != nil {
		return err
	}
	if err := p.FS.Rename(oldname, newname); err != nil {
		return err
	}
	p.owned.renamed(oldname, newname)
	return nil
}

// Remove implements vfs.FS.
func (p FS) Remove(name string) error {
	if err := p.owned.file(name); err != nil {
		return err
	}
	return p.FS.Remove(name)
}

// RemoveAll implements vfs.FS.
func (p FS) RemoveAll(name string) error {
	if err := errors.Join(p.owned.dir(name), p.owned.file(name)); err != nil {
		return err
	}
	p.owned.forget(name)
	return p.FS.RemoveAll(name)
}

// Lock implements vfs.FS. The directory is locked as well: a file may be removed, and another made and locked in its place.
func (p FS) Lock(name string) (io.Closer, error) {
	if err := p.ready(name); err != nil {
		return nil, err
	}
	c, err := p.FS.Lock(name)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(name, privateFile); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	dir, err := p.LockReading(name)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return both{c, dir}, nil
}

// LockReading implements overlay.Reading: it locks the directory alone, in which nothing can be written.
func (p FS) LockReading(name string) (io.Closer, error) {
	name = filepath.Dir(name)
	dir, err := lockDirectory(name)
	if err != nil {
		return nil, err
	}
	if err := p.owned.lock(name); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return both{dir, unlock(func() { p.owned.unlock(name) })}, nil
}

// both closes two.
type both [2]io.Closer

// unlock closes by a call.
type unlock func()

func (u unlock) Close() error {
	u()
	return nil
}

func (b both) Close() error { return errors.Join(b[0].Close(), b[1].Close()) }

// Unwrap implements vfs.FS.
func (p FS) Unwrap() vfs.FS { return p.FS }

// Tighten takes the rights of others from what an earlier build, or a person, has made in a data directory.
func (p FS) Tighten(dir string, log *zap.Logger) {
	var first error
	changed, failed := 0, 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != dir && !p.owned.folder(path) {
			return fs.SkipDir
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 == 0 || !info.Mode().IsRegular() && !info.IsDir() {
			return nil
		}
		if err := os.Chmod(path, info.Mode().Perm()&0o700); err != nil {
			failed++
			if first == nil {
				first = err
			}
			return nil
		}
		changed++
		return nil
	})
	if err = errors.Join(first, err); err != nil {
		log.Warn("other users of this machine may read what lies in a data directory: make it 0700 and the files in it 0600",
			zap.String("dir", dir), zap.Int("files", failed), zap.Error(err))
	}
	if changed > 0 {
		log.Info("other users of this machine can no longer read a data directory", zap.String("dir", dir), zap.String("changed", fmt.Sprintf("%d files and folders", changed)))
	}
}
