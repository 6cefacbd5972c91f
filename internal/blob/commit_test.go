package blob

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/protocol"
)

// The largest block list that there can be fits one transaction, and the blocks that it leaves out are swept.
func TestCommitOfTheMostBlocks(t *testing.T) {
	ctx := context.Background()
	store := enginetest.New(t)
	svc := New(Options{Store: store})
	defer svc.Close()
	p := newPlace(&account.Account{Name: "acct"}, 7, "most")
	chunk, err := store.Put(ctx, bytes.NewReader([]byte("0123456789")), 10)
	require.NoError(t, err)
	const staged, step = maxUncommitted, 10_000
	head := pendingHead{IDLen: maxBlockID}
	id := func(i int) string { return fmt.Sprintf("%064d", i) }
	for at := 0; at < staged; at += step {
		require.NoError(t, svc.change(ctx, p, func(t *Txn) error {
			if head.Epoch == 0 {
				head.Epoch = t.Stamp()
				t.enqueue(workPending, head.Epoch, 0)
			}
			for i := at; i < at+step; i++ {
				t.Retain(chunk.Ref)
				b := block{Chunks: []engine.Chunk{chunk}}
				t.Set(engine.SpaceBlock, append(pendingPrefix(p, head.Epoch), id(i)...), b.appendTo(nil))
			}
			head.Count, head.Last, head.Bytes = uint32(at+step), t.Stamp(), int64(at+step)*10
			t.delta += step * 10
			t.Set(engine.SpaceBlock, pendingKey(p), head.appendTo(nil))
			return nil
		}))
	}
	store.Forget(chunk.Ref)
	refs := make([]blockRef, maxBlocks)
	for i := range refs {
		refs[i] = blockRef{ID: id(2 * i)}
	}
	rec := &Record{Type: BlockBlob, HTTP: HTTPProperties{ContentType: DefaultContentType}}
	require.NoError(t, svc.commit(ctx, p, &access{}, rec, refs))
	require.Equal(t, int64(maxBlocks*10), rec.Size)

	rd, body, err := svc.open(ctx, p, selector{}, func(rd *reading) error {
		rd.offset, rd.length = 499_995, 5
		return nil
	})
	require.NoError(t, err)
	got, err := readAll(body, rd.inline, rd.length)
	require.NoError(t, err)
	require.Equal(t, "56789", string(got[:5]))

	require.NoError(t, svc.Sweep(ctx))
	require.NoError(t, store.View(ctx, p.key, func(v engine.Reader) error {
		n := 0
		require.NoError(t, visitPending(v, p, &head, func(*block) error { n++; return nil }))
		require.Zero(t, n)
		n = 0
		require.NoError(t, visitBlocks(v, p, rec, func(*block) error { n++; return nil }))
		require.Equal(t, maxBlocks, n)
		used, err := v.Counter(account.UsedKey("acct", account.BlobService))
		require.Equal(t, rec.Size, used)
		return err
	}))
}

func TestTooManyChunksAreRefusedForGood(t *testing.T) {
	err := longest(fmt.Errorf("transaction: %w", engine.ErrTooLarge))
	require.ErrorIs(t, err, protocol.ErrBlockListTooLong)
	require.NoError(t, longest(nil))
	require.ErrorIs(t, longest(engine.ErrReleased), engine.ErrReleased)
}
