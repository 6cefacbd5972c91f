// Package diskspace keeps free space on a store's disks, so that what must be written can be: it admits writers, and holds back a reserve
// (a ballast file) on each disk.
//
// From much to little:
//
//   - Writers leave Keep bytes free on each disk, beside its reserve: a few compactions go on, and an extent is emptied. What they take
//     between two looks at the disks is counted, so that many fast ones do not pass the limit together.
//   - Compactions and the copies of a collection leave Spare bytes: all the memtables there may be can be flushed beside them. While no
//     writer is admitted it is what the memtables hold.
//   - Flushes, the log and the manifest take all there is. When less than low bytes are left, or when one of them meets the end, the
//     disk's reserve is given up. It is made again when there is plenty.
//   - Transactions that free space wait when that, too, is used up (Last), until flushes, compactions and collections have made some: a
//     log that cannot be written is mended by a start alone. They are refused when that takes too long, or too many wait.
//
// Inodes are space as bytes are: a table, a log or an extent takes one. Writers leave KeepFiles of them, compactions spareFiles; with
// fewer than StartFiles a start flushes nothing, and with fewer than lastFiles what frees space waits. There is no reserve of them.
//
// Where the file system cannot tell how much is free, nothing is watched and there is no reserve.
package diskspace

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
)

// FS tells what is free on disks.
type FS interface {
	vfs.FS
	FreeFiles(path string) (n int64, known bool)
}

// Options of Open.
type Options struct {
	FS       FS
	Dirs     []string // data directories in use
	Reserves Reserves
	Logger   *zap.Logger

	// Sizes of a full memtable and of a full extent, in bytes. What is 0 is fitted to the smallest disk.
	MemTable, Extent int64

	OnFull    func()          // called when there is no space: somebody is to free some
	Unflushed func() int64    // tells what the memtables hold, in bytes
	Ending    <-chan struct{} // closed when nobody is to wait any more
}

// Watch watches the free space of disks.
type Watch struct {
	Options // with the sizes that Open has chosen

	// Limits of what is free, in bytes: see the package.
	Keep, Spare, low, Last int64

	disks   Reserves
	reserve int64 // bytes of the file
	plenty  int64 // bytes for writers at which no more space is freed

	full      atomic.Pointer[Pause] // no writer is admitted
	exhausted atomic.Pointer[Pause] // not even what frees space can be written

	debt    atomic.Int64 // what the memtables held at the last look, while there is no space
	left    atomic.Int64 // what writers may take before the next look
	active  atomic.Int64 // what those have yet to take who write now
	tight   atomic.Bool  // there was not plenty since the start, or since a write was refused
	freed   atomic.Int64 // written by transactions that free space since the last look
	waiting atomic.Int64 // transactions that wait for space

	mu sync.Mutex // one look at a time
}

// Inodes. A start makes a log, a manifest, and a table or some for each memtable that is in the logs; deletes need a log and the tables of the
// memtables there may be.
const (
	KeepFiles  = 64
	StartFiles = 24
	spareFiles = 16
	lastFiles  = 8
)

const (
	// Memtables is how many there may be before writers wait for a flush.
	Memtables = 4
	// MaxWaiting bounds the transactions that wait for space: each has a connection, and they go on all at once.
	MaxWaiting = 256

	logStep   = 1 << 20   // bytes by which a log grows at a time (logfs)
	minLook   = 1 << 20   // bytes that writers take between two looks, at least
	freedLook = 256 << 10 // bytes of transactions that free space between two looks
)

// Open chooses the sizes and the limits by the smallest disk. It takes no look yet.
func Open(o Options) *Watch {
	w := &Watch{Options: o}
	w.left.Store(math.MaxInt64 / 2)
	total := int64(math.MaxInt64)
	for _, d := range o.Reserves {
		if !slices.Contains(o.Dirs, d.dir) {
			continue
		}
		if u, err := w.FS.GetDiskUsage(d.dir); err == nil {
			total = min(total, int64(min(u.TotalBytes, math.MaxInt64)))
			w.disks = append(w.disks, d)
		}
	}
	// A small disk has many of each: memtables that can all be flushed when it is nearly full, and extents of which one can be emptied then.
	if w.MemTable == 0 {
		w.MemTable = min(max(total/128, 1<<20), 32<<20)
	}
	if w.Extent == 0 {
		w.Extent = min(max(total/32, 16<<20), 256<<20)
	}
	w.Last = max(256<<10, min(w.MemTable/2, 4<<20))
	w.low = w.Last + w.MemTable
	w.Spare = w.low + Memtables*w.MemTable + logStep
	w.Keep = min(w.Spare+2*w.MemTable+w.Extent/2+engine.MaxTransaction, max(w.Spare+w.MemTable, total/4))
	w.reserve = max(Memtables*w.MemTable, min(total/16, 128<<20))
	w.plenty = min(max(total/16, 2*engine.MaxChunk), 1<<30)
	w.tight.Store(w.Watched()) // what was deleted in the last run may be all the space there is
	return w
}

// Watched tells whether some disk tells what is free.
func (w *Watch) Watched() bool { return len(w.disks) > 0 }

// Admit admits a write that takes n bytes on a disk. What it admitted ends with Done.
func (w *Watch) Admit(n int64) error {
	if err := w.Full(); err != nil {
		return err
	}
	w.active.Add(n)
	if w.left.Add(-n) >= 0 || w.Look() >= 0 {
		return nil
	}
	w.active.Add(-n)
	if err := w.Full(); err != nil {
		return err
	}
	return fmt.Errorf("%w: the writes under way take what is left", engine.ErrNoSpace)
}

// Done ends n bytes of what was admitted: they are written, or will not be.
func (w *Watch) Done(n int64) { w.active.Add(-n) }

// AdmitFreeing admits a transaction of n bytes that frees space, or returns what it may Wait for.
func (w *Watch) AdmitFreeing(n int64) *Pause {
	if w.freed.Add(n) > freedLook && w.Full() != nil {
		w.Look()
	}
	return w.exhausted.Load()
}

// Wait waits for what a transaction is refused for that frees space, and tells whether it has passed. Whoever waits holds neither its
// partition nor anything that is needed to free space.
func (w *Watch) Wait(ctx context.Context, p *Pause) bool {
	defer w.waiting.Add(-1)
	if w.waiting.Add(1) > MaxWaiting {
		return false
	}
	w.OnFull()
	select {
	case <-p.over:
		return true
	case <-ctx.Done():
	case <-w.Ending:
	}
	return false
}

// Fits tells whether n more bytes of compactions and of a collection's copies leave what they have to.
func (w *Watch) Fits(n int64) bool {
	if files, _ := w.files(); files < spareFiles {
		return false
	}
	least := w.Spare
	if w.Full() != nil {
		least = min(w.low+w.debt.Load(), w.Spare)
	}
	free, _ := w.free(0)
	return free-n >= least
}

// Lacks returns what the disks lack, with their reserves, for a start that writes n bytes; nil if nothing.
func (w *Watch) Lacks(n int64) error {
	if files, dir := w.files(); files < StartFiles {
		return noFiles(dir, files, StartFiles)
	}
	if free, dir := w.free(w.reserve); free < n {
		return fmt.Errorf("%s has %d KiB left, and %d are needed", dir, free>>10, n>>10)
	}
	return nil
}

// free returns the free bytes of the disk that has fewest, and where that is. A reserve that is there counts for so many.
func (w *Watch) free(reserve int64) (free int64, dir string) {
	free = math.MaxInt64 / 2
	for _, d := range w.disks {
		n, ok := w.freeOn(d)
		if ok && reserve > 0 && d.there() {
			n += reserve
		}
		if ok && n < free {
			free, dir = n, d.dir
		}
	}
	return free, dir
}

// freeOn returns the free bytes of a disk. Of one that is gone nothing is known; that shows elsewhere.
func (w *Watch) freeOn(d *reserve) (free int64, ok bool) {
	u, err := w.FS.GetDiskUsage(d.dir)
	return int64(min(u.AvailBytes, math.MaxInt64/2)), err == nil
}

// files returns the free inodes of the disk that has fewest, and where that is.
func (w *Watch) files() (free int64, dir string) {
	free = math.MaxInt64
	for _, d := range w.disks {
		if n, known := w.FS.FreeFiles(d.dir); known && n < free {
			free, dir = n, d.dir
		}
	}
	return free, dir
}

// noFiles is that a disk has too few inodes.
func noFiles(dir string, free, keep int64) error {
	return fmt.Errorf("no inodes left on %s: %d are free, and %d are needed", dir, free, keep)
}

// Full returns why writers are refused, nil if there is space.
func (w *Watch) Full() error {
	if p := w.full.Load(); p != nil {
		return p.Why
	}
	return nil
}

// Exhausted tells whether there is no space even for what frees space.
func (w *Watch) Exhausted() bool { return w.exhausted.Load() != nil }

// Short tells whether more space is worth some work.
func (w *Watch) Short() bool { return w.Full() != nil || w.tight.Load() }

// Check makes the reserves that are missing where there is space for them, and looks.
func (w *Watch) Check() {
	for _, d := range w.disks {
		if d.there() {
			d.look(w.FS)
			continue
		}
		if free, ok := w.freeOn(d); !ok || free < w.Keep+w.reserve {
			continue
		}
		if n, known := w.FS.FreeFiles(d.dir); known && n <= KeepFiles {
			continue
		}
		if err := d.make(w.FS, w.reserve); err != nil {
			w.Logger.Warn("no reserve can be made", zap.String("dir", d.dir), zap.Error(err))
		}
	}
	w.Look()
}

// Look compares what is free with the limits, and returns what writers may take: less than nothing if those under way take too much.
func (w *Watch) Look() (left int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.Watched() {
		return math.MaxInt64
	}
	w.freed.Store(0)
	was := w.Full() != nil
	if was {
		w.debt.Store(w.Unflushed())
	}
	var full, none error
	left = math.MaxInt64 / 2
	for _, d := range w.disks {
		free, ok := w.freeOn(d)
		if !ok {
			continue
		}
		if free < w.low && d.there() {
			d.giveUp()
			free, _ = w.freeOn(d)
		}
		if free < w.Last {
			none = fmt.Errorf("%s has %d KiB left", d.dir, free>>10)
		}
		keep := w.Keep
		if !d.there() {
			keep += w.reserve
		}
		keep = hysteresis(keep, was)
		if free < keep && full == nil {
			full = fmt.Errorf("%s has %d MiB left, %d are kept free", d.dir, free>>20, keep>>20)
		}
		left = min(left, free-keep)
	}
	files, dir := w.files()
	if files < lastFiles {
		none = noFiles(dir, files, lastFiles)
	}
	if keep := hysteresis(KeepFiles, was); files < keep {
		full = noFiles(dir, files, keep)
		left = -1
	}
	w.note(full, none)
	if left -= w.active.Load(); left < 0 {
		w.tight.Store(true)
		w.left.Store(0)
		w.OnFull()
		return left
	}
	if left >= w.plenty {
		w.tight.Store(false)
	}
	w.left.Store(min(left, max(left/8, minLook)))
	return left
}

// hysteresis raises a limit that was passed, so that writers are not admitted and refused in turns.
func hysteresis(keep int64, passed bool) int64 {
	if passed {
		keep += keep / 8
	}
	return keep
}

// note notes why there is no space for writers, and why there is none for what frees space; nil where there is.
func (w *Watch) note(full, none error) {
	if none == nil {
		if Pass(&w.exhausted) {
			w.Logger.Info("there is room for deletes again")
		}
	} else if none = fmt.Errorf("%w, not for deletes either: %w", engine.ErrNoSpace, none); Set(&w.exhausted, none) {
		w.Logger.Error("deletes wait, and are refused if no room is made: make some by other means than blobd", zap.Error(none))
	}
	if full == nil {
		if Pass(&w.full) {
			w.Logger.Info("there is room on the disks again")
		}
	} else if full = fmt.Errorf("%w: %w", engine.ErrNoSpace, full); Set(&w.full, full) {
		w.Logger.Error("writes are refused", zap.Error(full))
	}
}
