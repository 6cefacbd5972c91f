package extent

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"os"

	"github.com/minio/sha256-simd"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// Scrubbed is what a scrub of an extent read and found.
type Scrubbed struct {
	Bytes  int64 // read of all columns together
	Found  int   // blocks, headers, footers and whole columns that are not what was written
	Healed int   // of them, so many are again, and were read back
	// Doubt: something could not be rebuilt. It may be garbage; only the owners of the chunks can tell whether anything is lost.
	Doubt bool
	// Open: the extent is written to, and has blocks that are bad or on their way to the disk. Who wants to know seals it and comes again.
	Open bool
}

// Pace is called after so many bytes were read, and returns when more may be, or when ctx ends.
type Pace func(ctx context.Context, bytes int)

// scrubWindow is how much of a column is read from the disk, and not from memory, at a time.
const scrubWindow = 1 << 20

// scrubbing is a scrub of one extent under way.
type scrubbing struct {
	s    *Store
	x    *extent
	open bool
	got  Scrubbed

	ends    []ending
	sums    [maxColumns]hash.Hash // of sealed columns: what was read so far
	summed  int64                 // up to this offset
	hopeful [maxColumns]bool      // nothing was met in the column that its footer's sum should not fit
	bare    bool                  // a column had no footer when the scrub began: it may be getting one
	fresh   int64                 // up to this offset the columns are read from the disks
}

// Scrub reads a whole extent once, every column and what no chunk needs too, and heals what it can: a bad block as soon as it is met,
// headers, footers and missing columns at the end. In contrast to Heal it holds up nobody: others repair, seal and append meanwhile.
func (s *Store) Scrub(ctx context.Context, id uint64, pace Pace) (Scrubbed, error) {
	if !s.enter() {
		return Scrubbed{}, engine.ErrClosed
	}
	defer s.ops.Done()
	x := s.acquire(id)
	if x == nil {
		return Scrubbed{}, fmt.Errorf("extent %016x: %w", id, engine.ErrNotFound)
	}
	defer s.release(x)
	b := &scrubbing{s: s, x: x, open: s.isOpen(x)}
	surface := b.begin()
	err := s.walk(ctx, x, b.ends, func(r *row) error {
		n := s.g.stride(int(r.head.rowLength))
		if err := b.row(r); err != nil {
			return err
		}
		b.read(r, n)
		pace(ctx, n*s.g.columns())
		return nil
	}, func(from, to int64, r *row) {
		b.gap(from, to, r)
		b.read(r, int(to-from))
		pace(ctx, int(to-from)*s.g.columns())
	})
	if err != nil {
		return b.got, err
	}
	// A footer that came meanwhile may have summed a block that was bad, and is repaired by now.
	late := b.bare && b.got.Found > 0
	if !b.open && (b.mismatch() || surface || late) {
		err = b.surface(ctx)
	}
	return b.got, err
}

// Settled tells whether nobody writes to an extent any more, nor will.
func (s *Store) Settled(id uint64) bool {
	x := s.acquire(id)
	if x == nil {
		return true
	}
	defer s.release(x)
	return !s.isOpen(x)
}

func (s *Store) isOpen(x *extent) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return !x.retired || x.writers > 0
}

// begin looks at headers, footers and missing files, and tells whether something is wrong with them.
func (b *scrubbing) begin() (wrong bool) {
	s, x := b.s, b.x
	b.ends = make([]ending, len(x.cols))
	x.mu.Lock()
	sealed := x.sealed
	x.mu.Unlock()
	for c := range x.cols {
		col := x.cols[c].Load()
		if col == nil || col.disk.failed() {
			wrong = wrong || col == nil && s.spare(x)
			continue
		}
		if !b.open {
			s.files.forget(col) // what is open may be another file than the one that has the name now
		}
		if _, err := col.disk.FS.Stat(col.path); errors.Is(err, os.ErrNotExist) {
			wrong = true
			b.lacks(c, col)
			continue
		}
		h, err := s.files.acquire(s, x, c, col)
		if err != nil {
			wrong = wrong || !transient(err)
			continue
		}
		diskio.Uncache(h.file, 0, headerSize)
		head := make([]byte, headerSize)
		n, _ := h.file.ReadAt(head, 0)
		if _, err := decodeFileHeader(head[:n]); err != nil {
			wrong = true
		}
		e, err := s.endingOf(h.file, x, c)
		s.files.release(h)
		b.ends[c] = e
		switch {
		case err != nil:
			wrong = wrong || !transient(err)
		case e.foot != nil:
			b.sums[c], b.hopeful[c] = sha256.New(), true
			clear(head[n:])
			b.sums[c].Write(head)
		case sealed:
			wrong = true
		default:
			b.bare = true
		}
		b.got.Bytes += headerSize
	}
	b.summed, b.fresh = headerSize, headerSize
	b.uncache(headerSize)
	return wrong
}

// lacks notes that the file of a column is gone, so that it is made anew and no block of it repaired.
func (b *scrubbing) lacks(c int, col *column) {
	switch {
	case b.open:
		b.got.Open = true
	case b.s.g.m > 0:
		b.x.upkeep.Lock()
		defer b.x.upkeep.Unlock()
		b.s.vanished(b.x, c, col)
	}
}

// spare tells whether there is a disk on which a missing column of x can be rebuilt.
func (s *Store) spare(x *extent) bool {
	if s.g.m == 0 {
		return false
	}
	used := make(map[*disk]bool)
	for c := range x.cols {
		if col := x.cols[c].Load(); col != nil {
			used[col.disk] = true
		}
	}
	for _, d := range s.disks {
		if !used[d] && !d.failed() {
			return true
		}
	}
	return false
}

// uncache sees to it that what lies between off and two windows behind it is read from the disks.
func (b *scrubbing) uncache(off int64) {
	if off < b.fresh {
		return
	}
	for c := range b.x.cols {
		col := b.x.cols[c].Load()
		if col == nil {
			continue
		}
		if h, err := b.s.files.acquire(b.s, b.x, c, col); err == nil {
			diskio.Uncache(h.file, max(0, off-scrubWindow), 3*scrubWindow)
			b.s.files.release(h)
		}
	}
	b.fresh = off + scrubWindow
}

// read takes the next n bytes of every column, which the row buffer begins with, into the sums.
func (b *scrubbing) read(r *row, n int) {
	for c := range b.x.cols {
		if r.read[c] > 0 {
			b.got.Bytes += int64(min(n, r.read[c]))
		}
		if b.sums[c] == nil {
			continue
		}
		p := r.frame(c)[:n]
		clear(p[min(n, r.read[c]):])
		if left := b.ends[c].foot.length - b.summed; int64(n) > left {
			p = p[:max(0, left)]
		}
		b.sums[c].Write(p)
	}
	b.summed += int64(n)
	b.uncache(b.summed)
}

// bad returns the columns whose frame in a row is not what was written there, though their disk is in use.
func (b *scrubbing) bad(r *row) (bad []int) {
	for c := range b.s.g.columns() {
		if col := b.x.cols[c].Load(); r.holds(c) && !r.good[c] && col != nil && !col.failed.Load() && !col.disk.failed() {
			bad = append(bad, c)
		}
	}
	return bad
}

// row looks at a row and repairs it.
func (b *scrubbing) row(r *row) error {
	switch {
	case r.later != nil:
		// A disk that does not answer says nothing of its bytes. The sums have met what was not read.
		b.despair(r)
		return nil
	case len(b.bad(r)) == 0:
		return nil
	case b.open:
		b.got.Open = true
		return nil
	}
	b.x.upkeep.Lock()
	defer b.x.upkeep.Unlock()
	r.load(r.off) // it may have been repaired by now
	bad := b.bad(r)
	if len(bad) == 0 || r.later != nil {
		return nil
	}
	b.got.Found += len(bad)
	good := r.good
	if err := r.restore(); err != nil {
		b.got.Doubt = b.got.Doubt || !b.s.absent(b.x)
		b.despair(r)
		r.load(r.off)
		return nil
	}
	if err := b.s.rewriteRow(r, good); err != nil {
		b.s.log.Error("a bad block was not repaired", zap.Uint64("extent", b.x.id), zap.Int64("offset", r.off), zap.Error(err))
	}
	r.load(r.off)
	for _, c := range bad {
		if r.good[c] {
			b.got.Healed++
		}
	}
	b.despair(r)
	return nil
}

// despair notes that the sums of a row's bad columns will not fit.
func (b *scrubbing) despair(r *row) {
	for c := range b.s.g.columns() {
		if r.holds(c) && !r.good[c] {
			b.hopeful[c] = false
		}
	}
}

// gap looks at what lies between rows: zeros, but for what writers left who failed, and rows of which nothing is good.
func (b *scrubbing) gap(from, to int64, r *row) {
	for c := range b.s.g.columns() {
		n := int(min(to, b.ends[c].content()) - from)
		if n <= 0 || allZero(r.frame(c)[:min(n, r.read[c])]) {
			continue
		}
		b.hopeful[c] = false
		if b.open {
			b.got.Open = true
		} else if !b.s.absent(b.x) {
			b.got.Doubt = true
		}
	}
}

// mismatch tells whether a column is not what was sealed, though all its blocks are good.
func (b *scrubbing) mismatch() bool {
	for c := range b.x.cols {
		if b.sums[c] != nil && b.hopeful[c] && [32]byte(b.sums[c].Sum(nil)) != b.ends[c].foot.sha256 {
			return true
		}
	}
	return false
}

// surface heals headers, footers, padding and whole columns.
func (b *scrubbing) surface(ctx context.Context) error {
	b.x.upkeep.Lock()
	defer b.x.upkeep.Unlock()
	before, err := b.s.examine(ctx, b.x, true)
	if err != nil || len(before.Bad) == 0 {
		return err
	}
	after, err := b.s.examine(ctx, b.x, false)
	if err != nil {
		return err
	}
	b.got.Found += len(before.Bad)
	b.got.Healed += max(0, len(before.Bad)-len(after.Bad))
	for _, bad := range after.Bad {
		b.got.Doubt = b.got.Doubt || bad.Lost && !b.s.absent(b.x)
	}
	return nil
}
