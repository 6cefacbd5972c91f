package store

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/enginetest"
)

// The largest block list that there can be fits one transaction, and the blocks that it leaves out are swept.
func TestCommitOfTheMostBlocks(t *testing.T) {
	ctx := context.Background()
	chunks := enginetest.New(t)
	svc := New(Options{Store: chunks})
	defer svc.Close()
	p := newPlace(&account.Account{Name: "acct"}, 7, "most")
	chunk, err := chunks.Put(ctx, bytes.NewReader([]byte("0123456789")), 10)
	require.NoError(t, err)
	const staged, step = maxUncommitted, 10_000
	head := record.Pending{IDLen: record.MaxBlockID}
	id := func(i int) string { return fmt.Sprintf("%064d", i) }
	for at := 0; at < staged; at += step {
		require.NoError(t, svc.change(ctx, p, func(t *txn) error {
			if head.Epoch == 0 {
				head.Epoch = t.Stamp()
				t.enqueue(record.WorkPending, head.Epoch, 0)
			}
			for i := at; i < at+step; i++ {
				t.Retain(chunk.Ref)
				b := block{Chunks: []engine.Chunk{chunk}}
				t.Set(engine.SpaceBlock, append(record.PendingPrefix(p.key, head.Epoch), id(i)...), record.AppendBlockChunks(nil, b.Chunks))
			}
			head.Count, head.Last, head.Bytes = uint32(at+step), t.Stamp(), int64(at+step)*10
			t.used.Bytes += step * 10
			t.Set(engine.SpaceBlock, record.PendingKey(p.key), head.AppendTo(nil))
			return nil
		}))
	}
	chunks.Forget(chunk.Ref)
	refs := make([]BlockRef, MaxBlocks)
	for i := range refs {
		refs[i] = BlockRef{ID: id(2 * i)}
	}
	rec := &record.Blob{Type: record.BlockBlob, HTTP: record.HTTPProperties{ContentType: record.DefaultContentType}}
	require.NoError(t, svc.commit(ctx, p, &Target{}, rec, refs))
	require.Equal(t, int64(MaxBlocks*10), rec.Size)

	rd, err := svc.open(ctx, nil, p, Selector{}, func(rd *Reading) error {
		rd.Offset, rd.Length = 499_995, 5
		return nil
	})
	require.NoError(t, err)
	got, err := rd.All()
	require.NoError(t, err)
	require.Equal(t, "56789", string(got[:5]))

	require.NoError(t, svc.Sweep(ctx))
	require.NoError(t, chunks.View(ctx, p.key, func(v engine.Reader) error {
		n := 0
		require.NoError(t, visitPending(v, p, &head, func(*block) error { n++; return nil }))
		require.Zero(t, n)
		n = 0
		require.NoError(t, visitBlocks(v, p, rec, func(*block) error { n++; return nil }))
		require.Equal(t, MaxBlocks, n)
		in := containerPlace("acct", p.gen)
		require.Equal(t, engine.Amount{Bytes: rec.Size, Objects: 1}, svc.usage.Of(&in))
		return nil
	}))
}

// What was laid of a list goes if blocks come meanwhile, and after a crash.
func TestLongListThatIsNotCommitted(t *testing.T) {
	ctx := context.Background()
	h := newRig(t, 2)
	h.stage("a", "one", "xone")
	h.stage("a", "two", "xtwo")
	p := h.at("a")
	refs := []BlockRef{{ID: "one"}, {ID: "one"}, {ID: "one"}}
	var sel *selection
	require.NoError(t, h.store.View(ctx, p.key, func(v engine.Reader) (err error) {
		_, err = selectBlocks(v, p, &Target{}, refs, 2)
		require.ErrorIs(t, err, errLong)
		sel, err = selectBlocks(v, p, &Target{}, refs, -1)
		return err
	}))
	unchanged := func() error {
		return h.change(ctx, p, func(t *txn) error { _, err := sel.unchanged(t, p); return err })
	}
	require.NoError(t, unchanged())
	h.stage("a", "one", "xone")
	require.ErrorIs(t, unchanged(), errMoved)

	var l laying
	require.NoError(t, l.begin(ctx, h.Service, p, record.ContentList))
	require.NoError(t, l.list(ctx, func(t *txn, add func(*record.Piece)) error {
		return visitPending(t, p, sel.head, func(b *block) error { add(&record.Piece{Chunk: b.Chunks[0]}); return nil })
	}))
	require.NoError(t, h.Sweep(ctx)) // it is pinned
	require.NoError(t, h.store.View(ctx, p.key, func(v engine.Reader) error {
		n := 0
		require.NoError(t, visitList(v, p, l.made.ID, 0, func(int64, *record.Piece) bool { n++; return true }))
		require.Equal(t, 2, n)
		return nil
	}))
	h.restart() // as after a crash: nobody adopts it
	require.NoError(t, h.Sweep(ctx))
	require.NoError(t, h.Commit(ctx, h.new("a", record.BlockBlob), nil))
	h.delete("a", 0)
	h.empty()
}
