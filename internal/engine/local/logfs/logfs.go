// Package logfs is a vfs.FS that writes Pebble's logs so that a sync of them costs little; other files pass through it.
//
//   - What is written is gathered until the next sync and goes to the disk in one write.
//   - A sync of a file that grows makes the file system commit its own journal, which costs as much again as the write. So room is
//     made ahead of the end in growing steps, and filled with zeros: Pebble reads zeros after a log's last record as its end. A log
//     that Pebble makes of an old one has its room already.
//   - Where the system can, writes go past the page cache (O_DIRECT), as nobody reads a log before the next start, and a write and
//     its sync are one request that no thread waits for (writeSync).
//
// Writes are whole pages at multiples of a page, so the page that holds the end is written again by the next sync, with the same
// bytes and more behind them. The page cache does the same.
//
// The file's length is not the log's: zeros, or what a reused file held before, follow its end.
package logfs

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"unsafe"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/blobd/blobd/internal/speedup"
)

const (
	page     = 4 << 10   // bytes; the unit of direct writes
	gathered = 256 << 10 // bytes that a file holds at most before it writes without being asked to
	maxStep  = 1 << 20   // bytes by which room grows at most
	maxReach = 16 << 20  // bytes by which a file's length grows at most
)

// errNoAIO: the system does not have writeSync, or not for this file, or no more of it now.
var errNoAIO = errors.New("no asynchronous writes")

// FS implements vfs.FS.
type FS struct {
	vfs.FS
	real    bool          // it is the system's: nothing between needs to see a write
	longest *atomic.Int64 // length of the longest log so far
}

// New returns a file system whose logs lie in fs.
func New(fs vfs.FS) vfs.FS {
	_, real := fs.(interface{ RealFiles() })
	return FS{fs, real || fs == vfs.Default, new(atomic.Int64)}
}

// Create implements vfs.FS.
func (fs FS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.Create(name, category)
	if err != nil || !strings.HasSuffix(name, ".log") {
		return f, err
	}
	l := newFile(f, 0, fs.real)
	l.longest = fs.longest
	return l, nil
}

// ReuseForWrite implements vfs.FS.
func (fs FS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.ReuseForWrite(oldname, newname, category)
	if err != nil || !strings.HasSuffix(newname, ".log") {
		return f, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	l := newFile(f, info.Size()&^(page-1), fs.real)
	l.room = min(l.room, firstHole(f, l.room)&^(page-1)) // its length may reach beyond: see lengthen
	l.longest = fs.longest
	return l, nil
}

// Unwrap implements vfs.FS.
func (fs FS) Unwrap() vfs.FS { return fs.FS }

// file is a log being written, from one goroutine at a time.
type file struct {
	vfs.File
	direct  bool
	aio     bool   // writeSync may be tried
	loose   bool   // something may have been written since the last sync
	buf     []byte // gathered bytes at its front; aligned to a page
	n       int    // so many
	written int    // of them, so many are written already
	at      int64  // offset of buf in the file
	room    int64  // whole pages, up to where a write changes no metadata
	length  int64  // of the file, in whole pages

	linked  func() error  // tells whether the file is still there
	longest *atomic.Int64 // of the file system's logs; nil for none
	err     error         // of a write: sticky, as nobody knows how much of it was done
}

func newFile(f vfs.File, length int64, real bool) *file {
	direct := setDirect(f, true)
	l := &file{File: f, direct: direct, aio: direct && real && speedup.AsyncLog.On(), loose: true, buf: aligned(gathered), room: length, length: length, linked: alwaysThere}
	if w, ok := f.(interface{ Linked() error }); ok {
		l.linked = w.Linked
	}
	return l
}

// aligned returns n bytes that begin at a multiple of a page.
func aligned(n int) []byte {
	b := make([]byte, n+page)
	off := -int(uintptr(unsafe.Pointer(&b[0]))) & (page - 1)
	return b[off : off+n : off+n]
}

func alwaysThere() error { return nil }

// Gather implements diskio.Gatherer.
func (f *file) Gather(p []byte) bool {
	if len(p) > len(f.buf)-f.n {
		return false
	}
	f.n += copy(f.buf[f.n:], p)
	return true
}

// Write implements vfs.File.
func (f *file) Write(p []byte) (int, error) {
	for left := p; len(left) > 0; {
		if f.n == len(f.buf) {
			if err := f.flush(); err != nil {
				return len(p) - len(left), err
			}
		}
		n := copy(f.buf[f.n:], left)
		f.n += n
		left = left[n:]
	}
	return len(p), nil
}

// flush writes what was gathered.
func (f *file) flush() error { return f.put((*file).write) }

// put has what was gathered written.
func (f *file) put(write func(f *file, p []byte, off int64)) error {
	if f.err != nil || f.n == f.written {
		return f.err
	}
	end := (f.n + page - 1) &^ (page - 1)
	clear(f.buf[f.n:end])
	f.makeRoom(f.at + int64(end))
	write(f, f.buf[:end], f.at)
	if f.err != nil {
		return f.err
	}
	f.room = max(f.room, f.at+int64(end))
	f.length = max(f.length, f.room)
	whole := f.n &^ (page - 1)
	f.n = copy(f.buf, f.buf[whole:f.n])
	f.at += int64(whole)
	f.written = f.n
	return nil
}

// zeros are never written to.
var zeros = aligned(maxStep)

// lengthen has the file's length reach beyond the end, by much and so seldom: whoever keeps note of it, to tell whether the log was cut off
// later, has little to do. The first write to a log gives it the length of the longest so far. What has no room yet takes none on the disk.
func (f *file) lengthen(end, room int64) {
	if end <= f.length || f.err != nil {
		return
	}
	length := max(end, f.length+min(max(3*f.length, page), maxReach))
	if f.longest != nil {
		length = max(length, f.longest.Load())
	}
	if length <= room {
		return // the room that is about to be made does it
	}
	if f.write(zeros[:page], length-page); noSpace(f.err) {
		f.err = nil
		return
	}
	f.length = length
	if f.longest != nil && f.err == nil {
		f.longest.Store(max(length, f.longest.Load()))
	}
}

// makeRoom makes the file at least so long. Whether there is space for the log itself, its own write finds out.
func (f *file) makeRoom(end int64) {
	step := min(max(f.room, page), maxStep) // a store in which little is written stays small
	f.lengthen(end, f.room+step)
	for f.room < end && f.err == nil {
		if f.write(zeros[:step], f.room); noSpace(f.err) {
			f.err = nil
			return
		}
		f.room += step
		f.length = max(f.length, f.room)
	}
}

func noSpace(err error) bool { return vfs.IsNoSpaceError(err) || errors.Is(err, syscall.EDQUOT) }

func (f *file) write(p []byte, off int64) {
	if f.err != nil {
		return
	}
	f.loose = true
	_, f.err = f.File.WriteAt(p, off)
	if f.direct && refused(f.err) {
		// The file system took the flag but not the write: it has larger sectors, or cannot do it at all.
		f.direct = false
		setDirect(f.File, false)
		_, f.err = f.File.WriteAt(p, off)
	}
}

// writeSynced is a write that leaves nothing to sync, if it can.
func (f *file) writeSynced(p []byte, off int64) {
	// It makes its own bytes durable and promises nothing of those before.
	if f.err == nil && f.aio && f.direct && !f.loose {
		var gone error // asked while the disk works: what is moved away behind the question might be as well behind the write
		f.err = writeSync(f.File.Fd(), p, off, func() { gone = f.linked() })
		if f.err == nil {
			f.err = gone
		}
		switch {
		case f.err == errNoAIO:
			speedup.AsyncFallbacks.Add(0, 1)
			f.aio = false
		case !noSpace(f.err): // nil, too
			speedup.AsyncWrites.Add(0, 1)
			return
		}
		// Where there was no room all that it was to make durable is written and synced anew by the usual calls: the file below may find some.
		f.err = nil
	}
	f.write(p, off)
}

// Sync implements vfs.File.
func (f *file) Sync() error {
	if err := f.flush(); err != nil {
		return err
	}
	return f.File.Sync()
}

// SyncData implements vfs.File.
func (f *file) SyncData() error {
	if f.err == nil && !f.loose && f.n == f.written {
		return f.linked()
	}
	if err := f.put((*file).writeSynced); err != nil {
		return err
	}
	if !f.loose {
		return nil
	}
	err := f.File.SyncData() // asks whether the file is still there as well
	f.loose = err != nil
	return err
}

// SyncTo implements vfs.File.
func (f *file) SyncTo(length int64) (fullSync bool, err error) {
	if err := f.flush(); err != nil {
		return false, err
	}
	return f.File.SyncTo(length)
}

// Preallocate implements vfs.File: makeRoom does better.
func (f *file) Preallocate(offset, length int64) error { return nil }

// WriteAt implements vfs.File.
func (f *file) WriteAt([]byte, int64) (int, error) { return 0, vfs.ErrUnsupported }

// Fd implements vfs.File. There is none, as a sync through it would miss what was gathered.
func (f *file) Fd() uintptr { return vfs.InvalidFd }

// Close implements vfs.File.
func (f *file) Close() error { return errors.Join(f.flush(), f.File.Close()) }
