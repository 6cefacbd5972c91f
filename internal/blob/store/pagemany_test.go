package store

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store/storetest"
	"github.com/blobd/blobd/internal/engine"
)

// counted is a store that counts what transactions do to entries and chunks, and with them the cost of an operation that touches
// many ranges.
type counted struct {
	engine.Store
	n atomic.Int64
}

func (c *counted) Update(ctx context.Context, partition []byte, fn func(engine.Tx) error) error {
	return c.Store.Update(ctx, partition, func(tx engine.Tx) error { return fn(countedTx{tx, &c.n}) })
}

type countedTx struct {
	engine.Tx
	n *atomic.Int64
}

func (t countedTx) Get(space engine.Space, key []byte) ([]byte, error) {
	t.n.Add(1)
	return t.Tx.Get(space, key)
}

func (t countedTx) Scan(space engine.Space, lower, upper []byte) engine.Iterator {
	return countedScan{t.Tx.Scan(space, lower, upper), t.n}
}

func (t countedTx) Set(space engine.Space, key, value []byte) {
	t.n.Add(1)
	t.Tx.Set(space, key, value)
}

func (t countedTx) Delete(space engine.Space, key []byte) {
	t.n.Add(1)
	t.Tx.Delete(space, key)
}

func (t countedTx) Retain(ref engine.Ref) {
	t.n.Add(1)
	t.Tx.Retain(ref)
}

func (t countedTx) Release(ref engine.Ref) {
	t.n.Add(1)
	t.Tx.Release(ref)
}

type countedScan struct {
	engine.Iterator
	n *atomic.Int64
}

func (s countedScan) Next() bool {
	s.n.Add(1)
	return s.Iterator.Next()
}

// A page blob of a million ranges: a snapshot and the write after it cost a few entries, lists go on from page to page, and when all
// is deleted all is given back.
func TestPageBlobOfManyRanges(t *testing.T) {
	ctx := context.Background()
	h := newRig(t, 0)
	const stride, step = 2 * record.PageSize, 10_000
	h.create("disk", record.PageBlob, manyRanges*stride)
	h.laden(t, "disk", manyRanges, stride)
	require.Equal(t, 1, storetest.OwnedChunks(t, h.store))

	// What transactions cost is counted in a service that has no sweeper.
	counting := &counted{Store: h.store}
	alone, p := &Service{usage: h.usage, store: counting, historyStep: engine.MaxTransaction}, h.at("disk")
	cost := func(do func() error) int64 {
		before := counting.n.Load()
		require.NoError(t, do())
		return counting.n.Load() - before
	}
	var first engine.Stamp
	require.Less(t, cost(func() error {
		return alone.change(ctx, p, func(t *txn) error {
			rec, err := t.Record(record.Slot{})
			if err != nil {
				return err
			}
			slot := record.Slot{Stamp: t.Stamp(), Kind: record.SlotSnapshot}
			if rec.Content, err = t.share(rec, record.Slot{}, slot); err != nil {
				return err
			}
			t.used.Objects++
			t.set(slot, rec)
			first = slot.Stamp
			return nil
		})
	}), int64(20))
	terms := &PageRequest{LE: -1, LT: -1, EQ: -1}
	for _, u := range []record.PageRange{{From: 512, To: 1024, Kind: record.PageInline, Bytes: bytes.Repeat([]byte{'a'}, 512)}, {From: manyRanges * stride / 2, To: manyRanges * stride, Kind: record.PageHole}} {
		require.Less(t, cost(func() error { _, err := alone.layPages(ctx, p, terms, u); return err }), int64(30))
	}

	walk := func(snapshot, previous engine.Stamp) (pages, written, cleared int) {
		q := PageQuery{Target: h.on("disk"), Slot: Selector{Snapshot: snapshot}, Previous: previous, Limit: step}
		end, wasZero := int64(-1), false
		for q.Start >= 0 {
			n := 0
			_, next, err := h.PageRanges(ctx, &q, func(from, to int64, zero bool) {
				n++
				switch goesOn := from == end && zero == wasZero; { // a page of the list may end within a range
				case goesOn:
				case zero:
					cleared++
				default:
					written++
				}
				end, wasZero = to, zero
			})
			require.NoError(t, err)
			require.LessOrEqual(t, n, step)
			pages++
			q.Start = next
		}
		return pages, written, cleared
	}
	pages, written, cleared := walk(first, 0)
	require.Equal(t, []int{manyRanges / step, manyRanges, 0}, []int{pages, written, cleared})
	_, written, cleared = walk(0, 0)
	require.Equal(t, []int{manyRanges/2 - 1, 0}, []int{written, cleared}) // the page that was written joins two ranges
	_, written, cleared = walk(0, first)
	require.Equal(t, []int{1, 1}, []int{written, cleared}) // with what lay between the ranges that were cleared

	h.delete("disk", first)
	require.NoError(t, h.Sweep(ctx))
	_, written, _ = walk(0, 0)
	require.Equal(t, manyRanges/2-1, written)
	h.delete("disk", 0)
	h.empty()
}

// laden gives a page blob n ranges of one page each, by the way that copies take.
func (h *rig) laden(t *testing.T, name string, n int, stride int64) {
	ctx := context.Background()
	p := h.at(name)
	chunk, err := h.store.Put(ctx, bytes.NewReader(make([]byte, record.PageSize)), record.PageSize)
	require.NoError(t, err)
	defer h.store.Forget(chunk.Ref)
	var l laying
	require.NoError(t, l.begin(ctx, h.Service, p, record.ContentPages))
	defer l.done()
	list := make([]record.PageRange, 0, copyRanges)
	for i := range n {
		list = append(list, record.PageRange{From: int64(i) * stride, To: int64(i)*stride + record.PageSize, Kind: record.PageChunk, Ref: chunk.Ref})
		if len(list) == copyRanges || i == n-1 {
			require.NoError(t, l.pages(ctx, list))
			list = list[:0]
		}
	}
	require.NoError(t, h.change(ctx, p, func(t *txn) error {
		rec, err := t.Record(record.Slot{})
		if err != nil {
			return err
		}
		if err := t.drop(rec, record.Slot{}, false); err != nil {
			return err
		}
		if rec.Content, err = t.adoptLaid(&l); err != nil {
			return err
		}
		t.Modify(rec)
		return nil
	}))
}
