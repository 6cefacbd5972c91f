package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// reader is a file open for reading: from one replica, and from another where that one fails.
type reader struct {
	fs   *FS
	name string
	opts []vfs.OpenOption
	sums *sums // nil for what has no sidecar

	mu    sync.Mutex
	files []vfs.File // by replica, opened when needed
	bad   []vfs.File // of replicas being repaired; others may be reading them still
	pos   int64      // of Read
}

var _ vfs.File = (*reader)(nil)

func (fs *FS) open(name string, opts []vfs.OpenOption) (vfs.File, error) {
	f := &reader{fs: fs, name: name, opts: opts, files: make([]vfs.File, len(fs.replicas))}
	if err := fs.first(func(r *replica) error {
		_, err := f.file(r)
		return err
	}); err != nil {
		return nil, err
	}
	if sealed(name) {
		f.sums = fs.sidecar(name)
	}
	return f, nil
}

// sidecar returns the checksums of a file, nil if no replica has them.
func (fs *FS) sidecar(name string) (s *sums) {
	_ = fs.first(func(r *replica) error {
		b, err := diskio.ReadFile(r.FS, r.path(name+sumSuffix))
		if err == nil {
			s, err = decodeSums(b)
		}
		return err
	})
	return s
}

// file returns the file of a replica, opened if it is not.
func (f *reader) file(r *replica) (vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if g := f.files[r.index]; g != nil {
		return g, nil
	}
	g, err := r.FS.Open(r.path(f.name), f.opts...)
	if err != nil {
		return nil, err
	}
	f.files[r.index] = g
	return g, nil
}

var bufferPool = sync.Pool{New: func() any { b := make([]byte, 4*sumBlock); return &b }}

// ReadAt implements vfs.File.
func (f *reader) ReadAt(p []byte, off int64) (int, error) {
	if f.sums == nil {
		return f.readPlain(p, off)
	}
	if off >= f.sums.size {
		return 0, io.EOF
	}
	want := min(int64(len(p)), f.sums.size-off)
	first := off / sumBlock * sumBlock
	end := min((off+want+sumBlock-1)/sumBlock*sumBlock, f.sums.size)
	buf := bufferPool.Get().(*[]byte)
	defer bufferPool.Put(buf)
	if int64(len(*buf)) < end-first {
		*buf = make([]byte, end-first)
	}
	b := (*buf)[:end-first]
	if err := f.readVerified(b, first); err != nil {
		return 0, err
	}
	n := copy(p, b[off-first:][:want])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readVerified fills b with whole blocks from the first replica that has them right, and has those that do not repaired.
func (f *reader) readVerified(b []byte, off int64) error {
	var bad []*replica
	var cause, later error
	for _, r := range f.fs.alive() {
		g, err := f.file(r)
		if err == nil {
			_, err = g.ReadAt(b, off)
		}
		if err == nil && f.sums.check(b, off) {
			for _, w := range bad {
				f.fs.repair(w, f.name, f.sums)
				f.forget(w)
			}
			return nil
		}
		if diskio.Busy(err) {
			return diskio.Kind(err) // the file may be as it should
		}
		if errors.Is(err, engine.ErrUnavailable) {
			later = err // its disk does not answer
			continue
		}
		if err == nil {
			err = fmt.Errorf("checksum mismatch in %d+%d", off, len(b))
		}
		f.fs.log.Warn("a metadata file does not read back", zap.String("file", r.path(f.name)), zap.Error(err))
		bad = append(bad, r)
		cause = err
	}
	if later != nil {
		return fmt.Errorf("read %s: %w", f.name, later)
	}
	return fmt.Errorf("read %s: no replica has it right: %w: %w", f.name, engine.ErrCorrupt, cause)
}

// forget lets the next read of a replica find the repaired file.
func (f *reader) forget(r *replica) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if g := f.files[r.index]; g != nil {
		f.bad = append(f.bad, g)
		f.files[r.index] = nil
	}
}

// readPlain reads what has no checksums of its own: logs, which carry theirs in their records.
func (f *reader) readPlain(p []byte, off int64) (n int, err error) {
	eof := false
	ferr := f.fs.first(func(r *replica) error {
		g, err := f.file(r)
		if err != nil {
			return err
		}
		n, err = g.ReadAt(p, off)
		if errors.Is(err, io.EOF) {
			eof = true
			return nil
		}
		return err
	})
	if ferr == nil && eof {
		return n, io.EOF
	}
	return n, ferr
}

// Read implements vfs.File.
func (f *reader) Read(p []byte) (int, error) {
	f.mu.Lock()
	pos := f.pos
	f.mu.Unlock()
	n, err := f.ReadAt(p, pos)
	f.mu.Lock()
	f.pos = pos + int64(n)
	f.mu.Unlock()
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// Stat implements vfs.File.
func (f *reader) Stat() (info vfs.FileInfo, err error) {
	err = f.fs.first(func(r *replica) error {
		g, err := f.file(r)
		if err != nil {
			return err
		}
		info, err = g.Stat()
		if err == nil && f.sums != nil && info.Size() != f.sums.size {
			return fmt.Errorf("%s has %d bytes instead of %d: %w", r.path(f.name), info.Size(), f.sums.size, engine.ErrCorrupt)
		}
		return err
	})
	return info, err
}

// Prefetch implements vfs.File.
func (f *reader) Prefetch(offset, length int64) error {
	return f.fs.first(func(r *replica) error {
		g, err := f.file(r)
		if err != nil {
			return err
		}
		return g.Prefetch(offset, length)
	})
}

// Close implements vfs.File.
func (f *reader) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, g := range f.bad {
		errs = append(errs, g.Close())
	}
	f.bad = nil
	for i, g := range f.files {
		if g != nil {
			errs = append(errs, g.Close())
			f.files[i] = nil
		}
	}
	return errors.Join(errs...)
}

// Sync implements vfs.File: there is nothing to sync.
func (f *reader) Sync() error { return nil }

// SyncData implements vfs.File.
func (f *reader) SyncData() error { return nil }

// SyncTo implements vfs.File.
func (f *reader) SyncTo(int64) (bool, error) { return false, nil }

// Preallocate implements vfs.File.
func (f *reader) Preallocate(int64, int64) error { return nil }

// Write implements vfs.File.
func (f *reader) Write([]byte) (int, error) { return 0, errReadOnly }

// WriteAt implements vfs.File.
func (f *reader) WriteAt([]byte, int64) (int, error) { return 0, errReadOnly }

// Fd implements vfs.File. There is none: a read through it would not be verified.
func (f *reader) Fd() uintptr { return vfs.InvalidFd }

var errReadOnly = errors.New("mirrored file is open for reading only")

// repair replaces the file of a replica by a verified copy, in the background.
func (fs *FS) repair(r *replica, name string, s *sums) {
	fs.repairs.start(fmt.Sprint(r.index, name), func() {
		if err := fs.restore(r, name, s); err != nil {
			fs.log.Error("a metadata file was not repaired", zap.String("file", r.path(name)), zap.Error(err))
			return
		}
		fs.log.Info("a metadata file was repaired", zap.String("file", r.path(name)))
	})
}

// verify tells whether a replica has a file as its checksums say.
func verify(ctx context.Context, r *replica, name string, s *sums, buf []byte, pace func(context.Context, int)) (whole bool, err error) {
	f, err := r.FS.Open(r.path(name))
	if err != nil {
		return false, err
	}
	whole = true
	for off := int64(0); off < s.size && whole && err == nil && ctx.Err() == nil; {
		b := buf[:min(int64(len(buf)), s.size-off)]
		pace(ctx, len(b))
		if _, err = f.ReadAt(b, off); err == nil {
			whole = s.check(b, off)
			off += int64(len(b))
		}
	}
	return whole, errors.Join(err, f.Close())
}

// restore writes a file and its sidecar anew on one replica, each block from whichever replica has it right.
func (fs *FS) restore(to *replica, name string, s *sums) error {
	src := &reader{fs: fs, name: name, files: make([]vfs.File, len(fs.replicas)), sums: s}
	defer src.Close()
	sum := new(summer)
	tmp := name + tmpSuffix
	dst, err := to.FS.Create(to.path(tmp), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	buf := make([]byte, 16*sumBlock)
	for off := int64(0); off < s.size && err == nil; {
		b := buf[:min(int64(len(buf)), s.size-off)]
		if err = src.readQuiet(b, off, to); err == nil {
			sum.add(b)
			_, err = dst.Write(b)
			off += int64(len(b))
		}
	}
	if err == nil {
		err = dst.Sync()
	}
	if err = errors.Join(err, dst.Close()); err != nil {
		if rerr := to.FS.Remove(to.path(tmp)); rerr != nil && !errors.Is(rerr, os.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
		return err
	}
	if err := writeSidecar(to, name, sum.encode()); err != nil {
		return err
	}
	if err := to.FS.Rename(to.path(tmp), to.path(name)); err != nil {
		return err
	}
	return diskio.SyncDir(to.FS, to.path(to.FS.PathDir(name)))
}

// readQuiet fills b block by block from any replica but last, and from that one if the others fail.
func (f *reader) readQuiet(b []byte, off int64, last *replica) error {
	order := make([]*replica, 0, len(f.fs.replicas))
	for _, r := range f.fs.alive() {
		if r != last {
			order = append(order, r)
		}
	}
	if !last.gone.Load() {
		order = append(order, last)
	}
	for len(b) > 0 {
		n := min(len(b), sumBlock)
		ok := false
		for _, r := range order {
			g, err := f.file(r)
			if err == nil {
				_, err = g.ReadAt(b[:n], off)
			}
			if ok = err == nil && f.sums.check(b[:n], off); ok {
				break
			}
		}
		if !ok {
			return fmt.Errorf("no replica has %d+%d right: %w", off, n, engine.ErrCorrupt)
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}
