package privatefs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// owned is the data directories of a store as they were when it locked them, and the folders in them as it found or made them. A path is only a
// path: while the store runs, another disk may come to be mounted there, another store made, a copy of this disk put in its place.
// So nothing is looked for, made, renamed or removed in a folder that is not the same one still.
type owned struct {
	folders []string // names of the folders in a data directory

	mu    sync.Mutex
	dirs  map[string]*os.File // held open: what has an open handle keeps its inode, and no other folder gets the same one
	files sync.Map            // files being written by name: *linkedFile
}

// lock notes a data directory, or a folder in one.
func (o *owned) lock(name string) error {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a named pipe in its place would wait for somebody to write
	if err != nil {
		return err
	}
	if info, err := f.Stat(); err != nil || !info.IsDir() {
		return errors.Join(&fs.PathError{Op: "open", Path: name, Err: syscall.ENOTDIR}, err, f.Close())
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	name = filepath.Clean(name)
	if o.dirs[name] != nil {
		return f.Close() // another was first
	}
	o.dirs[name] = f
	return nil
}

// unlock forgets a data directory and what is in it.
func (o *owned) unlock(dir string) {
	dir = filepath.Clean(dir)
	for _, name := range o.folders {
		o.forget(filepath.Join(dir, name))
	}
	o.forget(dir)
}

// forget lets another folder have a name.
func (o *owned) forget(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	name = filepath.Clean(name)
	if f := o.dirs[name]; f != nil {
		_ = f.Close()
		delete(o.dirs, name)
	}
}

// folder tells whether a path ends as that of a folder in a data directory.
func (o *owned) folder(path string) bool { return slices.Contains(o.folders, filepath.Base(path)) }

// dir returns an error if a folder of the store is not the one that it was. It asks the disk, and holds up no other one.
func (o *owned) dir(name string) error {
	name = filepath.Clean(name)
	o.mu.Lock()
	held, sub := o.dirs[name], o.folder(name) && o.dirs[filepath.Dir(name)] != nil
	o.mu.Unlock()
	if held == nil && !sub {
		return nil
	}
	is, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // what is to be done with it says so
	case err != nil:
		return err
	case held == nil:
		if err := o.dir(filepath.Dir(name)); err != nil {
			return err
		}
		return o.lock(name)
	}
	was, err := held.Stat()
	if err == nil && !os.SameFile(was, is) {
		err = fmt.Errorf("%s: %w", name, diskio.ErrOtherDisk)
	}
	return err
}

// file returns an error if the folder that a file is in is not the one that it was.
func (o *owned) file(name string) error { return o.dir(filepath.Dir(name)) }
