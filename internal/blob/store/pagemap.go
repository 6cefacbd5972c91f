package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
)

// pageLayers returns the layers of a map, topmost first; none if there is no such map.
func pageLayers(r engine.Reader, partition []byte, id engine.Stamp) ([]engine.Stamp, error) {
	v, err := r.Get(engine.SpacePage, record.AppendContentKey(nil, partition, record.KeyPageMap, id))
	if errors.Is(err, engine.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return record.DecodeLayers(v)
}

// layerCursor walks the ranges of one layer.
type layerCursor struct {
	it     engine.Iterator
	prefix []byte
	cur    record.PageRange
	ok     bool
	err    error
}

func newLayerCursor(r engine.Reader, partition []byte, layer engine.Stamp) *layerCursor {
	prefix := record.AppendContentKey(nil, partition, record.KeyPageRange, layer)
	return &layerCursor{it: r.Scan(engine.SpacePage, prefix, record.After(append([]byte(nil), prefix...))), prefix: prefix}
}

// seek moves to the first range that ends after x.
func (c *layerCursor) seek(x int64) {
	if c.load(c.it.SeekLT(binary.BigEndian.AppendUint64(c.prefix[:len(c.prefix):len(c.prefix)], uint64(x)+1))); !c.ok {
		if c.err == nil {
			c.load(c.it.SeekGE(c.prefix))
		}
		return
	}
	if c.cur.To <= x {
		c.next()
	}
}

// forward does the same for an x that is not before the current range.
func (c *layerCursor) forward(x int64) {
	for i := 0; c.ok && c.cur.To <= x; i++ {
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
		c.err = c.cur.Decode(int64(binary.BigEndian.Uint64(c.it.Key()[len(c.prefix):])), v)
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
func (s *pageStack) at(x, to int64) (record.PageRange, error) {
	for level := range s.layers {
		if level == len(s.cursors) {
			s.cursors = append(s.cursors, newLayerCursor(s.r, s.partition, s.layers[level]))
			s.cursors[level].seek(x)
		}
		c := s.cursors[level]
		c.forward(x)
		switch {
		case c.err != nil:
			return record.PageRange{}, c.err
		case !c.ok:
		case c.cur.From <= x:
			return c.cur.Clip(x, min(c.cur.To, to)), nil
		default:
			to = min(to, c.cur.From)
		}
	}
	return record.PageRange{From: x, To: to}, nil
}

func (s *pageStack) close() (err error) {
	for _, c := range s.cursors {
		err = errors.Join(err, c.close())
	}
	return err
}

// walkPages calls visit for the written ranges between from and to in order, clipped to these bounds, until it returns false.
// The bytes of an inline range live until visit returns. step, if it is not nil, is told of every range looked at, and ends it by an error.
func walkPages(r engine.Reader, partition []byte, layers []engine.Stamp, from, to int64, step func(at int64) error, visit func(*record.PageRange) bool) (err error) {
	s := pageStack{r: r, partition: partition, layers: layers}
	for from < to {
		if step != nil {
			if err = step(from); err != nil {
				break
			}
		}
		var p record.PageRange
		if p, err = s.at(from, to); err != nil {
			break
		}
		if p.Kind != 0 && p.Kind != record.PageHole && !visit(&p) {
			break
		}
		from = p.To
	}
	return errors.Join(err, s.close())
}

// diffPages calls visit for the runs between from and to whose bytes in the stack now are not where those of the stack before
// are, in order: cleared tells those that are zero now and were not, or were cleared since though they had been zero, as the service
// tells them. It looks only at what the layers that the two do not share have a word on.
func diffPages(r engine.Reader, partition []byte, now, before []engine.Stamp, from, to int64, step func(at int64) error, visit func(from, to int64, cleared bool) bool) (err error) {
	shared := 0
	for shared < len(now) && shared < len(before) && now[len(now)-1-shared] == before[len(before)-1-shared] {
		shared++
	}
	a := pageStack{r: r, partition: partition, layers: now[:len(now)-shared]}
	b := pageStack{r: r, partition: partition, layers: before[:len(before)-shared]}
	common := pageStack{r: r, partition: partition, layers: now[len(now)-shared:]}
	defer func() { err = errors.Join(err, a.close(), b.close(), common.close()) }()
	for x := from; x < to; {
		if err := step(x); err != nil {
			return err
		}
		p, err := a.at(x, to)
		if err != nil {
			return err
		}
		q, err := b.at(x, p.To)
		if err != nil {
			return err
		}
		end, clears := q.To, p.Kind == record.PageHole
		if p.Kind != 0 || q.Kind != 0 {
			if p.Kind == 0 || q.Kind == 0 {
				c, err := common.at(x, end)
				if err != nil {
					return err
				}
				end = c.To
				if p.Kind == 0 {
					p = c
				} else {
					q = c
				}
			}
			p, q = p.Clip(x, end), q.Clip(x, end)
			zeroNow, zeroBefore := p.Kind == 0 || p.Kind == record.PageHole, q.Kind == 0 || q.Kind == record.PageHole
			changed := clears
			if !zeroNow || !zeroBefore {
				changed = zeroNow != zeroBefore || !p.Same(&q)
			}
			if changed && !visit(x, end, zeroNow) {
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
	carry     record.PageRange // of kind 0: none
	consumed  int64            // offset of the last range that was replaced, -1 for none
}

func newPageMerge(tx engine.Tx, partition []byte, layer engine.Stamp, bottom bool, budget int) *pageMerge {
	return &pageMerge{tx: tx, partition: partition, layer: layer, bottom: bottom, budget: budget, consumed: -1,
		cursor: newLayerCursor(tx, partition, layer)}
}

// put lays u over what the layer has, and makes the layer an owner of its chunk. It returns up to where it came before the
// budget was used up: u.to, if all is done.
func (m *pageMerge) put(u record.PageRange) (int64, error) {
	if !m.started {
		m.cursor.seek(u.From)
		m.started = true
	} else {
		m.cursor.forward(u.From)
	}
	m.flushCarry(u.From)
	first, last, many := int64(-1), int64(-1), false
	for ; m.cursor.ok && m.cursor.cur.From < u.To; m.cursor.next() {
		e := m.cursor.cur
		if e.From <= m.consumed || e.To <= u.From {
			continue
		}
		if m.budget == 0 {
			if e.From <= u.From {
				return u.From, nil
			}
			u = u.Clip(u.From, e.From)
			break
		}
		m.budget--
		m.consumed = e.From
		m.release(&e)
		if e.From < u.From {
			m.set(e.Clip(e.From, u.From))
		} else if first < 0 {
			first, last = e.From, e.From
		} else {
			last, many = e.From, true
		}
		if e.To > u.To {
			m.keep(e.Clip(u.To, e.To))
			break
		}
	}
	if m.cursor.err != nil {
		return 0, m.cursor.err
	}
	if m.carry.Kind != 0 { // a range that reached over the one before may reach into or over this one
		switch {
		case m.carry.To <= u.From:
		case m.carry.To <= u.To:
			m.carry = record.PageRange{}
		case m.carry.From < u.To:
			m.carry = m.carry.Clip(u.To, m.carry.To)
		}
	}
	switch {
	case many:
		m.tx.DeleteRange(engine.SpacePage, record.AppendRangeKey(nil, m.partition, m.layer, first), record.AppendRangeKey(nil, m.partition, m.layer, last+1))
	case first >= 0:
		m.tx.Delete(engine.SpacePage, record.AppendRangeKey(nil, m.partition, m.layer, first))
	}
	if u.Kind != record.PageHole || !m.bottom {
		m.set(u)
	}
	return u.To, nil
}

// flushCarry writes what is left of a cut range before from.
func (m *pageMerge) flushCarry(from int64) {
	if m.carry.Kind == 0 || m.carry.From >= from {
		return
	}
	end := min(m.carry.To, from)
	m.set(m.carry.Clip(m.carry.From, end))
	if end == m.carry.To {
		m.carry = record.PageRange{}
	} else {
		m.carry = m.carry.Clip(end, m.carry.To)
	}
}

// keep carries a range on; its bytes are copied, as the cursor moves.
func (m *pageMerge) keep(p record.PageRange) {
	p.Bytes = append([]byte(nil), p.Bytes...)
	m.carry = p
}

func (m *pageMerge) set(p record.PageRange) {
	if p.Kind == record.PageChunk {
		m.tx.Retain(p.Ref)
	}
	m.tx.Set(engine.SpacePage, record.AppendRangeKey(nil, m.partition, m.layer, p.From), p.AppendTo(nil))
}

func (m *pageMerge) release(p *record.PageRange) {
	if p.Kind == record.PageChunk {
		m.tx.Release(p.Ref)
	}
}

// finish ends the merge.
func (m *pageMerge) finish() error {
	m.flushCarry(math.MaxInt64)
	if err := m.cursor.close(); err != nil {
		return fmt.Errorf("page map: %w", err)
	}
	return nil
}
