package extent

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/crc64"
)

// A chunk of one block or less goes whole into one data column, so that reading it is one read of one disk. Writers who come
// together share rows, and with them the parity; nobody waits for company: the row is what has come by the time the rows before
// it are written.

// parcel is such a chunk on its way.
type parcel struct {
	buf  []byte // a frame; the payload is in place
	cell cell

	x      *extent
	offset int64
	column int
	err    error

	ready chan bool // true: write what is waiting; false: it has been written
}

// packer gathers parcels into rows. One of the writers at a time writes for all that wait.
type packer struct {
	mu      sync.Mutex
	busy    bool
	waiting []*parcel
	turn    int // data column that the next row starts with

	pool sync.Pool
}

// maxParcels bounds what one writer writes for others.
const maxParcels = 4 * maxColumns

func (s *Store) putPacked(ctx context.Context, r io.Reader, size int64) (chunk engine.Chunk, err error) {
	p, _ := s.pack.pool.Get().(*parcel)
	if p == nil {
		p = &parcel{buf: make([]byte, s.g.frame()), ready: make(chan bool, 1)}
	}
	defer s.pack.pool.Put(p)
	body := p.buf[s.g.head : s.g.head+int(size)]
	if _, err := io.ReadFull(r, body); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return chunk, err
	}
	if err := ctx.Err(); err != nil {
		return chunk, err
	}
	p.cell = cell{uint32(size), crc64.Sum(body)}
	p.x, p.err = nil, nil

	s.packRow(p)
	if p.x != nil {
		defer s.done(p.x, 1)
	}
	if p.err != nil {
		return chunk, p.err
	}
	chunk = engine.Chunk{
		Ref:   makeRef(place{p.x.id, p.offset, shape{size: size, packed: true, column: p.column}}),
		Size:  size,
		CRC64: p.cell.sum,
	}
	return chunk, s.acknowledge(p.x, chunk.Ref)
}

// packRow returns when p has been written, or failed.
func (s *Store) packRow(p *parcel) {
	q := &s.pack
	q.mu.Lock()
	q.waiting = append(q.waiting, p)
	lead := !q.busy
	q.busy = true
	q.mu.Unlock()
	if !lead && !<-p.ready {
		return
	}

	q.mu.Lock()
	n := min(len(q.waiting), maxParcels) // p is the first of them
	batch := slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	q.mu.Unlock()

	s.writeParcels(batch)

	q.mu.Lock()
	if len(q.waiting) > 0 {
		q.waiting[0].ready <- true
	} else {
		q.busy = false
	}
	q.mu.Unlock()
	for _, o := range batch {
		if o != p {
			o.ready <- false
		}
	}
}

// writeParcels writes a batch in as few rows as it fills. Each parcel has its place or its error afterwards.
func (s *Store) writeParcels(batch []*parcel) {
	err := s.placeParcels(batch)
	for _, p := range batch {
		p.err = err
	}
}

func (s *Store) placeParcels(batch []*parcel) error {
	// Parcels of like length share a row, which is as long as its longest.
	slices.SortStableFunc(batch, func(a, b *parcel) int { return cmp.Compare(b.cell.length, a.cell.length) })
	var region int64
	for row := range slices.Chunk(batch, s.g.k) {
		region += int64(s.g.stride(int(row[0].cell.length)))
	}
	var content int64
	for _, p := range batch {
		content += int64(p.cell.length)
	}
	x, off, err := s.reserve(region, len(batch), content)
	if err != nil {
		return err
	}
	for _, p := range batch {
		p.x = x
	}
	parity := s.rowBufs.Get().(*[]byte)
	defer s.rowBufs.Put(parity)
	co := s.coders.Get().(*coder)
	defer s.coders.Put(co)
	for row := range slices.Chunk(batch, s.g.k) {
		if err := s.writeRow(x, off, row, parity, co); err != nil {
			return fmt.Errorf("write extent %016x: %w", x.id, err)
		}
		off += int64(s.g.stride(int(row[0].cell.length)))
	}
	return nil
}

// writeRow writes at most k parcels as a row at off, the longest first.
func (s *Store) writeRow(x *extent, off int64, row []*parcel, parity *[]byte, co *coder) error {
	g := &s.g
	// Columns that take no write come last: what is put there exists in the parity only.
	s.pack.turn++
	free := make([]int, 0, maxColumns)
	for _, writable := range []bool{true, false} {
		for i := range g.k {
			c := (s.pack.turn + i) % g.k
			if x.cols[c].Load().writable() == writable {
				free = append(free, c)
			}
		}
	}
	clear(co.cells[:])
	for c := range g.columns() {
		co.frames[c] = (*parity)[c*g.frame() : (c+1)*g.frame()]
	}
	for i, p := range row {
		c := free[i]
		p.offset, p.column = off, c
		co.cells[c], co.frames[c] = p.cell, p.buf
	}
	// A frame that is lent for good is replaced: parcels are used again, and so are the frames of the parity.
	var own [maxColumns]bool
	defer func() {
		for i, p := range row {
			if own[free[i]] {
				p.buf = make([]byte, g.frame())
			}
		}
		for c := g.k; c < g.columns(); c++ {
			if own[c] {
				*parity = make([]byte, len(*parity))
				break
			}
		}
	}()
	n := int(row[0].cell.length)
	err := s.encodeRow(frame{
		kind: kindPacked, k: uint8(g.k), m: uint8(g.m), extent: x.id,
		offset: uint32(off), rowLength: uint32(n),
	}, co)
	if err != nil {
		return err
	}
	for c := range g.columns() {
		n := n
		if c < g.k {
			n = int(co.cells[c].length)
		}
		if n == 0 {
			continue
		}
		lent, err := s.write(x, c, co.frames[c][:g.head+n], off)
		if lent {
			own[c] = true
		}
		if err != nil {
			return err
		}
	}
	return nil
}
