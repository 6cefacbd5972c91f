package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/tally"
	"github.com/blobd/blobd/internal/view"
)

// pageBudget is how many ranges one transaction replaces at most. A write that meets more goes into a layer of its own, which the
// sweeper folds in a few steps: so a clear of a whole disk is one short transaction too.
const pageBudget = 4096

// newPageMap makes an empty page map.
func (t *txn) newPageMap() record.Content {
	c := record.Content{Kind: record.ContentPages, ID: t.Stamp()}
	t.setLayers(c.ID, []engine.Stamp{c.ID})
	return c
}

func (t *txn) setLayers(id engine.Stamp, layers []engine.Stamp) {
	key := record.AppendContentKey(nil, t.key, record.KeyPageMap, id)
	if len(layers) == 0 {
		t.Delete(engine.SpacePage, key)
		return
	}
	t.Set(engine.SpacePage, key, record.AppendLayers(nil, layers))
}

// layerOwners counts the maps that have a layer.
func layerOwners(r engine.Reader, partition []byte, layer engine.Stamp) (uint64, error) {
	return getOwners(r, engine.SpacePage, record.AppendContentKey(nil, partition, record.KeyPageLayer, layer), record.ErrPages)
}

func (t *txn) setLayerOwners(layer engine.Stamp, n uint64) {
	key := record.AppendContentKey(nil, t.key, record.KeyPageLayer, layer)
	if n > 1 {
		t.Set(engine.SpacePage, key, binary.AppendUvarint(nil, n))
	} else {
		t.Delete(engine.SpacePage, key)
	}
}

// writePages lays a range over a blob's pages and owns its chunk. c changes to another map if the blob shares the one it had.
// It may be called once in a transaction.
func (t *txn) writePages(c *record.Content, u record.PageRange) error {
	layers, err := pageLayers(t, t.key, c.ID)
	if err != nil || len(layers) == 0 {
		return fmt.Errorf("page map of %q: %w", t.name, errors.Join(err, record.ErrPages))
	}
	records, err := t.sharers(c.ID)
	if err != nil {
		return err
	}
	m := newPageMerge(t, t.key, layers[0], len(layers) == 1, pageBudget)
	switch shared := records > 1; {
	case shared || t.svc.pins.held(t.key, c.ID):
		for _, l := range layers {
			n, err := layerOwners(t, t.key, l)
			if err != nil {
				return err
			}
			t.setLayerOwners(l, n+1)
		}
		if shared {
			t.setSharers(c.ID, records-1)
		} else {
			t.enqueue(record.WorkContent, c.ID, record.ContentPages)
		}
		c.ID = t.Stamp()
		layers = append([]engine.Stamp{c.ID}, layers...)
		t.setLayers(c.ID, layers)
	default:
		fits, err := t.fits(m, u)
		if err != nil {
			return err
		}
		if !fits {
			layers = append([]engine.Stamp{t.Stamp()}, layers...)
			t.setLayers(c.ID, layers)
			t.enqueue(record.WorkFold, c.ID, record.ContentPages)
		}
	}
	if layers[0] != m.layer { // a new one on top, which has nothing yet
		if err := m.finish(); err != nil {
			return err
		}
		m = newPageMerge(t, t.key, layers[0], false, pageBudget)
	}
	upTo, err := m.put(u)
	if err := errors.Join(err, m.finish()); err != nil {
		return fmt.Errorf("blob %q: %w", t.name, err)
	}
	if upTo < u.To {
		return fmt.Errorf("blob %q: %w: a layer took a write up to %d of %d", t.name, record.ErrPages, upTo, u.To)
	}
	return nil
}

// fits tells whether the merge's layer is this map's alone and the ranges that a write replaces are few enough for one transaction.
func (t *txn) fits(m *pageMerge, u record.PageRange) (bool, error) {
	n, err := layerOwners(t, t.key, m.layer)
	if err != nil || n > 1 {
		return false, err
	}
	count := 0
	for m.cursor.seek(u.From); m.cursor.ok && m.cursor.cur.From < u.To && count <= pageBudget; m.cursor.next() {
		count++
	}
	return count <= pageBudget, m.cursor.err
}

// foldPages folds one layer of a map some way into the next below it, both being nobody else's, and tells whether there is more.
func (s *Service) foldPages(ctx context.Context, p *place, id engine.Stamp) (more bool, err error) {
	err = s.change(ctx, p, func(t *txn) error {
		more = false
		layers, err := pageLayers(t, t.key, id)
		if err != nil {
			return err
		}
		upper := -1
		for i := 0; i+1 < len(layers) && upper < 0; i++ {
			n, err := layerOwners(t, t.key, layers[i])
			if err != nil {
				return err
			}
			below, err := layerOwners(t, t.key, layers[i+1])
			if err != nil {
				return err
			}
			if n == 1 && below == 1 {
				upper = i
			}
		}
		if upper < 0 {
			t.Delete(engine.SpaceBlobQueue, record.AppendWorkKey(nil, t.key, record.WorkFold, id))
			return nil
		}
		more = true
		done, err := t.foldLayer(layers[upper], layers[upper+1], upper+2 == len(layers))
		if err == nil && done {
			t.setLayers(id, append(layers[:upper:upper], layers[upper+1:]...))
		}
		return err
	})
	return more, err
}

func (t *txn) foldLayer(upper, lower engine.Stamp, bottom bool) (done bool, err error) {
	c := newLayerCursor(t, t.key, upper)
	m := newPageMerge(t, t.key, lower, bottom, pageBudget)
	defer func() { err = errors.Join(err, m.finish(), c.close()) }()
	cost := 0 // bytes that the transaction writes, at most
	for c.seek(0); c.ok; c.next() {
		if cost += 4*(len(t.key)+64) + 3*len(c.cur.Bytes); cost > engine.MaxTransaction/2 {
			return false, nil
		}
		upTo, err := m.put(c.cur)
		if err != nil {
			return false, err
		}
		if upTo > c.cur.From {
			t.Delete(engine.SpacePage, record.AppendRangeKey(nil, t.key, upper, c.cur.From))
		}
		if upTo < c.cur.To {
			if upTo > c.cur.From {
				rest := c.cur.Clip(upTo, c.cur.To)
				t.Set(engine.SpacePage, record.AppendRangeKey(nil, t.key, upper, upTo), rest.AppendTo(nil))
			}
			return false, nil
		}
		m.release(&c.cur)
	}
	return c.err == nil, nil
}

// sweepPages takes a page map without an owner apart, some way, and tells whether there is more. A map that somebody still reads
// is left for later.
func (s *Service) sweepPages(ctx context.Context, p *place, id engine.Stamp) (more bool, err error) {
	err = s.change(ctx, p, func(t *txn) error {
		more = false
		if s.pins.held(t.key, id) {
			return nil
		}
		if due, err := t.due(record.AppendWorkKey(nil, t.key, record.WorkContent, id)); err != nil || !due {
			return err
		}
		layers, err := pageLayers(t, t.key, id)
		if err != nil {
			return err
		}
		if len(layers) == 0 {
			t.Delete(engine.SpaceBlobQueue, record.AppendWorkKey(nil, t.key, record.WorkContent, id))
			return t.enqueueFolds()
		}
		more = true
		n, err := layerOwners(t, t.key, layers[0])
		if err != nil {
			return err
		}
		if n > 1 {
			t.setLayerOwners(layers[0], n-1)
		} else if done, err := t.clearLayer(layers[0]); err != nil || !done {
			return err
		}
		t.setLayers(id, layers[1:])
		return nil
	})
	return more, err
}

// clearLayer deletes some ranges of a layer and tells whether it is empty now.
func (t *txn) clearLayer(layer engine.Stamp) (bool, error) {
	c := newLayerCursor(t, t.key, layer)
	n := 0
	for c.seek(0); c.ok && n < pageBudget; c.next() {
		if c.cur.Kind == record.PageChunk {
			t.Release(c.cur.Ref)
		}
		n++
	}
	if n > 0 {
		upper := record.After(record.AppendContentKey(nil, t.key, record.KeyPageRange, layer))
		if c.ok {
			upper = record.AppendRangeKey(nil, t.key, layer, c.cur.From)
		}
		t.DeleteRange(engine.SpacePage, record.AppendContentKey(nil, t.key, record.KeyPageRange, layer), upper)
	}
	return !c.ok && c.err == nil, c.close()
}

// enqueueFolds leaves work for every map of the name with neighbouring layers that are its alone, as many as one transaction takes: the
// next map that is taken apart leaves more.
func (t *txn) enqueueFolds() error {
	prefix := append(append([]byte(nil), t.key...), record.KeyPageMap)
	it := t.Scan(engine.SpacePage, prefix, record.After(append([]byte(nil), prefix...)))
	defer it.Close()
	for ok := it.SeekGE(prefix); ok && t.wrote < t.svc.historyStep; ok = it.Next() {
		v, err := it.Value()
		if err != nil {
			return err
		}
		layers, err := record.DecodeLayers(v)
		if err != nil {
			return err
		}
		alone := false
		for i, l := range layers {
			n, err := layerOwners(t, t.key, l)
			if err != nil {
				return err
			}
			if i > 0 && alone && n == 1 {
				t.enqueue(record.WorkFold, engine.Stamp(binary.BigEndian.Uint64(it.Key()[len(prefix):])), record.ContentPages)
				break
			}
			alone = n == 1
		}
	}
	return it.Close()
}

// pagePins counts the readers of page maps and chunk lists that cannot take all they read in one View, by partition and map. The
// sweeper leaves what is pinned alone. A pinned map is not written in place: a write gives the blob another one, and the pinned one is
// swept when its readers are gone. They live in memory, as readers do.
type pagePins struct{ tally.Tally[string] }

func pinKey(partition []byte, id engine.Stamp) string {
	return view.String(record.AppendContentKey(nil, partition, record.KeyPageMap, id))
}

func (p *pagePins) held(partition []byte, id engine.Stamp) bool {
	return p.Len() > 0 && p.Has(pinKey(partition, id))
}

func (p *pagePins) add(partition []byte, id engine.Stamp, n int) { p.Add(pinKey(partition, id), n) }
