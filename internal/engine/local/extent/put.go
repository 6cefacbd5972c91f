package extent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/crc64"
	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// Put stores size bytes of r as a chunk; see engine.Store. A place in the extent is taken when the first buffer is full, so a
// sender that stalls holds a buffer and nothing else.
func (s *Store) Put(ctx context.Context, r io.Reader, size int64) (engine.Chunk, error) {
	if size < 1 || size > engine.MaxChunk {
		return engine.Chunk{}, fmt.Errorf("a chunk of %d bytes: %w", size, engine.ErrTooLarge)
	}
	if !s.enter() {
		return engine.Chunk{}, engine.ErrClosed
	}
	defer s.ops.Done()
	if s.g.k > 1 && size <= blockSize {
		return s.putPacked(ctx, r, size)
	}
	return s.putStriped(ctx, r, size)
}

func (s *Store) putStriped(ctx context.Context, r io.Reader, size int64) (chunk engine.Chunk, err error) {
	sh := shape{size: size}
	total := s.g.rowsOf(sh)
	pool, n := &s.allBufs, s.g.rows
	if total == 1 {
		pool, n = &s.rowBufs, 1
	}
	pooled := pool.Get().(*[]byte)
	co := s.coders.Get().(*coder)
	defer s.coders.Put(co)
	w := stripe{s: s, shape: sh, buf: *pooled, rows: n, co: co}
	defer func() {
		*pooled = w.buf
		pool.Put(pooled)
	}()

	for first := 0; first < total; first += n {
		last := min(first+n, total)
		if err := ctx.Err(); err != nil {
			return chunk, err
		}
		if err := w.read(r, first, last); err != nil {
			return chunk, err
		}
		if w.x == nil {
			w.x, w.base, err = s.reserve(s.g.region(sh), 1, size)
			if err != nil {
				return chunk, err
			}
			defer s.done(w.x, 1)
		}
		sum, err := w.encode(first, last)
		if err != nil {
			return chunk, err
		}
		chunk.CRC64 = crc64.Combine(chunk.CRC64, sum, w.content(first, last))
		if err := w.write(first, last); err != nil {
			return chunk, fmt.Errorf("write extent %016x: %w", w.x.id, err)
		}
	}
	chunk.Size = size
	chunk.Ref = makeRef(place{extent: w.x.id, offset: w.base, shape: sh})
	return chunk, s.acknowledge(w.x, chunk.Ref)
}

// acknowledge makes durable what the caller wrote to x, and says whether enough of it is.
func (s *Store) acknowledge(x *extent, ref engine.Ref) error {
	s.sync(x)
	if err := s.enough(x); err != nil {
		return fmt.Errorf("write extent %016x: %w", x.id, err)
	}
	if s.opts.OnPut != nil {
		s.opts.OnPut(ref)
	}
	return nil
}

// stripe is a striped chunk on its way to the columns, some rows at a time. The buffer holds column after column, and in each
// the frames of those rows as they will lie in the file, so content is received in place and each column is one write.
type stripe struct {
	s     *Store
	shape shape
	x     *extent
	base  int64
	buf   []byte
	rows  int // that the buffer holds
	co    *coder
}

// frame returns the part of the buffer for column c of the i-th row in it.
func (w *stripe) frame(i, c int) []byte {
	f := w.s.g.frame()
	at := (c*w.rows + i) * f
	return w.buf[at : at+f]
}

// content returns the bytes of content in rows [first, last).
func (w *stripe) content(first, last int) int64 {
	row := int64(w.s.g.k) * blockSize
	return min(int64(last)*row, w.shape.size) - int64(first)*row
}

func (w *stripe) read(r io.Reader, first, last int) error {
	g := &w.s.g
	for i := range last - first {
		for c := range g.k {
			n := g.length(w.shape, first+i, c)
			if n == 0 {
				break
			}
			if _, err := io.ReadFull(r, w.frame(i, c)[g.head:g.head+n]); err != nil {
				if err == io.EOF {
					err = io.ErrUnexpectedEOF
				}
				return err
			}
		}
	}
	return nil
}

// encode sums the blocks, makes the parity and writes the frame headers. It returns the sum of the content.
func (w *stripe) encode(first, last int) (sum uint64, err error) {
	g, co := &w.s.g, w.co
	for i := range last - first {
		r := first + i
		for c := range g.columns() {
			co.frames[c] = w.frame(i, c)
		}
		for c := range g.k {
			n := g.length(w.shape, r, c)
			co.cells[c] = cell{length: uint32(n)}
			if n > 0 {
				co.cells[c].sum = crc64.Sum(co.frames[c][g.head : g.head+n])
				sum = crc64.Combine(sum, co.cells[c].sum, int64(n))
			}
		}
		err := w.s.encodeRow(frame{
			kind: kindStriped, k: uint8(g.k), m: uint8(g.m), extent: w.x.id,
			offset:      uint32(w.base + int64(r)*int64(g.frame())),
			rowLength:   uint32(g.rowLength(w.shape, r)),
			chunkOffset: uint32(w.base),
			chunkLength: uint32(w.shape.size),
		}, co)
		if err != nil {
			return 0, err
		}
	}
	return sum, nil
}

// write puts the frames of rows [first, last) into the columns.
func (w *stripe) write(first, last int) error {
	g := &w.s.g
	lost := false
	defer func() {
		if lost {
			w.buf = make([]byte, len(w.buf))
		}
	}()
	at := w.base + int64(first)*int64(g.frame())
	for c := range g.columns() {
		// What a column holds of these rows ends with its last frame; only the very last row is short or not there.
		end := (last - 1 - first) * g.frame()
		n := g.rowLength(w.shape, last-1)
		if c < g.k {
			n = g.length(w.shape, last-1, c)
		}
		if n > 0 {
			end += g.head + n
		} else if end == 0 {
			continue
		}
		start := c * w.rows * g.frame()
		lent, err := w.s.write(w.x, c, w.buf[start:start+end], at)
		lost = lost || lent
		if err != nil {
			return err
		}
	}
	return nil
}

// zeros stands for the columns of a row that hold nothing.
var zeros [blockSize]byte

// coder is what the coding of a row needs. The caller of encodeRow fills in the frames, of which those of data columns hold their
// payloads, and the cells.
type coder struct {
	frames [maxColumns][]byte
	cells  [maxColumns]cell
	shards [maxColumns][]byte
	table  [maxColumns * cellSize]byte
}

// encodeRow completes a row: parity, table, headers. What follows a payload shorter than the row's in its frame is set to zero.
func (s *Store) encodeRow(head frame, co *coder) error {
	g := &s.g
	n := int(head.rowLength)
	if g.m > 0 {
		encodeTable(co.table[:], co.cells[:g.k])
		head.table = co.table[:g.k*cellSize]
		for c := range g.columns() {
			if c < g.k && co.cells[c].length == 0 {
				co.shards[c] = zeros[:n]
				continue
			}
			co.shards[c] = co.frames[c][g.head : g.head+n]
			if c < g.k {
				clear(co.shards[c][co.cells[c].length:])
			}
		}
		if err := s.rs.Encode(co.shards[:g.columns()]); err != nil {
			return fmt.Errorf("erasure code: %w", err)
		}
	}
	for c := range g.columns() {
		h := head
		h.column = uint8(c)
		if c < g.k {
			h.length, h.sum = co.cells[c].length, co.cells[c].sum
		} else {
			h.length, h.sum = head.rowLength, crc64.Sum(co.shards[c])
		}
		if h.length > 0 {
			h.encodeFor(g, co.frames[c], s.tag(h.extent, c, int64(h.offset)))
		}
	}
	return nil
}

// encodeFor writes the header of a frame that is filled in but for what its kind decides.
func (f *frame) encodeFor(g *geometry, b []byte, tag uint64) {
	if f.kind == kindPacked {
		f.chunkOffset, f.chunkLength = f.offset, f.length
		if int(f.column) >= g.k {
			f.chunkLength = 0
		}
	}
	f.encode(b[:g.head], tag)
}

// reserve gives n bytes in every column of the open extent to so many writers with so many bytes of content, each of whom must
// call done.
func (s *Store) reserve(n int64, writers int, content int64) (*extent, int64, error) {
	var replaced *extent // the removal of its files must not hold up the others
	defer func() {
		if replaced != nil {
			s.release(replaced)
		}
	}()
	s.appending.Lock()
	defer s.appending.Unlock()
	if x := s.current; x != nil {
		if off, ok := s.place(x, n, writers, content); ok {
			return x, off, nil
		}
		s.current = nil
		s.retire(x)
	}
	x, err := s.create()
	if err != nil {
		return nil, 0, err
	}
	s.current = x
	replaced, s.deferred = s.deferred, nil
	off, _ := s.place(x, n, writers, content)
	return x, off, nil
}

// place gives a place in x, unless x is full, in doubt, or short of columns.
func (s *Store) place(x *extent, n int64, writers int, content int64) (int64, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.retired || x.end > headerSize && (x.end+n > s.opts.ExtentSize || s.enough(x) != nil) {
		return 0, false
	}
	off := x.end
	x.end += n
	x.data += content
	x.writers += writers
	return off, true
}

// done ends the writing of so many who had a place in x.
func (s *Store) done(x *extent, writers int) {
	x.mu.Lock()
	x.writers -= writers
	last := x.writers == 0 && x.retired
	x.mu.Unlock()
	if last {
		s.work.seal(x)
	}
}

// create makes the files of a new extent. Its data columns go on disks that work, as many as there are; what is missing is
// rebuilt by Heal. The caller holds s.appending.
func (s *Store) create() (*extent, error) {
	id := s.last + 1
	x := &extent{id: id, started: s.opts.Started, end: headerSize, measured: true, cols: make([]atomic.Pointer[column], s.g.columns())}
	x.refs.Store(1)
	var wg sync.WaitGroup
	var excuse atomic.Pointer[error]
	c := 0
	for i := range s.disks {
		// The disks take turns, so that parity and data come to lie on all of them.
		d := s.disks[(int(id%uint64(len(s.disks)))+i)%len(s.disks)]
		if d.failed() {
			continue
		}
		if c == s.g.columns() {
			break
		}
		col := &column{disk: d, path: d.FS.PathJoin(d.Dir, columnName(id, c))}
		h := s.headerOf(x, c, d)
		x.cols[c].Store(col)
		wg.Go(func() {
			f, err := createColumn(d.FS, d.Dir, col.path, h)
			switch {
			case err == nil:
				s.files.pin(col, f)
			case diskio.Excuse(err) != nil:
				err = diskio.Kind(err)
				excuse.Store(&err)
			default:
				s.failDisk(d, err)
			}
		})
		c++
	}
	wg.Wait()
	s.last = id // also if it failed: a file may be there
	err := s.enough(x)
	if why := excuse.Load(); why != nil {
		err = *why
	}
	if err != nil {
		s.unpin(x)
		return nil, errors.Join(fmt.Errorf("make extent %016x: %w", id, err), s.remove(x))
	}
	for c := range x.cols {
		col := x.cols[c].Load()
		if col != nil && col.pinned == nil {
			x.cols[c].Store(nil)
			col = nil
		}
		if col == nil {
			s.miss(x, nil)
		}
	}
	s.mu.Lock()
	s.extents[id] = x
	s.mu.Unlock()
	return x, nil
}

// createColumn makes a column file with its header, synced, directory and all.
func createColumn(fs vfs.FS, dir, path string, h fileHeader) (vfs.File, error) {
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", path, err)
	}
	if _, err = f.Write(h.encode()); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = diskio.SyncDir(fs, dir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create %s: %w", path, err), f.Close())
	}
	return f, nil
}
