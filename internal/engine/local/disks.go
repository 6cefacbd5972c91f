package local

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/extent"
	"github.com/blobd/blobd/internal/engine/siphash"
)

// widths are the erasure codes by number of disks: k data and m parity columns.
var widths = map[int][2]uint8{
	1: {1, 0}, 2: {1, 1}, 3: {2, 1}, 4: {2, 2}, 5: {3, 2}, 6: {4, 2}, 7: {5, 2}, 8: {6, 2}, 9: {7, 2}, 10: {8, 2},
	11: {8, 3}, 12: {9, 3}, 13: {10, 3}, 14: {11, 3}, 15: {12, 3}, 16: {12, 4},
}

// disk is one data directory.
type disk struct {
	dir    string
	format *format // nil while nothing valid is there
	repair bool    // a copy in the format file is bad, or the file is
	lock   io.Closer
	detail string // why it is not in use; empty if it is
}

// diskSet is the disks of a store, by index. It knows which of them hold current metadata.
type diskSet struct {
	fs  vfs.FS
	log *zap.Logger

	store [16]byte
	ids   [maxDisks][16]byte
	k, m  int
	since since
	disks []*disk // k+m; those that are not there have detail and, if known, dir

	mu      sync.Mutex
	epoch   uint64 // 0: the store is being made
	members uint32
}

// since is what a store has since version 2 of its format, and from where on.
type since struct {
	secret siphash.Key
	extent uint64 // the first extent of version 2
	log    uint64 // the first log of version 2
}

// openDisks locks and recognises the directories. If all are empty it makes a new store on them.
func openDisks(fs vfs.FS, log *zap.Logger, dirs []string) (_ *diskSet, err error) {
	if len(dirs) == 0 {
		return nil, errors.New("no data directory given")
	}
	set := &diskSet{fs: fs, log: log}
	var found []*disk
	defer func() {
		if err != nil {
			for _, d := range found {
				if d.lock != nil {
					err = errors.Join(err, d.lock.Close())
				}
			}
		}
	}()
	for i, dir := range dirs {
		if slices.Contains(dirs[:i], dir) {
			return nil, fmt.Errorf("data directory %s is given twice", dir)
		}
		d, err := set.inspect(dir)
		if d != nil {
			found = append(found, d)
		}
		if err != nil {
			return nil, fmt.Errorf("data directory %s: %w", dir, err)
		}
	}
	newest, err := set.agree(found)
	if err != nil {
		return nil, err
	}
	if newest == nil {
		return set, set.create(found)
	}
	if newest.epoch == 0 {
		return set, set.begin(newest, found)
	}
	return set, set.adopt(newest, found)
}

// inspect locks a directory and reads its format file.
func (set *diskSet) inspect(dir string) (*disk, error) {
	if err := makeDir(set.fs, dir); err != nil {
		return nil, kind(err)
	}
	d := &disk{dir: dir}
	lock, err := set.fs.Lock(set.fs.PathJoin(dir, "LOCK"))
	if err != nil {
		if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) || strings.Contains(err.Error(), "already locked") ||
			strings.Contains(err.Error(), "lock held") {
			return nil, fmt.Errorf("in use by another process: %w", err)
		}
		return nil, kind(err)
	}
	d.lock = lock
	b, err := readFile(set.fs, set.fs.PathJoin(dir, formatName))
	if err == nil {
		whole := false
		if d.format, whole, err = decodeFormat(b); err == nil {
			d.repair = !whole
			return d, nil
		}
		if errors.Is(err, errFormatVersion) {
			return d, err
		}
		d.detail = err.Error()
		d.repair = true
		return d, nil
	}
	if !oserror.IsNotExist(err) {
		d.detail = err.Error()
		return d, nil
	}
	names, err := set.fs.List(dir)
	if err != nil {
		return d, kind(err)
	}
	for _, name := range names {
		if name != "LOCK" && name != formatName+".tmp" && name != "lost+found" {
			return d, fmt.Errorf("not empty, and no data directory of blobd (it holds %q but no %s)", name, formatName)
		}
	}
	return d, nil
}

// agree verifies that the disks found belong to one store and returns the newest format, nil if none of them has one.
func (set *diskSet) agree(found []*disk) (newest *format, err error) {
	var from *disk
	damaged := ""
	for _, d := range found {
		f := d.format
		if f == nil {
			if d.detail != "" {
				damaged = fmt.Sprintf("%s: %s", d.dir, d.detail)
			}
			continue
		}
		if newest != nil && (f.store != newest.store || f.k != newest.k || f.m != newest.m || f.disks != newest.disks) {
			return nil, fmt.Errorf("data directories %s and %s belong to different stores", from.dir, d.dir)
		}
		for _, other := range found {
			if other != d && other.format != nil && other.format.disk == f.disk {
				return nil, fmt.Errorf("data directories %s and %s are copies of one disk", d.dir, other.dir)
			}
		}
		if newest == nil || f.epoch > newest.epoch {
			newest, from = f, d
		}
	}
	if newest == nil && damaged != "" {
		return nil, fmt.Errorf("data directory %s: %w", damaged, engine.ErrCorrupt)
	}
	if newest != nil && len(found) > newest.n() {
		return nil, fmt.Errorf("%d data directories given for a store of %d disks", len(found), newest.n())
	}
	return newest, nil
}

// create begins a new store. Its disks carry epoch 0 until it is made: a crash before that leaves nothing that could be taken for
// a store, and the next start begins again.
func (set *diskSet) create(found []*disk) error {
	w, ok := widths[len(found)]
	if !ok {
		return fmt.Errorf("%d data directories given: at most %d are supported", len(found), maxDisks)
	}
	f := &format{k: w[0], m: w[1]}
	_, _ = rand.Read(f.store[:]) // never fails
	_, _ = rand.Read(f.secret[:])
	for i := range found {
		_, _ = rand.Read(f.disks[i][:])
	}
	return set.begin(f, found)
}

// begin makes, or makes again, the disks of a store that is not finished: they hold a format file and nothing else.
func (set *diskSet) begin(f *format, found []*disk) error {
	if len(found) != f.n() {
		return fmt.Errorf("%d data directories given, but the making of a store on %d was interrupted here", len(found), f.n())
	}
	if f.secret == (siphash.Key{}) { // version 1 began it
		_, _ = rand.Read(f.secret[:])
	}
	set.take(f)
	var blank []*disk
	for _, d := range found {
		if d.format != nil {
			set.disks[d.format.index] = d
		} else {
			blank = append(blank, d)
		}
	}
	for i, d := range set.disks {
		if d.dir == "" {
			d, blank = blank[0], blank[1:]
			set.disks[i] = d
		}
		d.detail = ""
		for _, sub := range []string{metaDir, extentDir} {
			if err := set.fs.RemoveAll(set.fs.PathJoin(d.dir, sub)); err != nil && !oserror.IsNotExist(err) {
				return fmt.Errorf("clear data directory %s: %w", d.dir, kind(err))
			}
		}
	}
	return set.write(0, set.replicas())
}

// finish ends the making of a store.
func (set *diskSet) finish() error {
	set.mu.Lock()
	defer set.mu.Unlock()
	if set.epoch > 0 {
		return nil
	}
	return set.write(1, set.members)
}

// take sets what the format says of the whole store.
func (set *diskSet) take(f *format) {
	set.store, set.ids, set.k, set.m = f.store, f.disks, int(f.k), int(f.m)
	set.epoch, set.members = f.epoch, f.members
	set.since = since{f.secret, f.extent, f.log}
	set.disks = make([]*disk, f.n())
	for i := range set.disks {
		set.disks[i] = &disk{detail: "missing: its directory is not given, or empty"}
	}
}

// fresh tells whether the store is being made.
func (set *diskSet) fresh() bool { return set.epoch == 0 }

// replicas is the mask of the disks that are meant to hold metadata: the first m+1.
func (set *diskSet) replicas() uint32 { return 1<<(set.m+1) - 1 }

// adopt takes the disks of an existing store.
func (set *diskSet) adopt(newest *format, found []*disk) error {
	set.take(newest)
	var strays []*disk
	for _, d := range found {
		if d.format == nil {
			strays = append(strays, d)
			continue
		}
		set.disks[d.format.index] = d
	}
	for _, d := range strays {
		// Which disk it was nobody can tell if several are missing; the directory is shown with any of them.
		for i, have := range set.disks {
			if have.format == nil && have.dir == "" {
				if d.detail == "" {
					d.detail = "empty: the disk's content is gone, or it is not mounted"
				}
				d.format = nil
				set.disks[i] = d
				break
			}
		}
	}
	present := 0
	for _, d := range set.disks {
		if d.format != nil {
			present++
		}
	}
	if present < set.k {
		return fmt.Errorf("%d of the store's %d disks are there, %d are needed: %w (%s)", present, len(set.disks), set.k,
			engine.ErrUnavailable, set.missing())
	}
	if set.current() == 0 {
		return fmt.Errorf("no disk with current metadata is there: %w (%s)", engine.ErrUnavailable, set.missing())
	}
	if set.since.secret == (siphash.Key{}) {
		return set.migrate()
	}
	return nil
}

// migrate takes a store from version 1 of its format to version 2. setMembers writes it down, as it does for every disk whose format
// file is not as it is written today, before anything of version 2 is made.
func (set *diskSet) migrate() error {
	_, _ = rand.Read(set.since.secret[:]) // never fails
	for _, d := range set.disks {
		if d.format == nil {
			continue
		}
		extents, err := set.after(d, extentDir, extent.Number)
		if err != nil {
			return err
		}
		logs, err := set.after(d, metaDir, logNumber)
		if err != nil {
			return err
		}
		set.since.extent, set.since.log = max(set.since.extent, extents), max(set.since.log, logs)
	}
	return nil
}

// after returns the number that follows the highest in the names of files.
func (set *diskSet) after(d *disk, sub string, number func(name string) (uint64, bool)) (next uint64, err error) {
	names, err := set.fs.List(set.fs.PathJoin(d.dir, sub))
	if err != nil && !oserror.IsNotExist(err) {
		return 0, fmt.Errorf("list %s in data directory %s: %w", sub, d.dir, kind(err))
	}
	for _, name := range names {
		if n, ok := number(name); ok {
			next = max(next, n+1)
		}
	}
	return next, nil
}

// logFrames returns what makes and reads the frames of the store's logs.
func (set *diskSet) logFrames() *logFrames { return &logFrames{set.since.secret, set.since.log} }

// missing names the disks that are not there.
func (set *diskSet) missing() string {
	var words []string
	for i, d := range set.disks {
		if d.detail != "" {
			words = append(words, fmt.Sprintf("disk %d (%x) %s %s", i, set.ids[i][:4], d.dir, d.detail))
		}
	}
	return strings.Join(words, "; ")
}

// makeDir makes a directory, and those above it, so that they survive a power cut.
func makeDir(fs vfs.FS, dir string) error {
	if _, err := fs.Stat(dir); err == nil || !oserror.IsNotExist(err) {
		return err
	}
	parent := fs.PathDir(dir)
	if parent != dir && parent != "." {
		if err := makeDir(fs, parent); err != nil {
			return err
		}
	}
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return syncDir(fs, parent)
}

// current is the mask of the disks that are there and whose metadata is current.
func (set *diskSet) current() (mask uint32) {
	for i, d := range set.disks {
		if d.format != nil && set.members&(1<<i) != 0 && d.format.epoch == set.epoch {
			mask |= 1 << i
		}
	}
	return mask
}

// write records a new epoch with its members on every disk that is there. A disk that cannot take it is left behind, in an
// older epoch; at least one member must take it.
func (set *diskSet) write(epoch uint64, members uint32) error {
	var errs []error
	var took uint32
	for _, i := range set.order(members) {
		d := set.disks[i]
		if d.detail != "" {
			continue
		}
		f := &format{store: set.store, disk: set.ids[i], index: uint8(i), k: uint8(set.k), m: uint8(set.m), epoch: epoch,
			members: members, disks: set.ids, secret: set.since.secret, extent: set.since.extent, log: set.since.log}
		if err := writeFile(set.fs, d.dir, formatName, f.encode()); err != nil {
			errs = append(errs, fmt.Errorf("write %s in %s: %w", formatName, d.dir, kind(err)))
			if set.fresh() {
				break
			}
			continue
		}
		d.format, d.repair = f, false
		took |= 1 << i
	}
	if len(errs) > 0 && (took&members == 0 || set.fresh()) {
		return errors.Join(errs...)
	}
	for _, err := range errs {
		set.log.Error("a disk was left behind", zap.Error(err))
	}
	set.epoch, set.members = epoch, members
	return nil
}

// order returns the indexes of the disks with the members first: whenever a disk is in the new epoch, a member is.
func (set *diskSet) order(members uint32) (order []int) {
	for i := range set.disks {
		if members&(1<<i) != 0 {
			order = append(order, i)
		}
	}
	for i := range set.disks {
		if members&(1<<i) == 0 {
			order = append(order, i)
		}
	}
	return order
}

// setMembers records durably which disks hold current metadata, if that changed or a format file needs repair.
func (set *diskSet) setMembers(members uint32) error {
	set.mu.Lock()
	defer set.mu.Unlock()
	if set.fresh() {
		if members != set.members {
			return fmt.Errorf("a disk failed while the store was being made: %w", engine.ErrUnavailable)
		}
		return nil
	}
	same := members == set.members
	for _, d := range set.disks {
		if d.detail == "" && (d.repair || d.format.epoch != set.epoch) {
			same = false
		}
	}
	if same {
		return nil
	}
	return set.write(set.epoch+1, members)
}

// drop records that the metadata on disk i is no longer current.
func (set *diskSet) drop(i int) error {
	set.mu.Lock()
	defer set.mu.Unlock()
	if set.members&(1<<i) == 0 {
		return nil
	}
	members := set.members &^ (1 << i)
	if members == 0 || set.fresh() {
		return fmt.Errorf("no disk with current metadata is left: %w", engine.ErrUnavailable)
	}
	return set.write(set.epoch+1, members)
}

// lagging counts the disks meant for metadata that do not have it.
func (set *diskSet) lagging() int {
	set.mu.Lock()
	defer set.mu.Unlock()
	return bits.OnesCount32(set.replicas() &^ set.members)
}

func (set *diskSet) close() error {
	var errs []error
	for _, d := range set.disks {
		if d.lock != nil {
			errs = append(errs, d.lock.Close())
			d.lock = nil
		}
	}
	return errors.Join(errs...)
}
