package diskio

import (
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Lender is implemented by files that are written to without a copy.
type Lender interface {
	// WriteLentAt writes p at off. When its error is ErrStalled p belongs to the write for good.
	WriteLentAt(p []byte, off int64) error
}

// Gatherer is implemented by files that keep what is written until they are synced.
type Gatherer interface {
	// Gather takes p if there is room for it in memory. The disk has no part in that, so nobody keeps time.
	Gather(p []byte) bool
}

// file is a file on a disk.
type file struct {
	vfs.File
	gatherer Gatherer // the same, or nil
	d        *disk
	path     string
	rest     string  // path below the directory of the disk
	made     bool    // opened to be written: to know its length is a part of that
	fd       uintptr // for reads that do not wait; vfs.InvalidFd where there are none

	stuck   int  // guarded by disk.mu: operations abandoned
	closing bool // guarded by disk.mu: closed when they have returned
}

var (
	_ vfs.File = (*file)(nil)
	_ Lender   = (*file)(nil)
)

func newFile(d *disk, path string, f vfs.File, writes bool) *file {
	gatherer, _ := f.(Gatherer)
	return &file{File: f, gatherer: gatherer, d: d, path: path, rest: d.below(path), made: writes, fd: readableNow(f)}
}

// call makes an operation on the file. What else the operation left in the call may be read if the call was not left to it.
func (f *file) call(what string, writes bool, p []byte, off int64, op func(*call)) (*call, error) {
	c := f.prepare(what, writes, p, off, op)
	return c, f.d.do(c)
}

func (f *file) prepare(what string, writes bool, p []byte, off int64, op func(*call)) *call {
	c := callPool.Get().(*call)
	c.f, c.what, c.path, c.keep, c.p, c.off, c.op = f, what, f.path, writes, p, off, op
	c.own = writes && f.d.fs.kept(f.d, f.rest)
	return c
}

// plain makes an operation that has nothing but an error.
func (f *file) plain(what string, writes bool, op func(*call)) error {
	c, err := f.call(what, writes, nil, 0, op)
	c.release()
	return err
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 64<<10); return &b }}

// lend returns a buffer of n bytes that an operation may keep.
func lend(n int) *[]byte {
	b := buffers.Get().(*[]byte)
	if cap(*b) < n {
		*b = make([]byte, n)
	}
	*b = (*b)[:n]
	return b
}

// ReadAt implements vfs.File.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	now := 0
	if f.fd != vfs.InvalidFd {
		if now = readNow(f.fd, p, off); now == len(p) {
			return now, nil
		}
	}
	n, err := f.read("read", p[now:], off+int64(now), func(c *call) { c.n, c.err = c.f.File.ReadAt(c.p, c.off) })
	return now + n, err
}

// Read implements vfs.File.
func (f *file) Read(p []byte) (int, error) {
	return f.read("read", p, 0, func(c *call) { c.n, c.err = c.f.File.Read(c.p) })
}

func (f *file) read(what string, p []byte, off int64, op func(*call)) (n int, err error) {
	b := lend(len(p))
	c, err := f.call(what, false, *b, off, op)
	if !c.left {
		n = copy(p, (*b)[:c.n])
		buffers.Put(b)
	}
	c.release()
	return n, err
}

// Write implements vfs.File.
func (f *file) Write(p []byte) (int, error) {
	// Where operations are abandoned an earlier one may still be at the file.
	if f.gatherer != nil && f.d.fs.kept(f.d, f.rest) && f.gatherer.Gather(p) {
		return len(p), nil
	}
	return f.write(p, 0, func(c *call) { c.n, c.err = c.f.File.Write(c.p) })
}

// WriteAt implements vfs.File.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	return f.write(p, off, func(c *call) { c.n, c.err = c.f.File.WriteAt(c.p, c.off) })
}

func (f *file) write(p []byte, off int64, op func(*call)) (n int, err error) {
	c := f.prepare("write", true, p, off, op)
	if c.own { // it ends before this returns
		err = f.d.do(c)
		n = c.n
		c.release()
		return n, err
	}
	b := lend(len(p))
	copy(*b, p)
	c.p = *b
	err = f.d.do(c)
	if !c.left {
		n = c.n
		buffers.Put(b)
	}
	c.release()
	return n, err
}

// WriteLentAt implements Lender.
func (f *file) WriteLentAt(p []byte, off int64) error {
	c, err := f.call("write", true, p, off, writeLent)
	c.release()
	return err
}

func writeLent(c *call) {
	if c.n, c.err = c.f.File.WriteAt(c.p, c.off); c.err == nil && c.n < len(c.p) {
		c.err = io.ErrShortWrite
	}
}

// Sync implements vfs.File.
func (f *file) Sync() error {
	return f.plain("fsync", true, func(c *call) { c.err = c.f.File.Sync() })
}

// SyncData implements vfs.File.
func (f *file) SyncData() error {
	return f.plain("fdatasync", true, func(c *call) { c.err = c.f.File.SyncData() })
}

// SyncTo implements vfs.File.
func (f *file) SyncTo(length int64) (fullSync bool, err error) {
	c, err := f.call("sync", true, nil, length, func(c *call) {
		var full bool
		if full, c.err = c.f.File.SyncTo(c.off); full {
			c.n = 1
		}
	})
	fullSync = err == nil && c.n == 1
	c.release()
	return fullSync, err
}

// Preallocate implements vfs.File.
func (f *file) Preallocate(offset, length int64) error {
	return f.plain("preallocate", true, func(c *call) { c.err = c.f.File.Preallocate(offset, length) })
}

// Stat implements vfs.File.
func (f *file) Stat() (vfs.FileInfo, error) {
	var info vfs.FileInfo
	if err := f.plain("stat", f.made, func(c *call) { info, c.err = c.f.File.Stat() }); err != nil {
		return nil, err
	}
	return info, nil
}

// Prefetch implements vfs.File. It is advice, and may wait like a read.
func (f *file) Prefetch(offset, length int64) error {
	return f.plain("read ahead", false, func(c *call) { c.err = c.f.File.Prefetch(offset, length) })
}

// Close implements vfs.File. A file with abandoned operations is closed by the last of them.
func (f *file) Close() error {
	d := f.d
	d.mu.Lock()
	f.closing = f.stuck > 0
	later := f.closing
	d.mu.Unlock()
	if later {
		return nil
	}
	if d.out.Load() != nil && !d.fs.kept(d, f.path) {
		go f.File.Close() // it has to be closed, and the disk is not asked for its outcome
		return nil
	}
	return f.plain("close", true, func(c *call) { c.err = c.f.File.Close() })
}

// Fd implements vfs.File. There is none, as what is done with it would not be watched.
func (f *file) Fd() uintptr { return vfs.InvalidFd }
