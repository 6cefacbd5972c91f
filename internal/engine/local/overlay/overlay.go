// Package overlay is a vfs.FS that reads a file system and keeps all changes in memory: a store can be opened on it as on its disks, logs
// replayed and all, and nothing on them changes.
//
// What is written takes memory, by pages of 4 KiB. Sync does nothing.
package overlay

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const pageSize = 4096

// FS implements vfs.FS.
type FS struct {
	vfs.FS // what is below: read, never written

	mu      sync.Mutex
	nodes   map[string]*node // what was made, changed or given another name
	removed map[string]bool  // names that are below, and are here no more
	dirs    map[string]bool  // made here
}

var _ vfs.FS = (*FS)(nil)

// New returns a file system over base that has no changes yet.
func New(base vfs.FS) *FS {
	return &FS{FS: base, nodes: make(map[string]*node), removed: make(map[string]bool), dirs: make(map[string]bool)}
}

// node is a file: what lies below, and the pages that were written over it.
type node struct {
	mu    sync.Mutex
	below string // its name there; empty for one that was made here
	size  int64
	known int64 // of what is below so much is part of it
	pages map[int64][]byte
}

// find returns the node of a name, made of what is below if need be. The caller holds mu.
func (fs *FS) find(name string) (*node, error) {
	if n := fs.nodes[name]; n != nil {
		return n, nil
	}
	if fs.gone(name) {
		return nil, &os.PathError{Op: "open", Path: name, Err: os.ErrNotExist}
	}
	info, err := fs.FS.Stat(name)
	if err != nil {
		return nil, err
	}
	n := &node{below: name, size: info.Size(), known: info.Size(), pages: make(map[int64][]byte)}
	fs.nodes[name] = n
	return n, nil
}

// gone tells whether a name was removed here, or a directory above it. The caller holds mu.
func (fs *FS) gone(name string) bool {
	for p := name; ; {
		if fs.removed[p] {
			return true
		}
		up := fs.PathDir(p)
		if up == p || up == "." || up == "" {
			return false
		}
		p = up
	}
}

func (fs *FS) open(name string) (vfs.File, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, err := fs.find(name)
	if err != nil {
		return nil, err
	}
	f := &file{n: n, name: fs.PathBase(name)}
	if n.below != "" {
		if f.below, err = fs.FS.Open(n.below); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// Create implements vfs.FS.
func (fs *FS) Create(name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n := &node{pages: make(map[int64][]byte)}
	fs.nodes[name] = n
	return &file{n: n, name: fs.PathBase(name)}, nil
}

// Open implements vfs.FS.
func (fs *FS) Open(name string, _ ...vfs.OpenOption) (vfs.File, error) { return fs.open(name) }

// OpenReadWrite implements vfs.FS.
func (fs *FS) OpenReadWrite(name string, category vfs.DiskWriteCategory, _ ...vfs.OpenOption) (vfs.File, error) {
	if _, err := fs.Stat(name); os.IsNotExist(err) {
		return fs.Create(name, category)
	}
	return fs.open(name)
}

// OpenDir implements vfs.FS.
func (fs *FS) OpenDir(name string) (vfs.File, error) {
	if _, err := fs.Stat(name); err != nil {
		return nil, err
	}
	return &file{n: &node{}, name: name}, nil
}

// ReuseForWrite implements vfs.FS.
func (fs *FS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := fs.Rename(oldname, newname); err != nil {
		return nil, err
	}
	return fs.open(newname)
}

// Rename implements vfs.FS, for files.
func (fs *FS) Rename(oldname, newname string) error {
	if err := fs.Link(oldname, newname); err != nil {
		return err
	}
	return fs.Remove(oldname)
}

// Link implements vfs.FS.
func (fs *FS) Link(oldname, newname string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, err := fs.find(oldname)
	if err == nil {
		fs.nodes[newname] = n
	}
	return err
}

// Remove implements vfs.FS.
func (fs *FS) Remove(name string) error {
	if _, err := fs.Stat(name); err != nil {
		return err
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	delete(fs.nodes, name)
	fs.removed[name] = true
	return nil
}

// RemoveAll implements vfs.FS.
func (fs *FS) RemoveAll(name string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for other := range fs.nodes {
		if other == name || strings.HasPrefix(other, name+"/") {
			delete(fs.nodes, other)
		}
	}
	delete(fs.dirs, name)
	fs.removed[name] = true
	return nil
}

// MkdirAll implements vfs.FS.
func (fs *FS) MkdirAll(dir string, _ os.FileMode) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.dirs[dir] = true
	return nil
}

// Reading is a file system that locks a directory in which nothing can be written.
type Reading interface {
	LockReading(name string) (io.Closer, error)
}

// Lock implements vfs.FS. A lock file that is there is locked, so that nobody else changes what is below meanwhile; none is made. A disk that
// the system has made read-only is looked at as well: then it is most needed.
func (fs *FS) Lock(name string) (io.Closer, error) {
	if _, err := fs.FS.Stat(name); err != nil {
		return io.NopCloser(nil), nil
	}
	lock, err := fs.FS.Lock(name)
	if !errors.Is(err, syscall.EROFS) {
		return lock, err
	}
	if r, ok := fs.FS.(Reading); ok {
		return r.LockReading(name)
	}
	return io.NopCloser(nil), nil
}

// List implements vfs.FS.
func (fs *FS) List(dir string) ([]string, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	names, err := fs.FS.List(dir)
	if err != nil && !fs.dirs[dir] {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		full := fs.PathJoin(dir, name)
		return fs.gone(full) || fs.nodes[full] != nil
	})
	for name := range fs.nodes {
		if fs.PathDir(name) == dir || fs.PathDir(name) == fs.PathDir(fs.PathJoin(dir, "x")) {
			names = append(names, fs.PathBase(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

// Stat implements vfs.FS.
func (fs *FS) Stat(name string) (vfs.FileInfo, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if n := fs.nodes[name]; n != nil {
		return n.info(fs.PathBase(name)), nil
	}
	if fs.gone(name) && !fs.dirs[name] {
		return nil, &os.PathError{Op: "stat", Path: name, Err: os.ErrNotExist}
	}
	info, err := fs.FS.Stat(name)
	if err != nil && fs.dirs[name] {
		return fileInfo{name: fs.PathBase(name), dir: true}, nil
	}
	return info, err
}

// Unwrap implements vfs.FS. There is nothing below that may be used past this.
func (fs *FS) Unwrap() vfs.FS { return nil }

// file is a node that is open.
type file struct {
	n     *node
	name  string
	below vfs.File // nil if there is none
	pos   int64
}

var _ vfs.File = (*file)(nil)

func (n *node) info(name string) fileInfo {
	n.mu.Lock()
	defer n.mu.Unlock()
	return fileInfo{name: name, size: n.size}
}

// page returns a page to write to. The caller holds n.mu.
func (f *file) page(i int64) ([]byte, error) {
	p := f.n.pages[i]
	if p != nil {
		return p, nil
	}
	p = make([]byte, pageSize)
	if err := f.under(p, i*pageSize); err != nil {
		return nil, err
	}
	f.n.pages[i] = p
	return p, nil
}

// under reads what is below, zeros where there is nothing.
func (f *file) under(p []byte, off int64) error {
	n := min(int64(len(p)), f.n.known-off)
	if f.below == nil || n <= 0 {
		return nil
	}
	_, err := f.below.ReadAt(p[:n], off)
	if err == io.EOF {
		err = nil
	}
	return err
}

// ReadAt implements vfs.File.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.n.mu.Lock()
	defer f.n.mu.Unlock()
	n := min(int64(len(p)), f.n.size-off)
	if n <= 0 {
		return 0, io.EOF
	}
	b := p[:n]
	clear(b)
	if err := f.under(b, off); err != nil {
		return 0, err
	}
	if len(f.n.pages) > 0 {
		for i := off / pageSize; i*pageSize < off+n; i++ {
			if page := f.n.pages[i]; page != nil {
				at := i*pageSize - off
				copy(b[max(0, at):], page[max(0, -at):])
			}
		}
	}
	if int(n) < len(p) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// WriteAt implements vfs.File.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.n.mu.Lock()
	defer f.n.mu.Unlock()
	for done := 0; done < len(p); {
		at := off + int64(done)
		page, err := f.page(at / pageSize)
		if err != nil {
			return done, err
		}
		done += copy(page[at%pageSize:], p[done:])
	}
	f.n.size = max(f.n.size, off+int64(len(p)))
	return len(p), nil
}

// Read implements vfs.File.
func (f *file) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.pos)
	f.pos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

// Write implements vfs.File.
func (f *file) Write(p []byte) (int, error) {
	n, err := f.WriteAt(p, f.pos)
	f.pos += int64(n)
	return n, err
}

// Stat implements vfs.File.
func (f *file) Stat() (vfs.FileInfo, error) { return f.n.info(f.name), nil }

// Close implements vfs.File.
func (f *file) Close() error {
	if f.below != nil {
		return f.below.Close()
	}
	return nil
}

func (f *file) Preallocate(int64, int64) error { return nil }
func (f *file) Sync() error                    { return nil }
func (f *file) SyncData() error                { return nil }
func (f *file) SyncTo(int64) (bool, error)     { return false, nil }
func (f *file) Prefetch(int64, int64) error    { return nil }
func (f *file) Fd() uintptr                    { return vfs.InvalidFd }

// fileInfo describes a file as it is here.
type fileInfo struct {
	name string
	size int64
	dir  bool
}

func (i fileInfo) Name() string { return i.name }
func (i fileInfo) Size() int64  { return i.size }
func (i fileInfo) Mode() os.FileMode {
	if i.dir {
		return os.ModeDir | 0o700
	}
	return 0o600
}
func (i fileInfo) ModTime() time.Time     { return time.Time{} }
func (i fileInfo) IsDir() bool            { return i.dir }
func (i fileInfo) Sys() any               { return nil }
func (i fileInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
