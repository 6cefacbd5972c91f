package extent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/blobd/blobd/internal/engine"
)

// Open reads length bytes of a chunk from off. The first buffer is read and verified before it returns, so that damage at the
// beginning is an error and not a broken stream.
func (s *Store) Open(ctx context.Context, ref engine.Ref, off, length int64) (io.ReadCloser, error) {
	if s.stopped.Load() {
		return nil, engine.ErrClosed
	}
	p, err := parseRef(ref)
	if err != nil {
		return nil, err
	}
	if off < 0 || length < 0 || off > p.shape.size || length > p.shape.size-off {
		return nil, fmt.Errorf("bytes %d+%d of a chunk of %d", off, length, p.shape.size)
	}
	if p.shape.packed && (s.g.k == 1 || p.shape.column >= s.g.k) {
		return nil, badRef(ref)
	}
	x := s.acquire(p.extent)
	if x == nil {
		return nil, fmt.Errorf("extent %016x: %w", p.extent, s.lost())
	}
	r := &reader{s: s, ctx: ctx, x: x, place: p, off: off, end: off + length}
	if err := r.fill(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// lost is what the absence of data means: corruption, or a disk that may yet come back.
func (s *Store) lost() error {
	for _, d := range s.disks {
		if !d.OK {
			return engine.ErrUnavailable
		}
	}
	return engine.ErrCorrupt
}

// reader reads a range of a chunk. It holds verified bytes only.
type reader struct {
	s     *Store
	ctx   context.Context // of the request that the reader belongs to
	x     *extent         // nil once closed
	place place
	off   int64 // in the chunk, of the first byte not yet in pieces
	end   int64

	pool   *sync.Pool // that buf came from
	buf    *[]byte
	pieces [][]byte // verified and not yet handed out, parts of buf
	space  [4][]byte
}

func (r *reader) Read(b []byte) (int, error) {
	if err := r.more(); err != nil {
		return 0, err
	}
	n := copy(b, r.pieces[0])
	r.pieces[0] = r.pieces[0][n:]
	if len(r.pieces[0]) == 0 {
		r.pieces = r.pieces[1:]
	}
	return n, nil
}

// WriteTo hands the verified blocks to w without copying them.
func (r *reader) WriteTo(w io.Writer) (n int64, err error) {
	for {
		if err := r.more(); err != nil {
			if err == io.EOF {
				err = nil
			}
			return n, err
		}
		m, err := w.Write(r.pieces[0])
		n += int64(m)
		if err != nil {
			return n, err
		}
		r.pieces = r.pieces[1:]
	}
}

// more sees to it that there is a piece, or returns io.EOF.
func (r *reader) more() error {
	if r.x == nil {
		return errors.New("read from a closed reader")
	}
	if len(r.pieces) > 0 {
		return nil
	}
	if r.off == r.end {
		return io.EOF
	}
	return r.fill()
}

// Close lets go of the extent. A second Close does nothing.
func (r *reader) Close() error {
	if r.x == nil {
		return nil
	}
	x := r.x
	r.x, r.pieces = nil, nil
	if r.buf != nil {
		r.pool.Put(r.buf)
		r.buf = nil
	}
	r.s.release(x)
	return nil
}

// fill reads and verifies the next blocks.
func (r *reader) fill() error {
	if r.off == r.end {
		return nil
	}
	if r.s.stopped.Load() {
		return engine.ErrClosed
	}
	if err := r.ctx.Err(); err != nil {
		return err
	}
	g := &r.s.g
	if r.place.shape.packed {
		c := r.place.shape.column
		r.take(&r.s.rowBufs)
		b := (*r.buf)[:g.head+int(r.place.shape.size)]
		n, _ := r.s.readAt(r.x, c, b, r.place.offset)
		return r.verify(0, c, b, n == len(b))
	}

	row := int64(g.k) * blockSize
	first := int(r.off / row)
	last := min(first+g.rows, int((r.end-1)/row)+1)
	rows := 1
	if last == first+1 {
		r.take(&r.s.rowBufs)
	} else {
		r.take(&r.s.allBufs)
		rows = g.rows
	}
	end := min(r.end, int64(last)*row)

	// One read of each column that has a part in these rows, then the blocks in the order of the content.
	var got [maxColumns]int // up to where each column's part of the buffer was filled
	for c := range g.k {
		from, to := -1, 0
		for i := range last - first {
			if lo, hi := r.within(first+i, c, end); lo < hi {
				if from < 0 {
					from = i * g.frame()
				}
				to = i*g.frame() + g.head + g.length(r.place.shape, first+i, c)
			}
		}
		if from < 0 {
			continue
		}
		part := (*r.buf)[c*rows*g.frame():]
		n, _ := r.s.readAt(r.x, c, part[from:to], r.place.offset+int64(first*g.frame()+from))
		got[c] = from + n
	}
	for i := range last - first {
		for c := range g.k {
			if lo, hi := r.within(first+i, c, end); lo >= hi {
				continue
			}
			from := i * g.frame()
			to := from + g.head + g.length(r.place.shape, first+i, c)
			b := (*r.buf)[c*rows*g.frame():][from:to]
			if err := r.verify(first+i, c, b, to <= got[c]); err != nil {
				return err
			}
		}
	}
	return nil
}

// take makes buf one of the given pool.
func (r *reader) take(pool *sync.Pool) {
	if r.pool == pool && r.buf != nil {
		r.pieces = r.space[:0]
		return
	}
	if r.buf != nil {
		r.pool.Put(r.buf)
	}
	r.pool, r.buf, r.pieces = pool, pool.Get().(*[]byte), r.space[:0]
}

// within returns which part of the block of row i in column c lies between r.off and end.
func (r *reader) within(i, c int, end int64) (lo, hi int64) {
	g := &r.s.g
	start := int64(i)*int64(g.k)*blockSize + int64(c)*int64(g.rowLength(r.place.shape, i))
	n := int64(g.length(r.place.shape, i, c))
	return max(0, r.off-start), min(n, end-start)
}

// expect returns the header that the block of row i in column c must have, so far as the reference tells.
func (r *reader) expect(i, c int) frame {
	g := &r.s.g
	f := frame{
		kind: kindStriped, column: uint8(c), k: uint8(g.k), m: uint8(g.m), extent: r.place.extent,
		offset:      uint32(r.place.offset + int64(i)*int64(g.frame())),
		chunkOffset: uint32(r.place.offset),
		chunkLength: uint32(r.place.shape.size),
	}
	if r.place.shape.packed {
		f.kind, f.length = kindPacked, f.chunkLength
	} else {
		f.length, f.rowLength = uint32(g.length(r.place.shape, i, c)), uint32(g.rowLength(r.place.shape, i))
	}
	return f
}

// matches tells whether a header is the expected one.
func (f *frame) matches(want *frame) bool {
	return f.kind == want.kind && f.column == want.column && f.k == want.k && f.m == want.m && f.extent == want.extent &&
		f.offset == want.offset && f.length == want.length && f.chunkOffset == want.chunkOffset && f.chunkLength == want.chunkLength &&
		(want.rowLength == 0 || f.rowLength == want.rowLength)
}

// verify checks the block of row i in column c, which was read into b if there is set, rebuilds it if need be, and makes a
// piece of what the reader wants of it.
func (r *reader) verify(i, c int, b []byte, there bool) error {
	want := r.expect(i, c)
	var payload []byte
	if there {
		if f, err := decodeFrame(b, r.s.tag); err == nil && f.matches(&want) {
			payload = f.payload(b)
		}
	}
	if payload == nil {
		if err := r.s.rebuildBlock(r.x, &want, b); err != nil {
			return err
		}
		payload = b[r.s.g.head:]
	}
	start := int64(0)
	if !r.place.shape.packed {
		start = int64(i)*int64(r.s.g.k)*blockSize + int64(c)*int64(want.rowLength)
	}
	p := payload[r.off-start : min(int64(len(payload)), r.end-start)]
	r.off += int64(len(p))
	r.pieces = append(r.pieces, p)
	return nil
}
