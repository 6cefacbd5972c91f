package diskspace

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// ReserveName is the file of a reserve, under a data directory. docs/format.md has a line on it.
const ReserveName = "reserve"

// reserve is a file on a disk that takes room for no other purpose. It is given up when something that must be finished meets the end of
// the disk: a log, a flush, the records of a start. Writers leave more than that free, so it is others who have filled the disk then.
type reserve struct {
	fs  vfs.FS // the disk's, with nothing between
	dir string
	log *zap.Logger

	mu   sync.Mutex
	held bool // the file is there
}

// Reserves are those of a store's disks.
type Reserves []*reserve

// FindReserves finds what an earlier run has left. fs is the disks, with nothing between.
func FindReserves(fs vfs.FS, dirs []string, log *zap.Logger) (all Reserves) {
	for _, dir := range dirs {
		r := &reserve{fs: fs, dir: dir, log: log}
		_, err := fs.Stat(r.path())
		r.held = err == nil
		all = append(all, r)
	}
	return all
}

func (r *reserve) path() string { return r.fs.PathJoin(r.dir, ReserveName) }

func (r *reserve) there() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held
}

// giveUp removes the file. It is called below what watches the disk: whoever waits for the disk is watched already.
func (r *reserve) giveUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.held {
		return
	}
	err := r.fs.Remove(r.path())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		r.log.Error("the reserve cannot be given up", zap.String("dir", r.dir), zap.Error(err))
		return
	}
	r.held = false
	// Some file systems give the room back when the removal is durable.
	err = diskio.SyncDir(r.fs, r.dir)
	r.log.Warn("the reserve is given up, as the disk is full", zap.String("dir", r.dir), zap.NamedError("sync", err))
}

// make makes the file through fs, which watches the disk. If a crash cuts it short it is a smaller reserve.
func (r *reserve) make(fs vfs.FS, size int64) (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held {
		return nil
	}
	defer func() {
		if r.held = err == nil; err != nil {
			err = errors.Join(err, fs.Remove(r.path()))
		}
	}()
	f, err := fs.Create(r.path(), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if err := f.Preallocate(0, size); err != nil {
		// What cannot be compressed nor left out as a hole takes room everywhere.
		b := make([]byte, 64<<10)
		rng := rand.NewChaCha8([32]byte{})
		for off := int64(0); off < size; off += int64(len(b)) {
			_, _ = rng.Read(b) // never fails
			if _, err := f.WriteAt(b, off); err != nil {
				return errors.Join(err, f.Close())
			}
		}
	}
	return errors.Join(f.Sync(), f.Close(), diskio.SyncDir(fs, r.dir))
}

// look notices that a person has removed the file.
func (r *reserve) look(fs vfs.FS) {
	if _, err := fs.Stat(r.path()); errors.Is(err, os.ErrNotExist) {
		r.mu.Lock()
		r.held = false
		r.mu.Unlock()
	}
}

// reserveFS gives up a disk's reserve where an operation meets the end of the disk, and makes the operation again.
type reserveFS struct {
	vfs.FS
	reserves Reserves
	except   string
}

// Beneath returns fs with the reserves beneath. What lies in the folder except of a data directory may not have them: the writers of
// content are refused in time, and to refuse a chunk does no harm.
func (all Reserves) Beneath(fs vfs.FS, except string) vfs.FS {
	r := reserveFS{fs, all, except}
	if _, real := fs.(interface{ RealFiles() }); real || fs == vfs.Default {
		return realReserveFS{r}
	}
	return r
}

// realReserveFS tells logfs that files are the system's.
type realReserveFS struct{ reserveFS }

func (realReserveFS) RealFiles() {}

// of returns the reserve that what is done at a path may use, nil if it may not.
func (fs reserveFS) of(path string) *reserve {
	clean := filepath.Clean(path)
	for _, r := range fs.reserves {
		rest, ok := strings.CutPrefix(clean, filepath.Clean(r.dir)+string(filepath.Separator))
		if !ok {
			continue
		}
		if first, _, _ := strings.Cut(rest, string(filepath.Separator)); first == fs.except || first == ReserveName {
			return nil
		}
		return r
	}
	return nil
}

// do makes an operation at a path.
func (fs reserveFS) do(path string, op func() error) error {
	err := op()
	if diskio.NoSpace(err) {
		if r := fs.of(path); r != nil {
			r.giveUp()
			err = op()
		}
	}
	return err
}

func (fs reserveFS) file(path string, open func() (vfs.File, error)) (vfs.File, error) {
	r := fs.of(path)
	if r == nil {
		return open()
	}
	f, err := open()
	if diskio.NoSpace(err) {
		r.giveUp()
		f, err = open()
	}
	if err != nil {
		return nil, err
	}
	w := &reserveFile{f, r}
	if l, ok := f.(linker); ok {
		return linkedReserveFile{w, l}, nil
	}
	return w, nil
}

// Create implements vfs.FS.
func (fs reserveFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.file(name, func() (vfs.File, error) { return fs.FS.Create(name, category) })
}

// OpenReadWrite implements vfs.FS.
func (fs reserveFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return fs.file(name, func() (vfs.File, error) { return fs.FS.OpenReadWrite(name, category, opts...) })
}

// ReuseForWrite implements vfs.FS.
func (fs reserveFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.file(newname, func() (vfs.File, error) { return fs.FS.ReuseForWrite(oldname, newname, category) })
}

// Link implements vfs.FS.
func (fs reserveFS) Link(oldname, newname string) error {
	return fs.do(newname, func() error { return fs.FS.Link(oldname, newname) })
}

// Rename implements vfs.FS.
func (fs reserveFS) Rename(oldname, newname string) error {
	return fs.do(newname, func() error { return fs.FS.Rename(oldname, newname) })
}

// Remove implements vfs.FS.
func (fs reserveFS) Remove(name string) error {
	return fs.do(name, func() error { return fs.FS.Remove(name) })
}

// MkdirAll implements vfs.FS.
func (fs reserveFS) MkdirAll(dir string, perm os.FileMode) error {
	return fs.do(dir, func() error { return fs.FS.MkdirAll(dir, perm) })
}

// Unwrap implements vfs.FS.
func (fs reserveFS) Unwrap() vfs.FS { return fs.FS }

// reserveFile is a file that is being written.
type reserveFile struct {
	vfs.File
	reserve *reserve
}

// Write implements vfs.File.
func (f *reserveFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	if diskio.NoSpace(err) {
		f.reserve.giveUp()
		var more int
		more, err = f.File.Write(p[n:])
		n += more
	}
	return n, err
}

// WriteAt implements vfs.File.
func (f *reserveFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	if diskio.NoSpace(err) {
		f.reserve.giveUp()
		n, err = f.File.WriteAt(p, off)
	}
	return n, err
}

// linker is a file that can tell whether it is still there.
type linker interface{ Linked() error }

// linkedReserveFile is a reserveFile on one.
type linkedReserveFile struct {
	*reserveFile
	linker
}
