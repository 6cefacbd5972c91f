package wal

import (
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// FS is a file system in which logs are framed and listed. Other files pass through it.
type FS struct {
	vfs.FS
	frames *Frames
	list   *List
	retry  func(op func() error) error
}

// New returns a file system for Pebble's logs in fs. retry runs what opens files, again if it is short of descriptors for the moment.
func New(fs vfs.FS, frames *Frames, list *List, retry func(op func() error) error) vfs.FS {
	return FS{fs, frames, list, retry}
}

// Create implements vfs.FS.
func (fs FS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	number, ok := Number(fs.PathBase(name))
	if !ok {
		return fs.FS.Create(name, category)
	}
	return fs.create(name, number, func() (vfs.File, error) { return fs.FS.Create(name, category) })
}

// ReuseForWrite implements vfs.FS.
func (fs FS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	number, ok := Number(fs.PathBase(newname))
	if !ok {
		return fs.FS.ReuseForWrite(oldname, newname, category)
	}
	return fs.create(newname, number, func() (vfs.File, error) {
		if err := fs.forget(oldname); err != nil {
			return nil, err
		}
		return fs.FS.ReuseForWrite(oldname, newname, category)
	})
}

// create makes a log and lists it.
func (fs FS) create(name string, number uint64, create func() (vfs.File, error)) (vfs.File, error) {
	f := &file{fs: &fs, number: number}
	err := fs.retry(func() (err error) {
		f.File, err = create()
		return err
	})
	if err != nil {
		return nil, err
	}
	// The list may name it once a power cut cannot take it away.
	if err = fs.retry(func() error { return diskio.SyncDir(fs.FS, fs.PathDir(name)) }); err == nil {
		err = f.noteLength()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Open implements vfs.FS.
func (fs FS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if number, ok := fs.frames.framed(fs.PathBase(name)); ok {
		return fs.frames.open(fs.FS, name, number, opts...)
	}
	return fs.FS.Open(name, opts...)
}

// Remove implements vfs.FS.
func (fs FS) Remove(name string) error {
	if err := fs.forget(name); err != nil {
		return err
	}
	return fs.FS.Remove(name)
}

// forget has the list no longer name a log, before it goes.
func (fs FS) forget(name string) error {
	if number, ok := Number(fs.PathBase(name)); ok {
		return fs.list.gone(number)
	}
	return nil
}

// Unwrap implements vfs.FS.
func (fs FS) Unwrap() vfs.FS { return fs.FS }

// file is a log being written. Pebble writes and syncs it from one goroutine at a time.
type file struct {
	vfs.File
	fs     *FS
	number uint64
	head   [frameHead]byte
	end    int64 // offset behind what was written
	synced int64 // of it, so much is on the disk
	listed int64 // length of the file that the list knows of
}

// noteLength tells the list how long the file is.
func (f *file) noteLength() error {
	info, err := f.File.Stat()
	if err != nil {
		return err
	}
	f.listed = info.Size()
	return f.fs.retry(func() error { return f.fs.list.there(f.number, f.listed) })
}

// Write implements vfs.File.
func (f *file) Write(p []byte) (int, error) {
	f.fs.frames.encode(&f.head, f.number, f.end, f.synced, p)
	f.end += frameHead + int64(len(p))
	if _, err := f.File.Write(f.head[:]); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

// Sync implements vfs.File.
func (f *file) Sync() error { return f.afterSync(f.File.Sync()) }

// SyncData implements vfs.File.
func (f *file) SyncData() error { return f.afterSync(f.File.SyncData()) }

// afterSync lists a file that has grown: what was synced lies within the length that the list knows of.
func (f *file) afterSync(err error) error {
	if err != nil {
		return err
	}
	f.synced = f.end
	if f.end > f.listed {
		return f.noteLength()
	}
	return nil
}

// SyncTo implements vfs.File.
func (f *file) SyncTo(length int64) (bool, error) { return f.File.SyncTo(max(length, f.end)) }

// Fd implements vfs.File. There is none, so that no sync goes past this type.
func (f *file) Fd() uintptr { return vfs.InvalidFd }
