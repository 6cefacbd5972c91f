package extent

import "github.com/cockroachdb/pebble/v2/vfs"

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
		f, err := fs.Open(fs.PathJoin(dir, name))
		if err != nil {
			continue
		}
		h, err := readHeader(f)
		if cerr := f.Close(); err != nil || cerr != nil || h.extent != id || int(h.column) != c {
			continue
		}
		return h.store, h.disk, true
	}
	return store, disk, false
}

// Skip has no extent get an id up to this one: it was given to one whose files are gone.
func (s *Store) Skip(id uint64) {
	s.appending.Lock()
	defer s.appending.Unlock()
	s.last = max(s.last, id)
}
