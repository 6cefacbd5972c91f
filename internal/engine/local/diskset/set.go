// Package diskset is the data directories of a store: which store and which of its disks each of them is (blobd.format), and which of
// them hold current metadata.
//
//   - A directory that is foreign, copied, locked by another process or of a newer format is refused before anything is written.
//   - A start goes on only with disks that together know all that was acknowledged: see the history in epoch.go.
//   - A disk that was away is recognised by its id and epoch, and is no source of what it missed.
package diskset

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskio"
	"github.com/blobd/blobd/internal/engine/local/diskspace"
	"github.com/blobd/blobd/internal/engine/local/extent"
	"github.com/blobd/blobd/internal/engine/local/wal"
	"github.com/blobd/blobd/internal/engine/siphash"
)

// widths are the erasure codes by number of disks: k data and m parity columns.
var widths = map[int][2]uint8{
	1: {1, 0}, 2: {1, 1}, 3: {2, 1}, 4: {2, 2}, 5: {3, 2}, 6: {4, 2}, 7: {5, 2}, 8: {6, 2}, 9: {7, 2}, 10: {8, 2},
	11: {8, 3}, 12: {9, 3}, 13: {10, 3}, 14: {11, 3}, 15: {12, 3}, 16: {12, 4},
}

// Width is the erasure code of a store on so many disks; k is 0 if there can be none.
func Width(disks int) (k, m int) { return int(widths[disks][0]), int(widths[disks][1]) }

// Disk is one data directory.
type Disk struct {
	Dir    string
	Detail string                 // why it is not in use; empty if it is
	format atomic.Pointer[format] // nil while nothing valid is known; written under the mutex of the set, once the disks are open
	onDisk bool                   // format is what blobd.format says, and not made up for a disk that has lost it
	repair bool                   // a copy in the format file is bad, or the file is
	blank  bool                   // the directory is not there, or empty: a store may be made in it
	lock   io.Closer
}

// Usable tells whether the disk is read and written.
func (d *Disk) Usable() bool { return d.format.Load() != nil && d.Detail == "" }

// Set is the disks of a store, by index. It knows which of them hold current metadata.
type Set struct {
	fs  vfs.FS
	log *zap.Logger

	Store [16]byte
	IDs   [maxDisks][16]byte
	K, M  int
	Since Since
	Disks []*Disk // K+M; those that are not there have Detail and, if known, Dir

	mu       sync.Mutex // held while records are written, for as long as a disk takes
	epoch    uint64     // 0: the store is being made
	promised uint64
	Started  uint64        // the log list is of this start or a later one
	members  atomic.Uint32 // written to under mu
	left     uint32

	leftEpoch uint64
	words     [maxWords]uint64
	run       uint64 // random number of this process
	runs      [maxRuns]uint64
}

// Options of Open.
type Options struct {
	FS     vfs.FS
	Logger *zap.Logger
	Dirs   []string // in any order

	Existing      bool     // refuse to make a store where there is none
	Restore       bool     // refuse a store that is there
	AcceptMissing []string // names of what the store is to go on without
	Replace       []string // names of disks for each of which an empty directory is taken
	Lossy         bool     // replace also where not all could be rebuilt
}

// What lies in a data directory, beside the format file and the reserve.
const (
	MetaDir   = "meta"    // of Pebble's files
	ExtentDir = "extents" // of the columns
)

// ErrOccupied: the directories to restore to are not empty.
var ErrOccupied = errors.New("there is a store already")

// Since is what a store has since version 2 of its format, and from where on.
type Since struct {
	Secret siphash.Key
	Extent uint64 // the first extent of version 2
	Log    uint64 // the first log of version 2
}

// Open locks and recognises the directories. If all are empty it makes a new store on them, unless there must be one.
func Open(o Options) (_ *Set, err error) {
	if len(o.Dirs) == 0 {
		return nil, errors.New("no data directory given")
	}
	set := &Set{fs: o.FS, log: o.Logger, run: random()}
	var found []*Disk
	defer func() {
		if err != nil {
			for _, d := range found {
				if d.lock != nil {
					err = errors.Join(err, d.lock.Close())
				}
			}
		}
	}()
	for i, dir := range o.Dirs {
		if slices.Contains(o.Dirs[:i], dir) {
			return nil, fmt.Errorf("data directory %s is given twice", dir)
		}
		d := &Disk{Dir: dir}
		found = append(found, d)
		if err := set.inspect(d); err != nil {
			return nil, fmt.Errorf("data directory %s: %w", dir, err)
		}
	}
	newest, err := set.agree(found)
	switch {
	case err != nil:
		return nil, err
	case o.Restore && newest != nil && newest.epoch != 0:
		return nil, ErrOccupied
	case (newest == nil || newest.epoch == 0) && (o.Existing || len(o.AcceptMissing) > 0):
		return nil, fmt.Errorf("there is no store in %s, and none is made: name the directories that hold one, and mount their disks; "+
			"a start with neither --existing nor --accept-missing makes a new one: %w", strings.Join(o.Dirs, ", "), engine.ErrUnavailable)
	case newest == nil:
		return set, set.create(found)
	case newest.epoch == 0:
		return set, set.begin(newest, found)
	}
	return set, set.adopt(newest, found, o)
}

// inspect locks a directory and reads its format file. Nothing is made: a directory that is not there may be one that is not mounted.
// What is wrong with this disk alone becomes its detail; what must not go on is an error.
func (set *Set) inspect(d *Disk) error {
	switch info, err := set.fs.Stat(d.Dir); {
	case errors.Is(err, os.ErrNotExist):
		d.blank = true
		return nil
	case errors.Is(err, diskio.ErrNotPlain), err == nil && !info.IsDir():
		return errors.New("not a directory: --data names the directory that is to hold the data, or holds it")
	case err != nil:
		d.Detail = err.Error()
		return nil
	}
	if err := set.lockDir(d); err != nil {
		return err
	}
	for _, sub := range []string{MetaDir, ExtentDir} {
		sub = set.fs.PathJoin(d.Dir, sub)
		info, err := set.fs.Stat(sub)
		if err == nil && !info.IsDir() {
			err = fmt.Errorf("%s is a file; move it away, and put back the folder that was there: %w", sub, engine.ErrCorrupt)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			d.Detail = err.Error()
			return nil
		}
	}
	b, err := diskio.ReadFile(set.fs, set.fs.PathJoin(d.Dir, FormatName))
	if err == nil {
		whole := false
		var f *format
		if f, whole, err = decodeFormat(b); err == nil {
			d.format.Store(f)
			d.onDisk, d.repair = true, !whole
			return nil
		}
		if errors.Is(err, errFormatVersion) {
			return err
		}
		d.Detail = fmt.Sprintf("%s: %v", FormatName, err)
		return nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		d.Detail = err.Error()
		return nil
	}
	names, err := set.fs.List(d.Dir)
	if err != nil {
		d.Detail = err.Error()
		return nil
	}
	for _, name := range names {
		switch name {
		case MetaDir, ExtentDir:
			d.Detail = FormatName + " is missing"
		case "LOCK", FormatName + ".tmp", diskspace.ReserveName, "lost+found", "tls":
		default:
			return fmt.Errorf("not empty, and no data directory of blobd (it holds %q but no %s)", name, FormatName)
		}
	}
	d.blank = d.Detail == ""
	return nil
}

// lockDir locks a directory. One in which that cannot be done, as it is read-only, is not used, but read for what it says of the store:
// nobody writes there.
func (set *Set) lockDir(d *Disk) (err error) {
	d.lock, err = set.fs.Lock(set.fs.PathJoin(d.Dir, "LOCK"))
	if err == nil {
		return nil
	}
	d.lock = nil
	if errors.Is(err, syscall.EAGAIN) || strings.Contains(err.Error(), "already locked") || strings.Contains(err.Error(), "lock held") {
		return fmt.Errorf("in use by another process: %w", err)
	}
	d.Detail = "not writable: " + err.Error()
	return nil
}

// agree verifies that the disks found belong to one store and returns the newest format, nil if a store may be made on them.
func (set *Set) agree(found []*Disk) (newest *format, err error) {
	var from *Disk
	for _, d := range found {
		f := d.format.Load()
		if f == nil {
			continue
		}
		if newest != nil && (f.store != newest.store || f.k != newest.k || f.m != newest.m || f.disks != newest.disks) {
			return nil, fmt.Errorf("data directories %s and %s belong to different stores", from.Dir, d.Dir)
		}
		for _, other := range found {
			if o := other.format.Load(); other != d && o != nil && o.disk == f.disk {
				return nil, fmt.Errorf("data directories %s and %s are copies of one disk", d.Dir, other.Dir)
			}
		}
		if newest == nil || f.epoch > newest.epoch {
			newest, from = f, d
		}
	}
	if newest == nil {
		for _, d := range found {
			if !d.blank {
				return nil, fmt.Errorf("data directory %s: %s: %w; put the file back from a backup, or mount the store's other disks", d.Dir, d.Detail, engine.ErrCorrupt)
			}
		}
		return nil, nil
	}
	if len(found) > newest.n() {
		return nil, fmt.Errorf("%d data directories given for a store of %d disks", len(found), newest.n())
	}
	return newest, nil
}

// create begins a new store. Its disks carry epoch 0 until it is made: a crash before that leaves nothing that could be taken for
// a store, and the next start begins again.
func (set *Set) create(found []*Disk) error {
	k, m := Width(len(found))
	if k == 0 {
		return fmt.Errorf("%d data directories given: at most %d are supported", len(found), maxDisks)
	}
	f := &format{k: uint8(k), m: uint8(m)}
	_, _ = rand.Read(f.store[:]) // never fails
	_, _ = rand.Read(f.secret[:])
	for i := range found {
		_, _ = rand.Read(f.disks[i][:])
	}
	return set.begin(f, found)
}

// begin makes, or makes again, the disks of a store that is not finished: they hold a format file and nothing else.
func (set *Set) begin(f *format, found []*Disk) error {
	if len(found) != f.n() {
		return fmt.Errorf("%d data directories given, but the making of a store on %d was interrupted here", len(found), f.n())
	}
	if f.secret == (siphash.Key{}) { // version 1 began it
		_, _ = rand.Read(f.secret[:])
	}
	set.setFormat(f)
	set.members.Store(set.Replicas())
	var blank []*Disk
	for _, d := range found {
		if d.format.Load() == nil && !d.blank || d.format.Load() != nil && d.Detail != "" {
			return fmt.Errorf("data directory %s, in which a store is to be made: %s", d.Dir, d.Detail)
		}
		if f := d.format.Load(); f != nil {
			set.Disks[f.index] = d
		} else {
			blank = append(blank, d)
		}
	}
	for i, d := range set.Disks {
		if d.Dir == "" {
			d, blank = blank[0], blank[1:]
			set.Disks[i] = d
		}
		if err := diskio.MakeDir(set.fs, d.Dir); err != nil {
			return fmt.Errorf("make data directory %s: %w", d.Dir, diskio.Kind(err))
		}
		if d.lock == nil {
			if err := set.lockDir(d); err != nil {
				return fmt.Errorf("data directory %s: %w", d.Dir, err)
			}
			if d.Detail != "" {
				return fmt.Errorf("data directory %s: %s", d.Dir, d.Detail)
			}
		}
		for _, sub := range []string{MetaDir, ExtentDir} {
			if err := set.fs.RemoveAll(set.fs.PathJoin(d.Dir, sub)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("clear data directory %s: %w", d.Dir, diskio.Kind(err))
			}
		}
		d.format.Store(set.record(i))
	}
	return set.write(0, set.Replicas())
}

// setFormat sets what the format says of the whole store.
func (set *Set) setFormat(f *format) {
	set.Store, set.IDs, set.K, set.M = f.store, f.disks, int(f.k), int(f.m)
	set.epoch, set.promised, set.Started, set.left = f.epoch, f.promised, f.started, f.left
	set.members.Store(f.members)
	set.leftEpoch, set.words, set.runs = f.leftEpoch, f.words, f.runs
	set.Since = Since{f.secret, f.extent, f.log}
	set.Disks = make([]*Disk, f.n())
	for i := range set.Disks {
		set.Disks[i] = &Disk{Detail: "missing: its directory is not given, or empty"}
	}
}

// Fresh tells whether the store is being made.
func (set *Set) Fresh() bool { return set.epoch == 0 }

// Replicas is the mask of the disks that are meant to hold metadata: the first m+1.
func (set *Set) Replicas() uint32 { return 1<<(set.M+1) - 1 }

// adopt takes the disks of an existing store.
func (set *Set) adopt(newest *format, found []*Disk, o Options) error {
	accepted, replaced := o.AcceptMissing, o.Replace
	set.setFormat(newest)
	var strays []*Disk
	for _, d := range found {
		if d.format.Load() == nil {
			strays = append(strays, d)
			continue
		}
		set.Disks[d.format.Load().index] = d
	}
	strays = slices.DeleteFunc(strays, set.identify)
	strays, err := set.replace(strays, replaced)
	if err != nil {
		return err
	}
	for _, d := range strays {
		// Which disk it was nobody can tell if several are missing; the directory is shown with any of them.
		for i, have := range set.Disks {
			if have.format.Load() == nil && have.Dir == "" {
				if d.Detail == "" {
					d.Detail = "missing: the directory is empty or not there; perhaps the disk is not mounted"
				}
				set.Disks[i] = d
				break
			}
		}
	}
	if err := set.oneHistory(newest); err != nil {
		return err
	}
	if err := set.newerColumns(newest, accepted); err != nil {
		return err
	}
	if len(replaced) > 0 && !o.Lossy {
		if err := set.rebuildable(); err != nil {
			return err
		}
	}
	before := set.left
	if err := set.leave(append(slices.Clone(accepted), replaced...)); err != nil {
		return err
	}
	if err := set.quorum(before); err != nil {
		return err
	}
	if set.Current() == 0 {
		return fmt.Errorf("no disk with current metadata is there: %w (%s); mount the disk that was in use last", engine.ErrUnavailable, set.missing())
	}
	for i, d := range set.Disks {
		if !d.Usable() {
			set.log.Error("the store starts without a disk", zap.String("disk", set.word(i)), zap.String("dir", d.Dir), zap.String("cause", d.Detail))
		}
	}
	if set.Since.Secret == (siphash.Key{}) {
		if err := set.migrate(); err != nil {
			return err
		}
	}
	return set.promise()
}

// newerColumns refuses columns that a later start made than any that the records know of: the records, and the metadata with them, were put
// back from an older copy. What the columns hold beyond that would be taken for garbage.
func (set *Set) newerColumns(newest *format, accepted []string) error {
	for _, d := range set.Disks {
		if !d.Usable() {
			continue
		}
		dir := set.fs.PathJoin(d.Dir, ExtentDir)
		started := extent.Newest(set.fs, dir, set.Store)
		if started <= max(newest.epoch, newest.promised) {
			continue
		}
		if slices.Contains(accepted, wal.ListName) {
			set.log.Error("the store goes on with metadata that is older than its columns, as --accept-missing says", zap.String("dir", dir))
			continue
		}
		return fmt.Errorf("the newest column in %s is of start %d, and the newest metadata of start %d: older files were put back. Put back the newest %s and "+
			"%s; if they are lost for good, start once with --accept-missing %s: what was acknowledged since is given up: %w",
			dir, started, newest.epoch, FormatName, MetaDir, wal.ListName, engine.ErrCorrupt)
	}
	return nil
}

// migrate takes a store from version 1 of its format to version 2. start writes it down, before
// anything of version 2 is made.
func (set *Set) migrate() error {
	_, _ = rand.Read(set.Since.Secret[:]) // never fails
	for _, d := range set.Disks {
		if d.format.Load() == nil {
			continue
		}
		extents, err := set.after(d, ExtentDir, extent.Number)
		if err != nil {
			return err
		}
		logs, err := set.after(d, MetaDir, wal.Number)
		if err != nil {
			return err
		}
		set.Since.Extent, set.Since.Log = max(set.Since.Extent, extents), max(set.Since.Log, logs)
	}
	return nil
}

// after returns the number that follows the highest in the names of files.
func (set *Set) after(d *Disk, sub string, number func(name string) (uint64, bool)) (next uint64, err error) {
	names, err := set.fs.List(set.fs.PathJoin(d.Dir, sub))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("list %s in data directory %s: %w", sub, d.Dir, diskio.Kind(err))
	}
	for _, name := range names {
		if n, ok := number(name); ok {
			next = max(next, n+1)
		}
	}
	return next, nil
}

// LogFrames returns what makes and reads the frames of the store's logs.
func (set *Set) LogFrames() *wal.Frames { return wal.NewFrames(set.Since.Secret, set.Since.Log) }

// identify finds out which disk a directory without a good format file is, from the headers of its columns. Its columns are as good as
// ever, as a place in an extent is written once; its metadata is not, as nobody knows how old it is.
func (set *Set) identify(d *Disk) bool {
	if d.blank || d.lock == nil {
		return false
	}
	store, id, ok := extent.Identify(set.fs, set.fs.PathJoin(d.Dir, ExtentDir))
	if !ok || store != set.Store {
		return false
	}
	for i, have := range set.Disks {
		if set.IDs[i] == id && have.Dir == "" {
			set.log.Warn("a disk is recognised by its columns; its "+FormatName+" is written again", zap.String("dir", d.Dir),
				zap.String("cause", d.Detail))
			d.format.Store(set.unwritten(i))
			d.repair, d.Detail = true, ""
			set.Disks[i] = d
			return true
		}
	}
	return false
}

// Used returns the directories of the disks in use.
func (set *Set) Used() (dirs []string) {
	for _, d := range set.Disks {
		if d.Usable() {
			dirs = append(dirs, d.Dir)
		}
	}
	return dirs
}

// missing names the disks that are not in use.
func (set *Set) missing() string {
	var words []string
	for i, d := range set.Disks {
		switch {
		case d.Detail != "":
			words = append(words, strings.Join(slices.DeleteFunc([]string{"disk", set.word(i), d.Dir, d.Detail}, func(s string) bool { return s == "" }), " "))
		case !d.onDisk:
			words = append(words, fmt.Sprintf("disk %s %s has lost its %s, which said how far it went", set.word(i), d.Dir, FormatName))
		case d.format.Load().epoch != set.epoch:
			words = append(words, fmt.Sprintf("disk %s %s is out of date", set.word(i), d.Dir))
		}
	}
	return strings.Join(words, "; ")
}

// Complete tells whether all disks are in use.
func (set *Set) Complete() bool {
	return !slices.ContainsFunc(set.Disks, func(d *Disk) bool { return !d.Usable() })
}

// Lagging counts the disks meant for metadata that do not have it. It waits for none.
func (set *Set) Lagging() int {
	return bits.OnesCount32(set.Replicas() &^ set.members.Load())
}

// Close lets the directories go.
func (set *Set) Close() error {
	var errs []error
	for _, d := range set.Disks {
		if d.lock != nil {
			errs = append(errs, d.lock.Close())
			d.lock = nil
		}
	}
	return errors.Join(errs...)
}
