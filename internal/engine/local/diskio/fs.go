package diskio

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Handlers is what an owner has to say and to hear. They are called from the watch, and Kept also from operations: all must be quick.
type Handlers struct {
	// Kept tells whether nothing can stand in for what an operation changes at a path below a directory.
	Kept func(dir, path string) bool
	// Changed hears that a directory is out of use, and why, or with nil that it is in use again.
	Changed func(dir string, why error)
	// Held hears that a kept operation is overdue, or with nil that none is any more.
	Held func(dir string, why error)
}

// FS is a file system over several directories, one to a disk. What lies elsewhere passes through it.
type FS struct {
	vfs.FS
	limit    time.Duration
	disks    []*disk
	tick     atomic.Uint64
	handlers atomic.Pointer[Handlers]
	stop     chan struct{}
	running  sync.WaitGroup
}

var _ vfs.FS = (*FS)(nil)

// New guards the directories of a file system with a limit for each operation. Without one nothing is guarded.
func New(fs vfs.FS, dirs []string, limit time.Duration) *FS {
	f := &FS{FS: fs, limit: limit, stop: make(chan struct{})}
	if limit <= 0 {
		return f
	}
	for _, dir := range dirs {
		d := &disk{fs: f, dir: dir, want: 1}
		d.calls.prev, d.calls.next = &d.calls, &d.calls
		f.disks = append(f.disks, d)
	}
	f.running.Go(f.watch)
	return f
}

// Handle has the owner hear what happens from now on, and first which directories are out of use already.
func (fs *FS) Handle(h Handlers) {
	fs.handlers.Store(&h)
	for _, d := range fs.disks {
		if why := d.out.Load(); why != nil {
			h.Changed(d.dir, *why)
		}
	}
}

// Out returns why a directory is out of use, nil if it is not.
func (fs *FS) Out(dir string) error {
	for _, d := range fs.disks {
		if d.dir == dir {
			if why := d.out.Load(); why != nil {
				return *why
			}
		}
	}
	return nil
}

// Look lets time pass for one directory, as if the watch had looked at it. A test with a long limit has nothing but this for time.
func (fs *FS) Look(dir string) {
	for _, d := range fs.disks {
		if d.dir == dir {
			d.look(fs.tick.Add(1))
		}
	}
}

// Stuck counts the operations that nobody waits for any more.
func (fs *FS) Stuck() (n int) {
	for _, d := range fs.disks {
		d.mu.Lock()
		n += d.abandoned
		d.mu.Unlock()
	}
	return n
}

// Close ends the watch. Operations have ended by then, or nobody waits for them; a probe under way is not waited for.
func (fs *FS) Close() {
	select {
	case <-fs.stop:
	default:
		close(fs.stop)
	}
}

func (fs *FS) kept(d *disk, rest string) bool {
	h := fs.handlers.Load()
	return h != nil && h.Kept(d.dir, rest)
}

func (fs *FS) changed(d *disk, why error) {
	if h := fs.handlers.Load(); h != nil {
		h.Changed(d.dir, why)
	}
}

func (fs *FS) heldUp(d *disk, why error) {
	if h := fs.handlers.Load(); h != nil {
		h.Held(d.dir, why)
	}
}

// aloneSlow tells whether all other disks are well. Called by the watch.
func (fs *FS) aloneSlow(d *disk) bool {
	for _, o := range fs.disks {
		if o != d && (o.worn > 0 || o.out.Load() != nil) {
			return false
		}
	}
	return len(fs.disks) > 1
}

// disk returns the disk that a path is on, nil if it is on none of them.
func (fs *FS) disk(path string) *disk {
	if len(fs.disks) == 0 {
		return nil
	}
	clean := filepath.Clean(path)
	for _, d := range fs.disks {
		if rest, ok := strings.CutPrefix(clean, filepath.Clean(d.dir)); ok && (rest == "" || rest[0] == filepath.Separator) {
			return d
		}
	}
	return nil
}

// below returns what a path on the disk has behind its directory.
func (d *disk) below(path string) string {
	return strings.TrimPrefix(strings.TrimPrefix(filepath.Clean(path), filepath.Clean(d.dir)), string(filepath.Separator))
}

// on makes an operation on a path.
func (fs *FS) on(what, path string, writes bool, op func() error) error {
	if d := fs.disk(path); d != nil {
		return d.on(what, path, writes, op, nil)
	}
	return op()
}

// file makes an operation that opens a file.
func (fs *FS) file(what, path string, writes bool, open func() (vfs.File, error)) (vfs.File, error) {
	d := fs.disk(path)
	if d == nil {
		return open()
	}
	var f vfs.File
	err := d.on(what, path, writes, func() (err error) {
		f, err = open()
		return err
	}, func() {
		if f != nil {
			_ = f.Close() // it came too late
		}
	})
	if err != nil {
		return nil, err
	}
	return newFile(d, path, f, writes), nil
}

// Create implements vfs.FS.
func (fs *FS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.file("create", name, true, func() (vfs.File, error) { return fs.FS.Create(name, category) })
}

// Open implements vfs.FS.
func (fs *FS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	return fs.file("open", name, false, func() (vfs.File, error) { return fs.FS.Open(name, opts...) })
}

// OpenReadWrite implements vfs.FS.
func (fs *FS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return fs.file("open", name, true, func() (vfs.File, error) { return fs.FS.OpenReadWrite(name, category, opts...) })
}

// OpenDir implements vfs.FS.
func (fs *FS) OpenDir(name string) (vfs.File, error) {
	return fs.file("open", name, true, func() (vfs.File, error) { return fs.FS.OpenDir(name) })
}

// ReuseForWrite implements vfs.FS.
func (fs *FS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.file("reuse", newname, true, func() (vfs.File, error) { return fs.FS.ReuseForWrite(oldname, newname, category) })
}

// Link implements vfs.FS.
func (fs *FS) Link(oldname, newname string) error {
	return fs.on("link", newname, true, func() error { return fs.FS.Link(oldname, newname) })
}

// Remove implements vfs.FS.
func (fs *FS) Remove(name string) error {
	return fs.on("remove", name, true, func() error { return fs.FS.Remove(name) })
}

// RemoveAll implements vfs.FS.
func (fs *FS) RemoveAll(name string) error {
	return fs.on("remove", name, true, func() error { return fs.FS.RemoveAll(name) })
}

// Rename implements vfs.FS.
func (fs *FS) Rename(oldname, newname string) error {
	return fs.on("rename", newname, true, func() error { return fs.FS.Rename(oldname, newname) })
}

// MkdirAll implements vfs.FS.
func (fs *FS) MkdirAll(dir string, perm os.FileMode) error {
	return fs.on("make", dir, true, func() error { return fs.FS.MkdirAll(dir, perm) })
}

// Lock implements vfs.FS.
func (fs *FS) Lock(name string) (io.Closer, error) {
	d := fs.disk(name)
	if d == nil {
		return fs.FS.Lock(name)
	}
	var lock io.Closer
	err := d.on("lock", name, false, func() (err error) {
		lock, err = fs.FS.Lock(name)
		return err
	}, func() {
		if lock != nil {
			_ = lock.Close()
		}
	})
	if err != nil {
		return nil, err
	}
	return lock, nil
}

// List implements vfs.FS.
func (fs *FS) List(dir string) ([]string, error) {
	var names []string
	err := fs.on("list", dir, false, func() error {
		found, err := fs.FS.List(dir)
		names = found
		return err
	})
	if err != nil {
		return nil, err
	}
	return names, nil
}

// Stat implements vfs.FS.
func (fs *FS) Stat(name string) (vfs.FileInfo, error) {
	var info vfs.FileInfo
	if err := fs.on("stat", name, false, func() (err error) {
		info, err = fs.FS.Stat(name)
		return err
	}); err != nil {
		return nil, err
	}
	return info, nil
}

// GetDiskUsage implements vfs.FS.
func (fs *FS) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	var usage vfs.DiskUsage
	if err := fs.on("statfs", path, false, func() (err error) {
		usage, err = fs.FS.GetDiskUsage(path)
		return err
	}); err != nil {
		return vfs.DiskUsage{}, err
	}
	return usage, nil
}

// FreeFiles returns how many more files the file system of path takes. It is not known where inodes are made as they are needed, or cannot
// be counted.
func (fs *FS) FreeFiles(path string) (n int64, known bool) {
	count := freeFilesOf(fs.FS)
	if count == nil {
		return 0, false
	}
	var free int64 // not n: nobody may wait any more when it is set
	var ok bool
	if err := fs.on("statfs", path, false, func() error {
		free, ok = count(path)
		return nil
	}); err != nil {
		return 0, false
	}
	return free, ok
}

// freeFilesOf finds who counts inodes below fs, nil if nobody does.
func freeFilesOf(fs vfs.FS) func(path string) (int64, bool) {
	for ; fs != nil; fs = fs.Unwrap() {
		if c, ok := fs.(interface {
			FreeFiles(path string) (int64, bool)
		}); ok {
			return c.FreeFiles
		}
		if fs == vfs.Default {
			return freeFiles
		}
	}
	return nil
}

// Unwrap implements vfs.FS.
func (fs *FS) Unwrap() vfs.FS { return fs.FS }
