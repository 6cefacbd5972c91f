package mirror

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// reconcile makes the replicas alike, before anything reads or writes through the FS.
//
// Everything that was acknowledged is in every current replica, as all of them are synced before an acknowledgement. They may
// differ in what was not: tails of logs, files just made or just removed. So any choice between them is right as long as it is
// the same for all of them; the one taken keeps the most. A file that one has and another has not was made or removed just
// before the crash: it is kept, and Pebble removes what it does not need.
func (fs *FS) reconcile() error {
	var current, stale []*replica
	for _, r := range fs.replicas {
		if err := r.FS.MkdirAll(r.path(fs.opts.Dir), 0o755); err != nil {
			fs.log.Error("a metadata replica cannot be used", zap.String("dir", r.Dir), zap.Error(err))
			r.gone.Store(true)
			continue
		}
		if r.Current {
			current = append(current, r)
		} else {
			stale = append(stale, r)
		}
	}
	if len(current) == 0 {
		return errors.New("no current replica")
	}
	// A stale replica is not read from: it joins when it has been filled.
	for _, r := range stale {
		r.gone.Store(true)
	}
	for _, r := range current {
		if err := fs.mend(r, fs.sweep(r)); err != nil {
			return err
		}
	}
	names, err := fs.union(current)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := fs.alike(current, fs.opts.Dir+"/"+name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, r := range current {
		if r.gone.Load() {
			continue
		}
		if err := fs.mend(r, diskio.SyncDir(r.FS, r.path(fs.opts.Dir))); err != nil {
			return err
		}
	}
	for _, r := range stale {
		if err := fs.fill(r, names); err != nil {
			fs.log.Error("a stale metadata replica was not filled", zap.String("dir", r.Dir), zap.Error(err))
			continue
		}
		r.gone.Store(false)
	}
	return nil
}

// mend drops a current replica that could not be made like the others. What is damaged on all of them is no reason to: its
// reads will fail, and others go on.
func (fs *FS) mend(r *replica, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, engine.ErrCorrupt):
		fs.log.Error("a metadata file is damaged on all replicas", zap.Error(err))
		return nil
	}
	return fs.drop(r, err)
}

// sweep removes the remains of an interrupted copy.
func (fs *FS) sweep(r *replica) error {
	names, err := r.FS.List(r.path(fs.opts.Dir))
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, tmpSuffix) {
			if err := r.FS.Remove(r.path(fs.opts.Dir + "/" + name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// union lists the files of all replicas, without sidecars.
func (fs *FS) union(replicas []*replica) ([]string, error) {
	var all []string
	for _, r := range replicas {
		names, err := r.FS.List(r.path(fs.opts.Dir))
		if err := fs.mend(r, err); err != nil {
			return nil, err
		}
		for _, name := range names {
			if !strings.HasSuffix(name, sumSuffix) {
				all = append(all, name)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// alike makes one file the same on all current replicas.
func (fs *FS) alike(current []*replica, name string) error {
	if sealed(name) {
		return fs.alikeSealed(current, name)
	}
	contents := make([][]byte, len(current))
	best, same := -1, true
	for i, r := range current {
		b, err := diskio.ReadFile(r.FS, r.path(name))
		if err != nil {
			if !errors.Is(err, os.ErrNotExist) {
				fs.log.Warn("a metadata file does not read back", zap.String("file", r.path(name)), zap.Error(err))
			}
			same = false
			continue
		}
		contents[i] = b
		if b == nil {
			contents[i] = []byte{}
		}
		if best < 0 {
			best = i
			continue
		}
		if !bytes.Equal(b, contents[best]) {
			same = false
			v, w := fs.opts.Valid(name, b), fs.opts.Valid(name, contents[best])
			if v > w || v == w && len(b) > len(contents[best]) {
				best = i
			}
		}
	}
	if same || best < 0 {
		return nil
	}
	for i, r := range current {
		if r.gone.Load() {
			continue
		}
		if contents[i] == nil || !bytes.Equal(contents[i], contents[best]) {
			if err := fs.mend(r, replace(r, name, contents[best])); err != nil {
				return err
			}
		}
	}
	return nil
}

// alikeSealed copies a file from a replica that has it whole to those that have not. Its blocks are compared when they are
// read; here only existence, length and sidecar are.
func (fs *FS) alikeSealed(current []*replica, name string) error {
	var good *sums
	whole := make([]bool, len(current))
	for i, r := range current {
		s, err := inFullLength(r, name)
		if err == nil {
			whole[i] = true
			if good == nil {
				good = s
			}
		}
	}
	if good == nil {
		// Half made on all of them, so nothing refers to it. Alike or not, Pebble removes it: List shows what any of them has, and Remove
		// minds no replica without it.
		return nil
	}
	for i, r := range current {
		if !whole[i] && !r.gone.Load() {
			if err := fs.mend(r, fs.restore(r, name, good)); err != nil {
				return err
			}
		}
	}
	return nil
}

// inFullLength returns the checksums of a file that is there in its full length.
func inFullLength(r *replica, name string) (*sums, error) {
	b, err := diskio.ReadFile(r.FS, r.path(name+sumSuffix))
	if err != nil {
		return nil, err
	}
	s, err := decodeSums(b)
	if err != nil {
		return nil, err
	}
	info, err := r.FS.Stat(r.path(name))
	if err != nil {
		return nil, err
	}
	if info.Size() != s.size {
		return nil, fmt.Errorf("%d bytes instead of %d", info.Size(), s.size)
	}
	return s, nil
}

// fill makes a stale replica equal to the current ones. Sealed files it has already are kept if their checksums are the same.
func (fs *FS) fill(r *replica, names []string) error {
	have, err := r.FS.List(r.path(fs.opts.Dir))
	if err != nil {
		return err
	}
	for _, name := range have {
		if base := strings.TrimSuffix(name, sumSuffix); !slices.Contains(names, base) {
			if err := r.FS.RemoveAll(r.path(fs.opts.Dir + "/" + name)); err != nil {
				return err
			}
		}
	}
	for _, base := range names {
		name := fs.opts.Dir + "/" + base
		if sealed(name) {
			if s := fs.sidecar(name); s != nil {
				mine, err := inFullLength(r, name)
				if err == nil && bytes.Equal(mine.raw, s.raw) && mine.size == s.size {
					continue
				}
				if err := fs.restore(r, name, s); err != nil {
					return fmt.Errorf("copy %s: %w", name, err)
				}
				continue
			}
		}
		var b []byte
		err := fs.first(func(from *replica) (err error) {
			b, err = diskio.ReadFile(from.FS, from.path(name))
			return err
		})
		if err == nil {
			err = replace(r, name, b)
		}
		if err != nil {
			return fmt.Errorf("copy %s: %w", name, err)
		}
	}
	return diskio.SyncDir(r.FS, r.path(fs.opts.Dir))
}

// replace writes a file anew on one replica, durably but for its directory entry.
func replace(r *replica, name string, b []byte) error {
	tmp := name + tmpSuffix
	f, err := r.FS.Create(r.path(tmp), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(bytes.Clone(b))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return r.FS.Rename(r.path(tmp), r.path(name))
}

// ValidPrefix returns how many bytes of a log or manifest of Pebble can be read as records.
func ValidPrefix(name string, b []byte) int64 {
	var number uint64
	if base := path.Base(name); strings.HasSuffix(base, ".log") {
		base, _, _ = strings.Cut(strings.TrimSuffix(base, ".log"), "-")
		number, _ = strconv.ParseUint(base, 10, 32) // a foreign name has no valid records under 0 either
	}
	rr := newRecordReader(record.NewReader, bytes.NewReader(b), number)
	var valid int64
	for {
		r, err := rr.Next()
		if err != nil {
			return valid
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			return valid
		}
		valid = rr.Offset()
	}
}

// newRecordReader calls record.NewReader, whose second parameter has a type without a public name.
func newRecordReader[N ~uint64](open func(io.Reader, N) *record.Reader, r io.Reader, number uint64) *record.Reader {
	return open(r, N(number))
}
