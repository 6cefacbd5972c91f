package extent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/crc64"
	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// Open reads length bytes of a chunk from off. The first buffer is read and verified before it returns, so that damage at the
// beginning is an error and not a broken stream.
func (s *Store) Open(ctx context.Context, ref engine.Ref, off, length int64) (io.ReadCloser, error) {
	return s.open(ctx, ref, off, length, nil)
}

// OpenWhole reads all of a chunk and holds it to its sum: a frame vouches for its place and its payload, the sum for what was put there.
// The two differ where files of another copy of the store were put in place of this one's.
func (s *Store) OpenWhole(ctx context.Context, ref engine.Ref, sum uint64) (io.ReadCloser, error) {
	return s.open(ctx, ref, 0, Size(ref), &sum)
}

func (s *Store) open(ctx context.Context, ref engine.Ref, off, length int64, sum *uint64) (io.ReadCloser, error) {
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
	if sum != nil {
		r.whole, r.want = true, *sum
	}
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
	off   int64 // in the chunk, of the first byte not yet in run
	end   int64

	whole     bool // all of the chunk is read, and its sum is to be want
	want, sum uint64
	summed    int64 // bytes that sum is of

	pool *sync.Pool // that buf came from
	buf  *[]byte
	run  []byte // verified and not yet handed out, a part of buf
}

func (r *reader) Read(b []byte) (int, error) {
	if err := r.more(); err != nil {
		return 0, err
	}
	n := copy(b, r.run)
	r.run = r.run[n:]
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
		m, err := w.Write(r.run)
		n += int64(m)
		if err != nil {
			return n, err
		}
		r.run = nil
	}
}

// more sees to it that there is something to hand out, or returns io.EOF.
func (r *reader) more() error {
	if r.x == nil {
		return errors.New("read from a closed reader")
	}
	if len(r.run) > 0 {
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
	r.x, r.run = nil, nil
	if r.buf != nil {
		r.pool.Put(r.buf)
		r.buf = nil
	}
	r.s.release(x)
	return nil
}

// fill reads and verifies the next blocks. After an error they are the next ones still.
func (r *reader) fill() error {
	sum, summed := r.sum, r.summed
	err := r.load()
	if err != nil {
		r.sum, r.summed = sum, summed
	}
	return err
}

func (r *reader) load() error {
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
		r.useBuffer(&r.s.rowBufs)
		b := (*r.buf)[:g.head+int(r.place.shape.size)]
		sum, err := r.block(0, r.place.shape.column, b)
		if err == nil {
			err = r.add(sum, r.place.shape.size)
		}
		if err != nil {
			return err
		}
		r.run, r.off = b[g.head+int(r.off):g.head+int(r.end)], r.end
		return nil
	}

	row := int64(g.k) * blockSize
	first := int(r.off / row)
	last := min(first+g.rows, int((r.end-1)/row)+1)
	if last == first+1 {
		r.useBuffer(&r.s.rowBufs)
	} else {
		r.useBuffer(&r.s.allBufs)
	}
	end := min(r.end, int64(last)*row)

	// The payloads are made to lie one behind the other, as a few large writes to a socket cost much less than many small ones: each
	// frame is read so that its header comes to lie over the end of the payload before it, which is put back then.
	var under [maxHead]byte
	var run []byte
	from, at := -1, 0
	for i := range last - first {
		for c := range g.k {
			lo, hi := r.within(first+i, c, end)
			if lo >= hi {
				continue
			}
			b := (*r.buf)[at:][:g.head+g.length(r.place.shape, first+i, c)]
			copy(under[:g.head], b)
			sum, err := r.block(first+i, c, b)
			copy(b, under[:g.head])
			if err == nil {
				err = r.add(sum, int64(len(b)-g.head))
			}
			if err != nil {
				return err
			}
			if from < 0 {
				from = at + g.head + int(lo)
			}
			run = (*r.buf)[from : at+g.head+int(hi)]
			at += len(b) - g.head
		}
	}
	r.run, r.off = run, end
	return nil
}

// add takes the sum of the next n bytes into that of the chunk, and holds it to the one that it should be at the end.
func (r *reader) add(sum uint64, n int64) error {
	if !r.whole {
		return nil
	}
	r.sum = crc64.Combine(r.sum, sum, n)
	if r.summed += n; r.summed == r.end && r.sum != r.want {
		return fmt.Errorf("extent %016x: what lies at %d is not what was put there; perhaps the file is from another copy of the store: %w",
			r.place.extent, r.place.offset, engine.ErrCorrupt)
	}
	return nil
}

// useBuffer makes buf one of the given pool.
func (r *reader) useBuffer(pool *sync.Pool) {
	r.run = nil
	if r.pool == pool && r.buf != nil {
		return
	}
	if r.buf != nil {
		r.pool.Put(r.buf)
	}
	r.pool, r.buf = pool, pool.Get().(*[]byte)
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

// block reads the frame of row i in column c into b and verifies it, or rebuilds what it holds. It returns the sum of its payload, where
// the chunk is read whole.
func (r *reader) block(i, c int, b []byte) (sum uint64, err error) {
	want := r.expect(i, c)
	n, err := r.s.readAt(r.x, c, b, int64(want.offset))
	if diskio.Busy(err) {
		return 0, diskio.Kind(err)
	}
	if n == len(b) {
		if f, err := decodeFrame(b, r.s.tag(r.place.extent, c, int64(want.offset))); err == nil && f.matches(&want) && f.payload(b) != nil {
			return f.sum, nil
		}
	}
	if err := r.s.rebuildBlock(r.x, &want, b); err != nil || !r.whole {
		return 0, err
	}
	return crc64.Sum(b[r.s.g.head:]), nil
}
