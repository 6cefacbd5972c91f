package extent

import (
	"bytes"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/crc64"
	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// row is one row as the columns have it. The buffer holds a full frame for each column.
type row struct {
	s     *Store
	x     *extent
	off   int64
	buf   []byte
	read  [maxColumns]int // bytes read of each column
	good  [maxColumns]bool
	found bool
	head  frame // of the first good frame
	later error // why a column could not be read that may be at another time
}

func (r *row) frame(c int) []byte {
	n := r.s.g.frame()
	return r.buf[c*n : (c+1)*n]
}

// load reads the row at off from all columns and verifies every frame by itself.
func (r *row) load(off int64) {
	g := &r.s.g
	r.off, r.found, r.later = off, false, nil
	for c := range g.columns() {
		b := r.frame(c)
		r.good[c] = false
		var err error
		if r.read[c], err = r.s.readAt(r.x, c, b, off); transient(err) {
			r.later = err
		}
		f, ok := r.frameAt(c, 0)
		if !ok || f.payload(b[:r.read[c]]) == nil {
			continue
		}
		if !r.found {
			r.found, r.head = true, f
		} else if !r.head.sameRow(&f) {
			continue
		}
		r.good[c] = true
	}
}

// frameAt decodes the frame header that lies so far into what was read of column c, if it is one that belongs there.
func (r *row) frameAt(c, at int) (frame, bool) {
	b := r.frame(c)[at:max(at, r.read[c])]
	if len(b) < frameFixed || string(b[:4]) != magicFrame {
		return frame{}, false // before the tag is worked out
	}
	f, err := decodeFrame(b, r.s.tag(r.x.id, c, r.off+int64(at)))
	ok := err == nil && f.extent == r.x.id && int(f.column) == c && int64(f.offset) == r.off+int64(at) &&
		int(f.k) == r.s.g.k && int(f.m) == r.s.g.m
	return f, ok
}

// sameRow tells whether two frames were written together.
func (f *frame) sameRow(o *frame) bool {
	return f.kind == o.kind && f.rowLength == o.rowLength && bytes.Equal(f.table, o.table) &&
		(f.kind == kindPacked || f.chunkOffset == o.chunkOffset && f.chunkLength == o.chunkLength)
}

// holds tells whether column c has a frame in this row, so far as the good frames know.
func (r *row) holds(c int) bool {
	g := &r.s.g
	switch {
	case !r.found:
		return false
	case r.good[c] || c >= g.k:
		return true
	case g.m > 0:
		return r.head.cell(c).length > 0
	case r.head.kind == kindPacked:
		return false // without parity the parcels of a row know nothing of each other
	}
	sh := shape{size: int64(r.head.chunkLength)}
	return g.length(sh, int(r.head.offset-r.head.chunkOffset)/g.frame(), c) > 0
}

// content returns the bytes of chunks in a row, so far as its good frames know.
func (r *row) content() (n int64) {
	g := &r.s.g
	for c := range g.k {
		switch {
		case !r.holds(c):
		case g.m > 0:
			n += int64(r.head.cell(c).length)
		case r.good[c]:
			f, _ := r.frameAt(c, 0)
			n += int64(f.length)
		}
	}
	return n
}

// owned tells whether a chunk in a row has an owner.
func (r *row) owned() bool {
	g := &r.s.g
	owned := func(off uint32, sh shape) bool {
		return r.s.opts.Owned(makeRef(place{extent: r.x.id, offset: int64(off), shape: sh}))
	}
	if r.head.kind == kindStriped {
		return owned(r.head.chunkOffset, shape{size: int64(r.head.chunkLength)})
	}
	for c := range g.k {
		if !r.holds(c) {
			continue
		}
		n := r.head.length
		if g.m > 0 {
			n = r.head.cell(c).length
		} else if f, ok := r.frameAt(c, 0); ok {
			n = f.length
		}
		if owned(uint32(r.off), shape{size: int64(n), packed: true, column: c}) {
			return true
		}
	}
	return false
}

// whole tells whether every frame of the row is good.
func (r *row) whole() bool {
	for c := range r.s.g.columns() {
		if r.holds(c) && !r.good[c] {
			return false
		}
	}
	return r.found
}

// restore makes every frame of the row what it was when it was written, or fails with engine.ErrCorrupt.
func (r *row) restore() error {
	g := &r.s.g
	if r.whole() {
		return nil
	}
	fail := func(why string) error {
		if r.later != nil {
			return fmt.Errorf("extent %016x, row at %d: %s: %w", r.x.id, r.off, why, diskio.Kind(r.later))
		}
		return fmt.Errorf("extent %016x, row at %d: %s: %w", r.x.id, r.off, why, engine.ErrCorrupt)
	}
	if !r.found {
		return fail("no column has a good block")
	}
	if g.m == 0 {
		return fail("a bad block and no parity")
	}
	n := int(r.head.rowLength)
	var shards [maxColumns][]byte
	have := 0
	for c := range g.columns() {
		p := r.frame(c)[g.head : g.head+n]
		switch {
		case !r.holds(c):
			shards[c] = zeros[:n]
			have++
		case r.good[c]:
			if c < g.k {
				clear(p[r.head.cell(c).length:])
			}
			shards[c] = p
			have++
		default:
			shards[c] = p[:0:n] // room for the decoder
		}
	}
	if have < g.k {
		return fail(fmt.Sprintf("%d good blocks where %d are needed", have, g.k))
	}
	if err := r.s.rs.Reconstruct(shards[:g.columns()]); err != nil {
		return fail(err.Error())
	}
	for c := range g.columns() {
		if r.good[c] || !r.holds(c) {
			continue
		}
		f := r.head
		f.column = uint8(c)
		f.length = f.rowLength
		if c < g.k {
			f.length = r.head.cell(c).length
		}
		f.sum = crc64.Sum(shards[c][:f.length])
		if c < g.k && f.sum != r.head.cell(c).sum {
			return fail("what was rebuilt does not have its sum")
		}
		f.encodeFor(g, r.frame(c), r.s.tag(r.x.id, c, r.off))
	}
	return nil
}

// rebuildBlock fills b with the frame that want describes, from the other columns, and has it repaired.
func (s *Store) rebuildBlock(x *extent, want *frame, b []byte) error {
	pooled := s.rowBufs.Get().(*[]byte)
	defer s.rowBufs.Put(pooled)
	r := row{s: s, x: x, buf: *pooled}
	r.load(int64(want.offset))
	err := r.restore()
	if err == nil {
		// The other columns may hold a sound row that is not the one of the reference.
		c := int(want.column)
		f, derr := decodeFrame(r.frame(c), s.tag(x.id, c, r.off))
		if derr != nil || !r.holds(c) || !f.matches(want) {
			err = fmt.Errorf("extent %016x, row at %d: not the chunk that is looked for: %w", x.id, want.offset, engine.ErrCorrupt)
		}
	}
	if err != nil {
		if r.later != nil {
			return err
		}
		if s.absent(x) {
			// The bytes may be on a disk that is not there.
			return fmt.Errorf("%w: %v", engine.ErrUnavailable, err)
		}
		s.log.Error("a block cannot be rebuilt", zap.Uint64("extent", x.id), zap.Uint8("column", want.column), zap.Error(err))
		return err
	}
	copy(b, r.frame(int(want.column)))
	s.rebuilt.Add(1)
	if col := x.cols[want.column].Load(); col != nil {
		col.disk.rebuilt.Add(1)
	}
	if r.later == nil {
		s.work.repair(x, r.off)
	}
	return nil
}

// transient tells whether a read failed in a way that says nothing of the bytes: it may be tried again.
func transient(err error) bool {
	return err != nil && (errors.Is(err, engine.ErrUnavailable) || diskio.Busy(err))
}

// absent tells whether a column is missing that may be on a disk that was not there at the start.
func (s *Store) absent(x *extent) bool {
	if s.lost() != engine.ErrUnavailable {
		return false
	}
	for c := range x.cols {
		if x.cols[c].Load() == nil {
			return true
		}
	}
	return false
}
