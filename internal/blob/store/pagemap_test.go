package store

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/replay"
)

// pageRig is one blob name with page maps and a model of each map's bytes.
type pageRig struct {
	t    testing.TB
	svc  *Service
	p    *place
	refs []engine.Ref
}

func newPageRig(t testing.TB) *pageRig {
	svc := &Service{store: enginetest.New(t), historyStep: engine.MaxTransaction}
	return &pageRig{t: t, svc: svc, p: newPlace(&account.Account{Name: "a"}, 1, "disk")}
}

func (r *pageRig) change(fn func(*txn) error) {
	r.t.Helper()
	require.NoError(r.t, r.svc.change(context.Background(), r.p, fn))
}

func (r *pageRig) create() (c record.Content) {
	r.change(func(t *txn) error { c = t.newPageMap(); return nil })
	return c
}

// write stores data as the operations do: small runs inline, others in a chunk.
func (r *pageRig) write(c *record.Content, from int64, data []byte) {
	r.t.Helper()
	u := record.PageRange{From: from, To: from + int64(len(data)), Kind: record.PageInline, Bytes: data}
	if len(data) > 2048 {
		k, err := r.svc.store.Put(context.Background(), bytes.NewReader(data), int64(len(data)))
		require.NoError(r.t, err)
		defer r.svc.store.Forget(k.Ref)
		r.refs = append(r.refs, k.Ref)
		u = record.PageRange{From: from, To: u.To, Kind: record.PageChunk, Ref: k.Ref}
	}
	r.lay(c, u)
}

func (r *pageRig) clear(c *record.Content, from, to int64) {
	r.lay(c, record.PageRange{From: from, To: to, Kind: record.PageHole})
}

func (r *pageRig) lay(c *record.Content, u record.PageRange) {
	r.t.Helper()
	before := *c
	r.change(func(t *txn) error { *c = before; return t.writePages(c, u) })
}

func (r *pageRig) share(c record.Content) {
	r.change(func(t *txn) error {
		_, err := t.share(&record.Blob{Content: c}, record.Slot{}, record.Slot{Stamp: t.Stamp(), Kind: record.SlotSnapshot})
		return err
	})
}

func (r *pageRig) drop(c record.Content) {
	r.change(func(t *txn) error { return t.drop(&record.Blob{Content: c}, record.Slot{}, false) })
}

func (r *pageRig) read(c record.Content, from, to int64) []byte {
	r.t.Helper()
	b := make([]byte, to-from)
	last := from
	require.NoError(r.t, r.svc.store.View(context.Background(), r.p.key, func(rd engine.Reader) error {
		layers, err := pageLayers(rd, r.p.key, c.ID)
		if err != nil {
			return err
		}
		return walkPages(rd, r.p.key, layers, from, to, nil, func(p *record.PageRange) bool {
			require.GreaterOrEqual(r.t, p.From, last, "ranges come in order and apart")
			require.Greater(r.t, p.To, p.From)
			last = p.To
			switch p.Kind {
			case record.PageInline:
				require.Equal(r.t, p.To-p.From, int64(copy(b[p.From-from:], p.Bytes)))
			case record.PageChunk:
				c, err := r.svc.store.Open(context.Background(), p.Ref, p.Offset, p.To-p.From)
				require.NoError(r.t, err)
				_, err = io.ReadFull(c, b[p.From-from:p.To-from])
				require.NoError(r.t, err)
				require.NoError(r.t, c.Close())
			default:
				r.t.Fatalf("a hole is visited")
			}
			return true
		})
	}))
	require.LessOrEqual(r.t, last, to)
	return b
}

func (r *pageRig) count(space engine.Space) (n int) {
	require.NoError(r.t, r.svc.store.View(context.Background(), r.p.key, func(rd engine.Reader) error {
		it := rd.Scan(space, r.p.key, record.After(append([]byte(nil), r.p.key...)))
		for ok := it.SeekGE(r.p.key); ok; ok = it.Next() {
			n++
		}
		return it.Close()
	}))
	return n
}

// work does what the sweeper would, steps at most, and tells whether any is left.
func (r *pageRig) work(steps int) (more bool) {
	for ; steps > 0; steps-- {
		var kind record.WorkKind
		var id engine.Stamp
		require.NoError(r.t, r.svc.store.View(context.Background(), r.p.key, func(rd engine.Reader) error {
			it := rd.Scan(engine.SpaceBlobQueue, r.p.key, record.After(append([]byte(nil), r.p.key...)))
			if it.SeekGE(r.p.key) {
				k := it.Key()[len(r.p.key):]
				kind = record.WorkKind(k[0])
				for _, c := range k[1:] {
					id = id<<8 | engine.Stamp(c)
				}
			}
			return it.Close()
		}))
		var err error
		switch kind {
		case record.WorkContent:
			_, err = r.svc.sweepPages(context.Background(), r.p, id)
		case record.WorkFold:
			_, err = r.svc.foldPages(context.Background(), r.p, id)
		default:
			return false
		}
		require.NoError(r.t, err)
	}
	return true
}

// TestPageMapModel lays ranges at random over maps that are shared, dropped, folded and swept at random, and holds every map
// to a plain array of bytes. In the end nothing may be left.
func TestPageMapModel(t *testing.T) {
	const size, steps = 64 << 10, 1500
	seed := replay.Seed(t)
	rnd := rand.New(rand.NewPCG(seed, 0))
	r := newPageRig(t)
	type mapped struct {
		c     record.Content
		bytes []byte
	}
	base := &mapped{r.create(), make([]byte, size)}
	var snaps []*mapped
	fill := byte(0)
	for step := range steps {
		from := int64(rnd.IntN(size))
		to := min(size, from+1+int64(rnd.IntN([]int{200, 5000, 40000}[rnd.IntN(3)])))
		switch op := rnd.IntN(100); {
		case op < 60:
			fill++
			data := bytes.Repeat([]byte{fill | 1}, int(to-from))
			data[0], data[len(data)-1] = fill, fill+1
			r.write(&base.c, from, data)
			copy(base.bytes[from:], data)
		case op < 75:
			r.clear(&base.c, from, to)
			clear(base.bytes[from:to])
		case op < 82:
			r.share(base.c)
			snaps = append(snaps, &mapped{base.c, bytes.Clone(base.bytes)})
		case op < 87 && len(snaps) > 0: // a snapshot goes
			i := rnd.IntN(len(snaps))
			r.drop(snaps[i].c)
			snaps = append(snaps[:i], snaps[i+1:]...)
		case op < 89 && len(snaps) > 0: // a snapshot is copied over its base
			s := snaps[rnd.IntN(len(snaps))]
			r.share(s.c)
			r.drop(base.c)
			base = &mapped{s.c, bytes.Clone(s.bytes)}
		default:
			r.work(1 + rnd.IntN(4))
		}
		if step%10 == 0 {
			for i, m := range append([]*mapped{base}, snaps...) {
				require.True(t, bytes.Equal(m.bytes, r.read(m.c, 0, size)), "step %d map %d of %d", step, i, len(snaps))
				require.True(t, bytes.Equal(m.bytes[from:to], r.read(m.c, from, to)), "step %d map %d", step, i)
			}
		}
	}
	for _, m := range snaps {
		r.drop(m.c)
	}
	require.False(t, r.work(10000))
	require.True(t, bytes.Equal(base.bytes, r.read(base.c, 0, size)))
	var layers []engine.Stamp
	require.NoError(t, r.svc.store.View(context.Background(), r.p.key, func(rd engine.Reader) (err error) {
		layers, err = pageLayers(rd, r.p.key, base.c.ID)
		return err
	}))
	require.Len(t, layers, 1, "with no snapshot left the layers have been folded into one")
	r.drop(base.c)
	require.False(t, r.work(10000))
	for _, space := range []engine.Space{engine.SpacePage, engine.SpaceBlock, engine.SpaceBlobQueue} {
		require.Zero(t, r.count(space), "entries left in space %#x", byte(space))
	}
	for _, ref := range r.refs {
		require.Error(t, r.svc.store.Update(context.Background(), r.p.key, func(tx engine.Tx) error {
			tx.Retain(ref) // refused, unless it has an owner already
			return nil
		}), "a chunk outlived its last owner")
	}
}

// TestPageMapLarge: a clear of very many ranges is one small transaction; the rest is done in steps.
func TestPageMapLarge(t *testing.T) {
	r := newPageRig(t)
	c := r.create()
	const n = 3*pageBudget + 5
	page := bytes.Repeat([]byte{7}, 512)
	for i := 0; i < n; i += 1000 { // in bulk: the operations write one range in a transaction
		r.change(func(t *txn) error {
			for j := i; j < min(n, i+1000); j++ {
				u := record.PageRange{From: int64(j) * 1024, To: int64(j)*1024 + 512, Kind: record.PageInline, Bytes: page}
				t.Set(engine.SpacePage, record.AppendRangeKey(nil, t.key, c.ID, u.From), u.AppendTo(nil))
			}
			return nil
		})
	}
	require.Equal(t, n+1, r.count(engine.SpacePage))
	r.clear(&c, 100, n*1024-1000)
	require.Equal(t, n+2, r.count(engine.SpacePage))
	check := func() {
		head, tail := r.read(c, 0, 1024), r.read(c, (n-2)*1024, (n+8)*1024)
		require.True(t, bytes.Equal(append(bytes.Repeat([]byte{7}, 100), make([]byte, 924)...), head))
		want := make([]byte, 10*1024)
		copy(want[1024:], page)
		clear(want[1024:1048])
		require.True(t, bytes.Equal(want, tail))
		require.True(t, bytes.Equal(make([]byte, 4096), r.read(c, 500*1024, 500*1024+4096)))
	}
	check()
	for r.work(1) {
		check()
	}
	require.Equal(t, 1+1+1, r.count(engine.SpacePage), "the map and a range at each end")
	check()
}

// TestPinnedMap: what a reader has pinned does not change under it, and goes when it is let go.
func TestPinnedMap(t *testing.T) {
	r := newPageRig(t)
	c := r.create()
	r.write(&c, 0, []byte("old"))
	old := c
	r.svc.pins.add(r.p.key, old.ID, 1)
	r.write(&c, 0, []byte("new"))
	require.NotEqual(t, old.ID, c.ID)
	r.write(&c, 1, []byte("E"))
	r.work(5)
	require.Equal(t, "old", string(r.read(old, 0, 3)))
	require.Equal(t, "nEw", string(r.read(c, 0, 3)))
	r.svc.pins.add(r.p.key, old.ID, -1)
	require.False(t, r.work(100))
	require.Equal(t, "nEw", string(r.read(c, 0, 3)))
	require.Zero(t, r.svc.pins.Len())
	require.Equal(t, 1+3, r.count(engine.SpacePage), "the map; n, E and w")
}

// BenchmarkRandomPageWrite is a 4 KiB write into a disk of which much is written already.
func BenchmarkRandomPageWrite(b *testing.B) {
	r := newPageRig(b)
	c := r.create()
	page := bytes.Repeat([]byte{7}, 4096)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		r.write(&c, int64(rnd.IntN(1<<18))*4096, page)
	}
	for b.Loop() {
		before := c
		u := record.PageRange{From: int64(rnd.IntN(1<<18)) * 4096, Kind: record.PageInline, Bytes: page}
		u.To = u.From + 4096
		if err := r.svc.change(context.Background(), r.p, func(t *txn) error { c = before; return t.writePages(&c, u) }); err != nil {
			b.Fatal(err)
		}
	}
}
