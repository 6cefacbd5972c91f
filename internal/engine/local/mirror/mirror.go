// Package mirror is a vfs.FS that keeps every file on several disks, so that metadata survives what data survives.
//
// # Guarantees
//
//   - Sync returns when all replicas in use are synced. A replica that fails any write is dropped: the drop is recorded durably
//     by the owner (Options.Drop) before the operation that met it returns, so a replica that lacks something acknowledged is
//     never taken for a current one.
//   - Files that are written once (tables, blob files, options) have a sidecar of checksums, made as they are written and synced
//     before Close returns. Reads compare with it; what does not match is read from another replica, and the file is repaired.
//   - Open makes the replicas alike before anyone reads. Of a log that differs the longest valid one is kept: it holds at least
//     what was synced. Replicas that are not current are never a source; they are filled from one that is.
//
// A failure of one replica is no error while another is left. Names are relative: the file "meta/000001.log" is kept at that
// path under every replica's directory.
//
// # Locks
//
// FS.entries comes before FS.mu, which guards the drop of replicas and is held while a drop is recorded. Neither is taken with a
// file's mutex held.
package mirror

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// Replica is one place where the files are kept.
type Replica struct {
	FS      vfs.FS
	Dir     string
	Current bool // it holds everything that was acknowledged
}

// Options of Open.
type Options struct {
	Replicas []Replica // in the order of preference for reading; at least one is current
	Dir      string    // the directory under each replica that is made alike by Open
	// Drop records durably that a replica is no longer current. An error stops all writing.
	Drop func(replica int, cause error) error
	// Valid tells, by its name and content, how many bytes of a file that is appended to are good. Nil: what reads as records of
	// Pebble is.
	Valid  func(name string, b []byte) int64
	Logger *zap.Logger
}

// FS implements vfs.FS over the replicas.
type FS struct {
	opts     Options
	log      *zap.Logger
	replicas []*replica

	mu   sync.Mutex // see the package comment
	dead error      // sticky: a drop could not be recorded, or no replica is left

	repairs repairs
	// entries is held for reading while a file that a scrub looks at comes, goes or gets another name, which it does on one replica after
	// the other; for writing by a scrub that judges whether one lacks it.
	entries sync.RWMutex
}

type replica struct {
	Replica
	index int
	gone  atomic.Bool
}

var _ vfs.FS = (*FS)(nil)

// Open makes the replicas alike and returns the file system over them. A stale replica that cannot be filled is left out;
// Members tells.
func Open(opts Options) (*FS, error) {
	if opts.Logger == nil {
		opts.Logger = zap.NewNop()
	}
	if opts.Valid == nil {
		opts.Valid = ValidPrefix
	}
	fs := &FS{opts: opts, log: opts.Logger}
	for i, r := range opts.Replicas {
		fs.replicas = append(fs.replicas, &replica{Replica: r, index: i})
	}
	if err := fs.reconcile(); err != nil {
		return nil, fmt.Errorf("make the metadata replicas alike: %w", err)
	}
	return fs, nil
}

// Members tells which replicas are in use.
func (fs *FS) Members() []bool {
	members := make([]bool, len(fs.replicas))
	for i, r := range fs.replicas {
		members[i] = !r.gone.Load()
	}
	return members
}

// Leave drops the replica in a directory, if it is in use. cause is returned where no other is left.
func (fs *FS) Leave(dir string, cause error) error {
	for _, r := range fs.replicas {
		if r.Dir == dir && !r.gone.Load() {
			return fs.drop(r, cause)
		}
	}
	return nil
}

// Last tells whether the replica in a directory is in use, and no other is that is usable.
func (fs *FS) Last(dir string, usable func(dir string) bool) bool {
	in, other := false, false
	for _, r := range fs.replicas {
		switch {
		case r.gone.Load():
		case r.Dir == dir:
			in = true
		default:
			other = other || usable(r.Dir)
		}
	}
	return in && !other
}

// Wait returns when the repairs under way are done.
func (fs *FS) Wait() { fs.repairs.wait() }

// Repairing is how many files are being repaired.
func (fs *FS) Repairing() int { return fs.repairs.count() }

func (r *replica) path(name string) string { return r.FS.PathJoin(r.Dir, name) }

// alive returns the replicas in use.
func (fs *FS) alive() []*replica {
	alive := make([]*replica, 0, len(fs.replicas))
	for _, r := range fs.replicas {
		if !r.gone.Load() {
			alive = append(alive, r)
		}
	}
	return alive
}

// A drop that meets a shortage is tried again: who comes to the store again would find the replicas unlike.
const (
	dropTries = 100
	dropPause = 50 * time.Millisecond
)

// drop takes a replica out of use. When it returns without error the drop is durable.
func (fs *FS) drop(r *replica, cause error) error {
	for tries := 1; ; tries++ {
		err := fs.tryDrop(r, cause, tries)
		if !errors.Is(err, errAgain) {
			return err
		}
		time.Sleep(dropPause) // without the lock: others have replicas to drop too
	}
}

var errAgain = errors.New("the drop met a shortage")

func (fs *FS) tryDrop(r *replica, cause error, try int) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.dead != nil {
		return fs.dead
	}
	if r.gone.Load() {
		return nil
	}
	if len(fs.alive()) == 1 {
		// The caller gets the cause itself; nothing is left to fall back on.
		return cause
	}
	if try == 1 {
		fs.log.Error("a metadata replica is dropped", zap.String("dir", r.Dir), zap.Error(cause))
	}
	err := fs.opts.Drop(r.index, cause)
	switch {
	case diskio.Busy(err) && try < dropTries:
		return errAgain
	case err != nil:
		fs.dead = fmt.Errorf("record the loss of the metadata replica in %s: %w", r.Dir, err)
		return fs.dead
	}
	r.gone.Store(true)
	return nil
}

// each runs an operation that must leave all replicas alike. Where it fails on some, those are dropped; where it fails on all,
// the first error is returned and nothing is dropped.
func (fs *FS) each(op func(r *replica) error) error {
	alive := fs.alive()
	errs := make([]error, len(alive))
	failed := 0
	for i, r := range alive {
		if errs[i] = op(r); errs[i] != nil {
			failed++
		}
	}
	return fs.dropFailed(alive, errs, failed)
}

// eachOpen is each for what takes descriptors. A shortage of them is no replica's fault: the caller gets it and may come again.
func (fs *FS) eachOpen(name string, op func(r *replica) error) error {
	alive := fs.alive()
	errs := make([]error, len(alive))
	failed := 0
	for i, r := range alive {
		if errs[i] = op(r); diskio.Busy(errs[i]) || spared(name, errs[i]) {
			return diskio.Kind(errs[i])
		}
		if errs[i] != nil {
			failed++
		}
	}
	return fs.dropFailed(alive, errs, failed)
}

// changes begins a change of an entry that a scrub looks at, and returns what ends it. Logs are made and removed without it.
func (fs *FS) changes(name string) (end func()) {
	if growing(name) {
		return func() {}
	}
	fs.entries.RLock()
	return fs.entries.RUnlock
}

// spared tells whether a file that was not written for want of room is no loss: a table is given up, and written again when there is
// room. Its replica is as good as before.
func spared(name string, err error) bool { return diskio.NoSpace(err) && sealed(name) }

// dropFailed drops the replicas that failed where others did not.
func (fs *FS) dropFailed(alive []*replica, errs []error, failed int) error {
	if failed == 0 {
		return nil
	}
	if failed == len(alive) {
		return errs[0]
	}
	for i, r := range alive {
		if errs[i] != nil {
			if err := fs.drop(r, errs[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// Create implements vfs.FS.
func (fs *FS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	defer fs.changes(name)()
	f := &file{fs: fs, name: name, files: make([]vfs.File, len(fs.replicas))}
	err := fs.eachOpen(name, func(r *replica) (err error) {
		f.files[r.index], err = r.FS.Create(r.path(name), category)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, f.closeAll())
	}
	if sealed(name) {
		f.sum = new(summer)
	}
	return f, nil
}

// Link implements vfs.FS.
func (fs *FS) Link(oldname, newname string) error {
	defer fs.changes(newname)()
	return fs.each(func(r *replica) error {
		if sealed(oldname) {
			err := r.FS.Link(r.path(oldname+sumSuffix), r.path(newname+sumSuffix))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		return r.FS.Link(r.path(oldname), r.path(newname))
	})
}

// Rename implements vfs.FS.
func (fs *FS) Rename(oldname, newname string) error {
	defer fs.changes(newname)()
	return fs.each(func(r *replica) error {
		if sealed(oldname) {
			err := r.FS.Rename(r.path(oldname+sumSuffix), r.path(newname+sumSuffix))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		return r.FS.Rename(r.path(oldname), r.path(newname))
	})
}

// Remove implements vfs.FS. A replica that has no such file is like those that have it no longer.
func (fs *FS) Remove(name string) error {
	defer fs.changes(name)()
	var missing error
	there := false
	err := fs.each(func(r *replica) error {
		if sealed(name) { // first: nobody would look for one without a file
			if err := r.FS.Remove(r.path(name + sumSuffix)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		err := r.FS.Remove(r.path(name))
		if errors.Is(err, os.ErrNotExist) {
			missing = err
			return nil
		}
		there = true
		return err
	})
	if err == nil && !there {
		return missing
	}
	return err
}

// RemoveAll implements vfs.FS.
func (fs *FS) RemoveAll(name string) error {
	return fs.each(func(r *replica) error { return r.FS.RemoveAll(r.path(name)) })
}

// ReuseForWrite implements vfs.FS. It makes a new file: an old log's bytes beyond the end of a new one would only make the
// replicas differ.
func (fs *FS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := fs.Remove(oldname); err != nil {
		return nil, err
	}
	return fs.Create(newname, category)
}

// MkdirAll implements vfs.FS.
func (fs *FS) MkdirAll(dir string, perm os.FileMode) error {
	return fs.each(func(r *replica) error { return r.FS.MkdirAll(r.path(dir), perm) })
}

// OpenReadWrite implements vfs.FS. Nothing that is mirrored is written in place.
func (fs *FS) OpenReadWrite(string, vfs.DiskWriteCategory, ...vfs.OpenOption) (vfs.File, error) {
	return nil, vfs.ErrUnsupported
}

// OpenDir implements vfs.FS.
func (fs *FS) OpenDir(name string) (vfs.File, error) {
	f := &file{fs: fs, name: name, files: make([]vfs.File, len(fs.replicas))}
	err := fs.eachOpen(name, func(r *replica) (err error) {
		f.files[r.index], err = r.FS.OpenDir(r.path(name))
		return err
	})
	if err != nil {
		return nil, errors.Join(err, f.closeAll())
	}
	return f, nil
}

// Open implements vfs.FS.
func (fs *FS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	return fs.open(name, opts)
}

// first runs a reading operation on the replicas in turn until one does it.
func (fs *FS) first(op func(r *replica) error) error {
	var first error
	for _, r := range fs.alive() {
		err := op(r)
		if err == nil {
			return nil
		}
		if first == nil || errors.Is(first, os.ErrNotExist) {
			first = err
		}
	}
	return first
}

// List implements vfs.FS. It shows what any replica has: a file that a crash left half made on one of them is nobody's, and who opens the
// store removes what it sees only. The sidecars are not shown.
func (fs *FS) List(dir string) ([]string, error) {
	var all []string
	var first error
	listed := false
	for _, r := range fs.alive() {
		names, err := r.FS.List(r.path(dir))
		if err != nil {
			if first == nil || errors.Is(first, os.ErrNotExist) {
				first = err
			}
			continue
		}
		listed = true
		all = append(all, names...)
	}
	if !listed {
		return nil, first
	}
	all = slices.DeleteFunc(all, func(name string) bool {
		return strings.HasSuffix(name, sumSuffix) || strings.HasSuffix(name, tmpSuffix)
	})
	slices.Sort(all)
	return slices.Compact(all), nil
}

// Stat implements vfs.FS.
func (fs *FS) Stat(name string) (info vfs.FileInfo, err error) {
	err = fs.first(func(r *replica) (err error) {
		info, err = r.FS.Stat(r.path(name))
		return err
	})
	return info, err
}

// Lock implements vfs.FS. The owner holds the locks of the replicas' directories.
func (fs *FS) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

// GetDiskUsage implements vfs.FS with the fullest of the disks.
func (fs *FS) GetDiskUsage(path string) (usage vfs.DiskUsage, err error) {
	for i, r := range fs.alive() {
		u, err := r.FS.GetDiskUsage(r.path(path))
		if err != nil {
			return usage, err
		}
		if i == 0 || u.AvailBytes < usage.AvailBytes {
			usage = u
		}
	}
	return usage, nil
}

// PathBase implements vfs.FS.
func (fs *FS) PathBase(path string) string { return fs.replicas[0].FS.PathBase(path) }

// PathJoin implements vfs.FS.
func (fs *FS) PathJoin(elem ...string) string { return fs.replicas[0].FS.PathJoin(elem...) }

// PathDir implements vfs.FS.
func (fs *FS) PathDir(path string) string { return fs.replicas[0].FS.PathDir(path) }

// Unwrap implements vfs.FS.
func (fs *FS) Unwrap() vfs.FS { return nil }
