package guard

import (
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/blobd/blobd/internal/engine/local/diskio"
	"github.com/blobd/blobd/internal/engine/local/tablefile"
)

// Owner is the store whose files they are.
type Owner interface {
	// Failed returns why metadata can no longer be written, nil if it can.
	Failed() error
	// Fail notes that it cannot from now on.
	Fail(err error) error
	// Stuck tells whether flushes fail at the moment.
	Stuck() bool
}

// FS is a vfs.FS. See the package comment for what it adds.
type FS struct {
	vfs.FS
	owner Owner
	fits  func(n int64) bool
}

// New returns the file system that Pebble gets of one. fits tells whether there is room for n more bytes of compactions; nil: always.
func New(fs vfs.FS, owner Owner, fits func(n int64) bool) FS { return FS{fs, owner, fits} }

// flushPause is the back-off of flushes and compactions that fail: Pebble begins them anew at once and without end, and has no setting
// for it, so a file that it may not make is refused that much later.
const flushPause = 50 * time.Millisecond

// compactionCategory is what Pebble calls the writes of compactions.
const compactionCategory = "pebble-compaction"

// Create implements vfs.FS.
func (fs FS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	base := fs.PathBase(name)
	if strings.HasPrefix(base, "marker.") {
		if err := diskio.SyncDir(fs.FS, fs.PathDir(name)); err != nil {
			return nil, err
		}
	}
	var spare func() bool
	if strings.HasSuffix(base, ".sst") {
		if category == compactionCategory && fs.fits != nil {
			spare = func() bool { return fs.fits(tablefile.Buffer) }
		}
		if fs.owner.Stuck() || spare != nil && !spare() {
			time.Sleep(flushPause) // only the flush or compaction that fails waits
		}
	}
	if strings.HasSuffix(base, ".log") {
		return fs.log(func() (vfs.File, error) { return fs.FS.Create(name, category) }), nil
	}
	f, err := fs.FS.Create(name, category)
	switch {
	case err == nil && strings.HasSuffix(base, ".sst"):
		return tablefile.New(f, spare), nil
	case err != nil || !strings.HasPrefix(base, "MANIFEST-"):
		return f, err
	}
	c, err := fs.FS.Create(name+companionSuffix, category)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &manifest{File: f, companion: c, owner: fs.owner}, nil
}

// ReuseForWrite implements vfs.FS.
func (fs FS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.log(func() (vfs.File, error) { return fs.FS.ReuseForWrite(oldname, newname, category) }), nil
}

// OpenDir implements vfs.FS.
func (fs FS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &logFile{File: f, owner: fs.owner}, nil
}

// Remove implements vfs.FS.
func (fs FS) Remove(name string) error {
	if err := fs.owner.Failed(); err != nil {
		return err
	}
	base := fs.PathBase(name)
	if strings.HasPrefix(base, "marker.") { // the new one, before the old one goes
		if err := diskio.SyncDir(fs.FS, fs.PathDir(name)); err != nil {
			return err
		}
	}
	if strings.HasPrefix(base, "MANIFEST-") {
		if err := fs.FS.Remove(name + companionSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return fs.FS.Remove(name)
}

// Unwrap implements vfs.FS.
func (fs FS) Unwrap() vfs.FS { return fs.FS }

// log makes a log. Once the store has failed there is none: the one that failed may have no proper end, and Pebble forgives that only the
// newest.
func (fs FS) log(create func() (vfs.File, error)) vfs.File {
	l := &logFile{owner: fs.owner}
	if fs.owner.Failed() != nil {
		l.dead.Store(true)
		return l
	}
	var err error
	l.File, err = create()
	_ = l.note(err) // it is the owner's now
	return l
}

// logFile is a log, or the directory that it is in. Its errors are the owner's; the first ends its use.
type logFile struct {
	vfs.File // nil if it could not be made
	owner    Owner
	dead     atomic.Bool
}

// note takes an error away and gives nil.
func (l *logFile) note(err error) error {
	if err != nil {
		l.owner.Fail(err)
		l.dead.Store(true)
	}
	return nil
}

// Write implements vfs.File.
func (l *logFile) Write(p []byte) (int, error) {
	if l.dead.Load() {
		return len(p), nil
	}
	_, err := l.File.Write(p)
	return len(p), l.note(err)
}

// Sync implements vfs.File.
func (l *logFile) Sync() error {
	if l.dead.Load() {
		return nil
	}
	return l.note(l.File.Sync())
}

// SyncData implements vfs.File.
func (l *logFile) SyncData() error {
	if l.dead.Load() {
		return nil
	}
	return l.note(l.File.SyncData())
}

// SyncTo implements vfs.File.
func (l *logFile) SyncTo(length int64) (bool, error) {
	if l.dead.Load() {
		return false, nil
	}
	full, err := l.File.SyncTo(length)
	return full, l.note(err)
}

// Preallocate implements vfs.File.
func (l *logFile) Preallocate(offset, length int64) error {
	if l.dead.Load() {
		return nil
	}
	return l.note(l.File.Preallocate(offset, length))
}

// Stat implements vfs.File.
func (l *logFile) Stat() (vfs.FileInfo, error) {
	if l.File != nil {
		info, err := l.File.Stat()
		if err == nil {
			return info, nil
		}
		_ = l.note(err)
	}
	return noInfo{}, nil
}

// noInfo describes a log that could not be made.
type noInfo struct{}

func (noInfo) Name() string           { return "" }
func (noInfo) Size() int64            { return 0 }
func (noInfo) Mode() os.FileMode      { return 0 }
func (noInfo) ModTime() time.Time     { return time.Time{} }
func (noInfo) IsDir() bool            { return false }
func (noInfo) Sys() any               { return nil }
func (noInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }

// Fd implements vfs.File. There is none, so that no sync goes past this type.
func (l *logFile) Fd() uintptr { return vfs.InvalidFd }

// Close implements vfs.File.
func (l *logFile) Close() error {
	if l.File == nil {
		return nil
	}
	return l.note(l.File.Close())
}
