package blob

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/blobd/blobd/internal/engine"
)

// A page map tells where the written pages of a page blob are. It is a stack of layers, each a set of disjoint ranges by offset;
// the topmost layer that has a byte decides on it, and a byte in none is zero. Keys in SpacePage:
//
//	partition 'm' map             the map's layers, topmost first, 8 bytes each
//	partition 'l' layer           how many maps have the layer, if more than one
//	partition 'r' layer offset    a range of the layer
//
// A snapshot shares its blob's whole map (Txn.share); the first write after it gives the blob a map of its own with an empty
// layer on top of those it had. So a snapshot costs nothing, a write costs its pages however many the blob has, and no range is
// ever copied. When a snapshot goes, neighbouring layers that nobody else has are folded in the background, the upper into the
// lower: the work is bounded by what was written since. See docs/design/024-page-maps.md.
const (
	keyPageMap   = 'm'
	keyPageLayer = 'l'
	keyPageRange = 'r'
)

// maxInlinePages is the most that is kept of pages in the key space, in bytes; more goes to a chunk.
const maxInlinePages = engine.MaxInline

// pageKind is what a range holds. Stored: never renumber.
type pageKind byte

const (
	pageInline pageKind = 1 // the bytes themselves follow
	pageChunk  pageKind = 2 // ref, offset in the chunk, length
	pageHole   pageKind = 3 // length: zeros, whatever the layers below have
)

// pageRange is the bytes from from to to (exclusive) of a blob.
type pageRange struct {
	from, to int64
	kind     pageKind
	ref      engine.Ref
	offset   int64  // in the chunk
	bytes    []byte // inline
}

var errPages = errors.New("stored page map is malformed")

// clip returns the part of a range between two bounds, which lie within it.
func (p pageRange) clip(from, to int64) pageRange {
	switch p.kind {
	case pageInline:
		p.bytes = p.bytes[from-p.from : to-p.from]
	case pageChunk:
		p.offset += from - p.from
	}
	p.from, p.to = from, to
	return p
}

// same tells whether two equally long ranges are the same bytes by where they come from.
func (p *pageRange) same(q *pageRange) bool {
	if p.kind != q.kind {
		return false
	}
	switch p.kind {
	case pageChunk:
		return p.ref == q.ref && p.offset == q.offset
	case pageInline:
		return string(p.bytes) == string(q.bytes)
	}
	return true
}

func (p *pageRange) appendTo(b []byte) []byte {
	b = append(b, byte(p.kind))
	switch p.kind {
	case pageInline:
		return append(b, p.bytes...)
	case pageChunk:
		b = append(b, p.ref[:]...)
		b = binary.AppendUvarint(b, uint64(p.offset))
	}
	return binary.AppendUvarint(b, uint64(p.to-p.from))
}

// decode reads a stored range that begins at from. Its bytes alias v.
func (p *pageRange) decode(from int64, v []byte) error {
	if len(v) == 0 {
		return errPages
	}
	*p = pageRange{from: from, kind: pageKind(v[0])}
	d := decoder{v: view(v[1:])}
	length := int64(len(v) - 1)
	switch p.kind {
	case pageInline:
		p.bytes = v[1:]
		d.rest()
	case pageChunk:
		copy(p.ref[:], d.take(len(p.ref)))
		p.offset = d.size()
		length = d.size()
	case pageHole:
		length = d.size()
	default:
		d.fail()
	}
	if d.bad || d.more() || length <= 0 || length > math.MaxInt64-from {
		return errPages
	}
	p.to = from + length
	return nil
}

func appendRangeKey(b, partition []byte, layer engine.Stamp, offset int64) []byte {
	return binary.BigEndian.AppendUint64(appendContentKey(b, partition, keyPageRange, layer), uint64(offset))
}

// pageLayers returns the layers of a map, topmost first; none if there is no such map.
func pageLayers(r engine.Reader, partition []byte, id engine.Stamp) ([]engine.Stamp, error) {
	v, err := r.Get(engine.SpacePage, appendContentKey(nil, partition, keyPageMap, id))
	if errors.Is(err, engine.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeLayers(v)
}

func decodeLayers(v []byte) ([]engine.Stamp, error) {
	if len(v) == 0 || len(v)%8 != 0 {
		return nil, errPages
	}
	layers := make([]engine.Stamp, len(v)/8)
	for i := range layers {
		layers[i] = engine.Stamp(binary.BigEndian.Uint64(v[8*i:]))
	}
	return layers, nil
}

func appendLayers(b []byte, layers []engine.Stamp) []byte {
	for _, l := range layers {
		b = binary.BigEndian.AppendUint64(b, uint64(l))
	}
	return b
}

// layerCursor walks the ranges of one layer.
type layerCursor struct {
	it     engine.Iterator
	prefix []byte
	cur    pageRange
	ok     bool
	err    error
}

func newLayerCursor(r engine.Reader, partition []byte, layer engine.Stamp) *layerCursor {
	prefix := appendContentKey(nil, partition, keyPageRange, layer)
	return &layerCursor{it: r.Scan(engine.SpacePage, prefix, after(append([]byte(nil), prefix...))), prefix: prefix}
}

// seek moves to the first range that ends after x.
func (c *layerCursor) seek(x int64) {
	if c.load(c.it.SeekLT(binary.BigEndian.AppendUint64(c.prefix[:len(c.prefix):len(c.prefix)], uint64(x)+1))); !c.ok {
		if c.err == nil {
			c.load(c.it.SeekGE(c.prefix))
		}
		return
	}
	if c.cur.to <= x {
		c.next()
	}
}

// forward does the same for an x that is not before the current range.
func (c *layerCursor) forward(x int64) {
	for i := 0; c.ok && c.cur.to <= x; i++ {
		if i == 8 { // far ahead
			c.seek(x)
			return
		}
		c.next()
	}
}

func (c *layerCursor) next() { c.load(c.it.Next()) }

func (c *layerCursor) load(ok bool) {
	if c.ok = ok && c.err == nil; !c.ok {
		return
	}
	var v []byte
	if v, c.err = c.it.Value(); c.err == nil {
		c.err = c.cur.decode(int64(binary.BigEndian.Uint64(c.it.Key()[len(c.prefix):])), v)
	}
	c.ok = c.err == nil
}

func (c *layerCursor) close() error { return errors.Join(c.err, c.it.Close()) }

// pageStack reads a stack of layers as one, from low offsets to high.
type pageStack struct {
	r         engine.Reader
	partition []byte
	layers    []engine.Stamp
	cursors   []*layerCursor // as far down as they were needed
}

// at returns what the stack has at x and as far as that goes, at most up to a bound: a range or a hole of the topmost layer that
// has a word on x, or kind 0 where none has. The bytes of an inline range live until the next call, which must not be for a
// smaller x.
func (s *pageStack) at(x, to int64) (pageRange, error) {
	for level := range s.layers {
		if level == len(s.cursors) {
			s.cursors = append(s.cursors, newLayerCursor(s.r, s.partition, s.layers[level]))
			s.cursors[level].seek(x)
		}
		c := s.cursors[level]
		c.forward(x)
		switch {
		case c.err != nil:
			return pageRange{}, c.err
		case !c.ok:
		case c.cur.from <= x:
			return c.cur.clip(x, min(c.cur.to, to)), nil
		default:
			to = min(to, c.cur.from)
		}
	}
	return pageRange{from: x, to: to}, nil
}

func (s *pageStack) close() (err error) {
	for _, c := range s.cursors {
		err = errors.Join(err, c.close())
	}
	return err
}

// walkPages calls visit for the written ranges between from and to in order, clipped to these bounds, until it returns false.
// The bytes of an inline range live until visit returns.
func walkPages(r engine.Reader, partition []byte, layers []engine.Stamp, from, to int64, visit func(*pageRange) bool) (err error) {
	s := pageStack{r: r, partition: partition, layers: layers}
	for from < to {
		var p pageRange
		if p, err = s.at(from, to); err != nil {
			break
		}
		if p.kind != 0 && p.kind != pageHole && !visit(&p) {
			break
		}
		from = p.to
	}
	return errors.Join(err, s.close())
}

// diffPages calls visit for the runs between from and to whose bytes in the stack now are not where those of the stack before
// are, in order: cleared tells those that are zero now and were not. It looks only at what the layers that the two do not share
// have a word on.
func diffPages(r engine.Reader, partition []byte, now, before []engine.Stamp, from, to int64, visit func(from, to int64, cleared bool) bool) (err error) {
	shared := 0
	for shared < len(now) && shared < len(before) && now[len(now)-1-shared] == before[len(before)-1-shared] {
		shared++
	}
	a := pageStack{r: r, partition: partition, layers: now[:len(now)-shared]}
	b := pageStack{r: r, partition: partition, layers: before[:len(before)-shared]}
	common := pageStack{r: r, partition: partition, layers: now[len(now)-shared:]}
	defer func() { err = errors.Join(err, a.close(), b.close(), common.close()) }()
	for x := from; x < to; {
		p, err := a.at(x, to)
		if err != nil {
			return err
		}
		q, err := b.at(x, p.to)
		if err != nil {
			return err
		}
		end := q.to
		if p.kind != 0 || q.kind != 0 {
			if p.kind == 0 || q.kind == 0 {
				c, err := common.at(x, end)
				if err != nil {
					return err
				}
				end = c.to
				if p.kind == 0 {
					p = c
				} else {
					q = c
				}
			}
			p, q = p.clip(x, end), q.clip(x, end)
			zeroNow, zeroBefore := p.kind == 0 || p.kind == pageHole, q.kind == 0 || q.kind == pageHole
			if !(zeroNow && zeroBefore) && (zeroNow != zeroBefore || !p.same(&q)) && !visit(x, end, zeroNow) {
				return nil
			}
		}
		x = end
	}
	return nil
}

// pageMerge puts ranges into one layer, in ascending order and disjoint, within one transaction. As the transaction does not see
// its own writes, what is left of a range that was cut is carried until the next one is known.
type pageMerge struct {
	tx        engine.Tx
	partition []byte
	layer     engine.Stamp
	bottom    bool // nothing lies below: a hole is simply the absence of a range
	budget    int  // ranges of the layer that may still be replaced
	cursor    *layerCursor
	started   bool
	carry     pageRange // of kind 0: none
	consumed  int64     // offset of the last range that was replaced, -1 for none
}

func newPageMerge(tx engine.Tx, partition []byte, layer engine.Stamp, bottom bool, budget int) *pageMerge {
	return &pageMerge{tx: tx, partition: partition, layer: layer, bottom: bottom, budget: budget, consumed: -1,
		cursor: newLayerCursor(tx, partition, layer)}
}

// put lays u over what the layer has, and makes the layer an owner of its chunk. It returns up to where it came before the
// budget was used up: u.to, if all is done.
func (m *pageMerge) put(u pageRange) (int64, error) {
	if !m.started {
		m.cursor.seek(u.from)
		m.started = true
	} else {
		m.cursor.forward(u.from)
	}
	m.settleCarry(u.from)
	first, last, many := int64(-1), int64(-1), false
	for ; m.cursor.ok && m.cursor.cur.from < u.to; m.cursor.next() {
		e := m.cursor.cur
		if e.from <= m.consumed || e.to <= u.from {
			continue
		}
		if m.budget == 0 {
			if e.from <= u.from {
				return u.from, nil
			}
			u = u.clip(u.from, e.from)
			break
		}
		m.budget--
		m.consumed = e.from
		m.release(&e)
		if e.from < u.from {
			m.set(e.clip(e.from, u.from))
		} else if first < 0 {
			first, last = e.from, e.from
		} else {
			last, many = e.from, true
		}
		if e.to > u.to {
			m.keep(e.clip(u.to, e.to))
			break
		}
	}
	if m.cursor.err != nil {
		return 0, m.cursor.err
	}
	if m.carry.kind != 0 { // a range that reached over the one before may reach into or over this one
		switch {
		case m.carry.to <= u.from:
		case m.carry.to <= u.to:
			m.carry = pageRange{}
		case m.carry.from < u.to:
			m.carry = m.carry.clip(u.to, m.carry.to)
		}
	}
	switch {
	case many:
		m.tx.DeleteRange(engine.SpacePage, appendRangeKey(nil, m.partition, m.layer, first), appendRangeKey(nil, m.partition, m.layer, last+1))
	case first >= 0:
		m.tx.Delete(engine.SpacePage, appendRangeKey(nil, m.partition, m.layer, first))
	}
	if u.kind != pageHole || !m.bottom {
		m.set(u)
	}
	return u.to, nil
}

// settleCarry writes what is left of a cut range before from.
func (m *pageMerge) settleCarry(from int64) {
	if m.carry.kind == 0 || m.carry.from >= from {
		return
	}
	end := min(m.carry.to, from)
	m.set(m.carry.clip(m.carry.from, end))
	if end == m.carry.to {
		m.carry = pageRange{}
	} else {
		m.carry = m.carry.clip(end, m.carry.to)
	}
}

// keep carries a range on; its bytes are copied, as the cursor moves.
func (m *pageMerge) keep(p pageRange) {
	p.bytes = append([]byte(nil), p.bytes...)
	m.carry = p
}

func (m *pageMerge) set(p pageRange) {
	if p.kind == pageChunk {
		m.tx.Retain(p.ref)
	}
	m.tx.Set(engine.SpacePage, appendRangeKey(nil, m.partition, m.layer, p.from), p.appendTo(nil))
}

func (m *pageMerge) release(p *pageRange) {
	if p.kind == pageChunk {
		m.tx.Release(p.ref)
	}
}

// finish ends the merge.
func (m *pageMerge) finish() error {
	m.settleCarry(math.MaxInt64)
	if err := m.cursor.close(); err != nil {
		return fmt.Errorf("page map: %w", err)
	}
	return nil
}
