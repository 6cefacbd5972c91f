package local

import (
	"context"
	"fmt"
	"io"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
)

// room watches the space on the disks, so that what must be written can be. From much to little:
//
//   - Writers leave keep bytes free on each disk, beside its reserve: a few compactions go on, and an extent is emptied. What they take
//     between two looks at the disks is counted, so that many fast ones do not pass the limit together.
//   - Compactions and the copies of a collection leave spare bytes: all the memtables there may be can be flushed beside them. While no
//     writer is admitted it is what the memtables hold.
//   - Flushes, the log and the manifest take all there is. When less than low bytes are left, or when one of them meets the end, the
//     disk's reserve is given up. It is made again when there is plenty.
//   - Transactions that make room wait when that, too, is used up (last), until flushes, compactions and collections have made some: a log
//     that cannot be written is mended by a start alone. They are refused when that takes too long, or too many wait.
//
// Inodes are room as bytes are: a table, a log or an extent takes one. Writers leave keepFiles of them, compactions spareFiles; with
// fewer than startFiles a start flushes nothing, and with fewer than lastFiles what makes room waits. There is no reserve of them.
//
// Where the file system cannot tell how much is free, nothing is watched and there is no reserve.
type room struct {
	fs    roomFS
	log   *zap.Logger
	state *state
	disks []*reserve

	onFull    func()       // has room made
	unflushed func() int64 // tells what the memtables hold, in bytes

	keep, spare, low, last int64 // bytes; see above
	reserve                int64 // bytes of the file
	plenty                 int64 // bytes for writers at which no more room is made

	debt   atomic.Int64 // what the memtables held at the last look, while there is no room
	left   atomic.Int64 // what writers may take before the next look
	active atomic.Int64 // what those have yet to take who write now
	tight  atomic.Bool  // there was not plenty since the start, or since a write was refused
	freed  atomic.Int64 // written by transactions that make room since the last look

	patience time.Duration // longest that a transaction waits that makes room
	waiting  atomic.Int64  // how many do

	mu sync.Mutex // one look at a time
}

// roomFS tells what is free on disks.
type roomFS interface {
	vfs.FS
	FreeFiles(path string) (n int64, known bool)
}

// Inodes. A start makes a log, a manifest, and a table or some for each memtable that is in the logs; deletes need a log and the tables of the
// memtables there may be.
const (
	keepFiles  = 64
	startFiles = 24
	spareFiles = 16
	lastFiles  = 8
)

const (
	spaceEvery = time.Second
	logStep    = 1 << 20   // bytes by which a log grows at a time (logfs)
	minLook    = 1 << 20   // bytes that writers take between two looks, at least
	freedLook  = 256 << 10 // bytes of transactions that make room between two looks

	freeingPatience = 10 * time.Second // less than clients' own, and than a server takes to stop
	maxWaiting      = 256              // transactions that make room: each has a connection, and they go on all at once
)

// memtables is how many there may be before writers wait for a flush.
const memtables = 4

// fitTo sets the sizes that were not given so that a small disk (of total bytes) has many of each: memtables that can all be flushed
// when it is nearly full, and extents of which one can be emptied then.
func (o *Options) fitTo(total int64) {
	if o.MemTableSize == 0 {
		o.MemTableSize = uint64(min(max(total/128, 1<<20), 32<<20))
	}
	if o.ExtentSize == 0 {
		o.ExtentSize = min(max(total/32, 16<<20), 256<<20)
	}
}

// openRoom takes its first look at the disks, and fits the options to their size.
func openRoom(fs roomFS, opts *Options, st *state, reserves []*reserve, use func(dir string) bool) *room {
	r := &room{fs: fs, log: opts.Logger, state: st, patience: freeingPatience, onFull: func() {}, unflushed: func() int64 { return 0 }}
	r.left.Store(math.MaxInt64 / 2)
	total := int64(math.MaxInt64)
	for _, d := range reserves {
		if !use(d.dir) {
			continue
		}
		if u, err := r.fs.GetDiskUsage(d.dir); err == nil {
			total = min(total, int64(min(u.TotalBytes, math.MaxInt64)))
			r.disks = append(r.disks, d)
		}
	}
	opts.fitTo(total)
	memtable := int64(opts.MemTableSize)
	r.last = max(256<<10, min(memtable/2, 4<<20))
	r.low = r.last + memtable
	r.spare = r.low + memtables*memtable + logStep
	r.keep = min(r.spare+2*memtable+opts.ExtentSize/2+engine.MaxTransaction, max(r.spare+memtable, total/4))
	r.reserve = max(memtables*memtable, min(total/16, 128<<20))
	r.plenty = min(max(total/16, 2*engine.MaxChunk), 1<<30)
	r.tight.Store(len(r.disks) > 0) // what was deleted in the last run may be all the room there is
	return r
}

// take admits a write that takes n bytes on a disk. What it admitted ends with done.
func (r *room) take(n int64) error {
	r.active.Add(n)
	if r.left.Add(-n) >= 0 || r.look() >= 0 {
		return nil
	}
	r.active.Add(-n)
	if err := r.state.noRoom(); err != nil {
		return err
	}
	return fmt.Errorf("%w: the writes under way take what is left", engine.ErrNoSpace)
}

func (r *room) done(n int64) { r.active.Add(-n) }

// takeFreeing admits a transaction of n bytes that makes room, or returns what it may wait for.
func (r *room) takeFreeing(n int64) *pause {
	if r.freed.Add(n) > freedLook && r.state.noRoom() != nil {
		r.look()
	}
	return r.state.exhausted.Load()
}

// outwait waits for what a transaction is refused for that makes room, and tells whether it has passed. Whoever waits holds neither its
// partition nor anything that who makes room needs.
func (r *room) outwait(ctx context.Context, p *pause) bool {
	defer r.waiting.Add(-1)
	if r.waiting.Add(1) > maxWaiting {
		return false
	}
	r.onFull()
	select {
	case <-p.over:
		return true
	case <-ctx.Done():
	case <-r.state.ending:
	}
	return false
}

// fits tells whether n more bytes of compactions and of a collection's copies leave what they have to.
func (r *room) fits(n int64) bool {
	if files, _ := r.files(); files < spareFiles {
		return false
	}
	free, _ := r.free()
	if r.state.noRoom() != nil {
		return free-n >= min(r.low+r.debt.Load(), r.spare)
	}
	return free-n >= r.spare
}

// free returns the free bytes of the disk that has fewest, and where that is.
func (r *room) free() (free int64, dir string) {
	free = math.MaxInt64 / 2
	for _, d := range r.disks {
		if n, ok := r.freeOn(d); ok && n < free {
			free, dir = n, d.dir
		}
	}
	return free, dir
}

// freeOn returns the free bytes of a disk. Of one that is gone nothing is known; that shows elsewhere.
func (r *room) freeOn(d *reserve) (free int64, ok bool) {
	u, err := r.fs.GetDiskUsage(d.dir)
	return int64(min(u.AvailBytes, math.MaxInt64/2)), err == nil
}

// files returns the free inodes of the disk that has fewest, and where that is.
func (r *room) files() (free int64, dir string) {
	free = math.MaxInt64
	for _, d := range r.disks {
		if n, known := r.fs.FreeFiles(d.dir); known && n < free {
			free, dir = n, d.dir
		}
	}
	return free, dir
}

// short tells whether more room is worth some work.
func (r *room) short() bool { return r.state.noRoom() != nil || r.tight.Load() }

// look compares what is free with the limits, and returns what writers may take: less than nothing if those under way take too much.
func (r *room) look() (left int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.disks) == 0 {
		return math.MaxInt64
	}
	r.freed.Store(0)
	was := r.state.noRoom() != nil
	if was {
		r.debt.Store(r.unflushed())
	}
	var full, none error
	left = math.MaxInt64 / 2
	for _, d := range r.disks {
		free, ok := r.freeOn(d)
		if !ok {
			continue
		}
		if free < r.low && d.there() {
			d.giveUp()
			free, _ = r.freeOn(d)
		}
		if free < r.last {
			none = fmt.Errorf("%s has %d KiB left", d.dir, free>>10)
		}
		keep := r.keep
		if !d.there() {
			keep += r.reserve
		}
		if was {
			keep += keep / 8 // so that it does not go to and fro
		}
		if free < keep && full == nil {
			full = fmt.Errorf("%s has %d MiB left, %d are kept free", d.dir, free>>20, keep>>20)
		}
		left = min(left, free-keep)
	}
	files, dir := r.files()
	if files < lastFiles {
		none = noFiles(dir, files, lastFiles)
	}
	keep := int64(keepFiles)
	if was {
		keep += keep / 8
	}
	if files < keep {
		full = noFiles(dir, files, keep)
		left = -1
	}
	r.state.setExhausted(none)
	r.state.setFull(full)
	if left -= r.active.Load(); left < 0 {
		r.tight.Store(true)
		r.left.Store(0)
		r.onFull()
		return left
	}
	if left >= r.plenty {
		r.tight.Store(false)
	}
	r.left.Store(min(left, max(left/8, minLook)))
	return left
}

// noFiles is that a disk has too few inodes.
func noFiles(dir string, free, keep int64) error {
	return fmt.Errorf("no inodes left on %s: %d are free, and %d are needed", dir, free, keep)
}

// restore makes the reserves that are missing where there is room for them.
func (r *room) restore() {
	for _, d := range r.disks {
		if d.there() {
			d.look(r.fs)
			continue
		}
		if free, ok := r.freeOn(d); !ok || free < r.keep+r.reserve {
			continue
		}
		if n, known := r.fs.FreeFiles(d.dir); known && n <= keepFiles {
			continue
		}
		if err := d.make(r.fs, r.reserve); err != nil {
			r.log.Warn("no reserve can be made", zap.String("dir", d.dir), zap.Error(err))
		}
	}
}

// chunkRoom is what a chunk takes on a disk, at most: its part of the rows, with their headers and some of what the file system needs.
// One of a block or less lies whole on one disk.
func (s *Store) chunkRoom(size int64) int64 {
	part := max(size/int64(s.disks.k), min(size, 64<<10))
	return part + part/32 + 16<<10
}

// chargedFrom is the size from which on a chunk's charge goes as it is written.
const chargedFrom = 1 << 20

// charged reads a chunk, and gives back what was taken for it as it is written: the file system tells of that.
type charged struct {
	r    io.Reader
	room *room
	size int64 // of the chunk
	lag  int64 // bytes that are read ahead of what is written
	all  int64 // the charge
	read int64
	gave int64
}

// Read implements io.Reader.
func (c *charged) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.read += int64(n)
	if give := max(0, c.read-c.lag) * c.all / c.size; give > c.gave {
		c.room.done(give - c.gave)
		c.gave = give
	}
	return n, err
}

// watchSpace looks at the disks once in a while, and lets snapshots go that nobody reads any more.
func (s *Store) watchSpace(ctx context.Context) {
	tick := time.NewTicker(spaceEvery)
	defer tick.Stop()
	for {
		s.checkSpace()
		s.snapshots.drop(false)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *Store) checkSpace() {
	s.room.restore()
	s.room.look()
}

// collectNow has the collector work.
func (s *Store) collectNow() {
	select {
	case s.collectDue <- struct{}{}:
	default:
	}
}

// unflushed is what the memtables hold that their log does, in bytes.
func (s *Store) unflushed() int64 {
	if s.readOnly || !s.gate.enter() {
		return 0
	}
	defer s.gate.leave()
	return int64(s.db.Metrics().WAL.Size)
}
