package extent

import (
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Identify finds out from the headers of the columns in a folder which store, and which of its disks, they belong to.
func Identify(fs vfs.FS, dir string) (store, disk [16]byte, ok bool) {
	names, err := fs.List(dir)
	if err != nil {
		return store, disk, false
	}
	for _, name := range names {
		id, c, isColumn := parseColumnName(name)
		if !isColumn {
			continue
		}
		h, ok := headerAt(fs, fs.PathJoin(dir, name))
		if !ok || h.extent != id || int(h.column) != c {
			continue
		}
		return h.store, h.disk, true
	}
	return store, disk, false
}

// Newest returns the number of the start that made the newest column in a folder, so far as the headers of the newest files tell.
func Newest(fs vfs.FS, dir string, store [16]byte) (started uint64) {
	names, err := fs.List(dir)
	if err != nil {
		return 0
	}
	slices.Sort(names)
	looked := 0
	for _, name := range slices.Backward(names) {
		id, c, ok := parseColumnName(name)
		if !ok {
			continue
		}
		if h, ok := headerAt(fs, fs.PathJoin(dir, name)); ok && h.store == store && h.extent == id && int(h.column) == c {
			return h.started
		}
		if looked++; looked == 16 {
			break // the rest is older, and something is wrong that others find
		}
	}
	return 0
}

func headerAt(fs vfs.FS, path string) (fileHeader, bool) {
	f, err := fs.Open(path)
	if err != nil {
		return fileHeader{}, false
	}
	h, err := readHeader(f)
	return h, errors.Join(err, f.Close()) == nil
}

// Skip has no extent get an id up to this one: it was given to one whose files are gone.
func (s *Store) Skip(id uint64) {
	s.appending.Lock()
	defer s.appending.Unlock()
	s.last = max(s.last, id)
}
