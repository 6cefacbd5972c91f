package mirror

import (
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// file is a file or directory open for writing on all replicas.
type file struct {
	fs    *FS
	name  string
	files []vfs.File // by replica; nil where it could not be made
	sum   *summer    // of a file that is sealed by Close
	copy  []byte     // scratch of Write
}

var _ vfs.File = (*file)(nil)

var errWriteOnly = errors.New("mirrored file is open for writing only")

// each runs an operation on the file of every replica in use, at the same time if parallel.
func (f *file) each(parallel bool, op func(vfs.File) error) error {
	alive := f.fs.alive()
	errs := make([]error, len(alive))
	run := func(i int) {
		if g := f.files[alive[i].index]; g != nil {
			errs[i] = op(g)
		} else {
			errs[i] = vfs.ErrUnsupported
		}
	}
	if parallel && len(alive) > 1 {
		var wg sync.WaitGroup
		for i := 1; i < len(alive); i++ {
			wg.Go(func() { run(i) })
		}
		run(0)
		wg.Wait()
	} else {
		for i := range alive {
			run(i)
		}
	}
	failed := 0
	for _, err := range errs {
		if err != nil {
			failed++
		}
		if spared(f.name, err) {
			return diskio.Kind(err)
		}
	}
	return f.fs.dropFailed(alive, errs, failed)
}

// Write implements vfs.File.
func (f *file) Write(p []byte) (int, error) {
	if f.sum != nil {
		f.sum.add(p)
	}
	// A vfs.File may change what it is given to write, so each replica gets a copy of its own.
	err := f.each(false, func(g vfs.File) error {
		f.copy = append(f.copy[:0], p...)
		_, err := g.Write(f.copy)
		return err
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// Sync implements vfs.File.
func (f *file) Sync() error { return f.each(true, vfs.File.Sync) }

// SyncData implements vfs.File.
func (f *file) SyncData() error { return f.each(true, vfs.File.SyncData) }

// SyncTo implements vfs.File.
func (f *file) SyncTo(length int64) (fullSync bool, err error) {
	fullSync = true
	err = f.each(false, func(g vfs.File) error {
		full, err := g.SyncTo(length)
		fullSync = fullSync && full
		return err
	})
	return fullSync, err
}

// Preallocate implements vfs.File.
func (f *file) Preallocate(offset, length int64) error {
	return f.each(false, func(g vfs.File) error { return g.Preallocate(offset, length) })
}

// Close implements vfs.File. The sidecar of a sealed file is durable when it returns, but for its directory entry, which is
// synced with that of the file.
func (f *file) Close() error {
	var err error
	if f.sum != nil {
		defer f.fs.changes(f.name)()
		b := f.sum.encode()
		err = f.fs.eachOpen(f.name, func(r *replica) error { return writeSidecar(r, f.name, b) })
	}
	return errors.Join(err, f.closeAll())
}

func (f *file) closeAll() error {
	var errs []error
	for i, g := range f.files {
		if g != nil && !f.fs.replicas[i].gone.Load() {
			errs = append(errs, g.Close())
		} else if g != nil {
			_ = g.Close() // the replica is dropped: its errors were reported
		}
		f.files[i] = nil
	}
	return errors.Join(errs...)
}

// Stat implements vfs.File, with the shortest of the files: what is said of its length holds for each of them.
func (f *file) Stat() (info vfs.FileInfo, err error) {
	for _, r := range f.fs.alive() {
		g := f.files[r.index]
		if g == nil {
			continue
		}
		i, gerr := g.Stat()
		switch {
		case gerr != nil:
			err = gerr
		case info == nil || i.Size() < info.Size():
			info = i
		}
	}
	switch {
	case info != nil:
		return info, nil
	case err == nil:
		err = vfs.ErrUnsupported
	}
	return nil, err
}

func (f *file) Read([]byte) (int, error)            { return 0, errWriteOnly }
func (f *file) ReadAt([]byte, int64) (int, error)   { return 0, errWriteOnly }
func (f *file) WriteAt([]byte, int64) (int, error)  { return 0, vfs.ErrUnsupported }
func (f *file) Prefetch(offset, length int64) error { return nil }
func (f *file) Fd() uintptr                         { return vfs.InvalidFd }
