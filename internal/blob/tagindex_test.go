package blob

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// TestHintsOutliveWhatNeedsThem: a transaction that fails leaves no hint, and what a crash left behind misleads nobody.
func TestHintsOutliveWhatNeedsThem(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	p, tags := h.at(t, "box", "b"), []protocol.Pair{{Name: "k", Value: "v"}}
	hints := func() (n int) {
		require.NoError(t, h.store.View(context.Background(), nil, func(r engine.Reader) error {
			it := r.Scan(engine.SpaceBlobTag, nil, nil)
			for it.Next() {
				n++
			}
			return it.Close()
		}))
		return n
	}
	failed := errors.New("no")
	require.ErrorIs(t, h.svc.changeTagged(context.Background(), p, tags, func(*Txn) error { return failed }), failed)
	require.Zero(t, hints())
	require.NoError(t, h.svc.countTags(context.Background(), p, tags, 1)) // and then the power goes
	const find = "/acct?comp=blobs&where=k%3D%27v%27"
	require.NotContains(t, h.text(t, find), "<Blob>")
	h.must(t, 201, "PUT", "/acct/box/b", "x", v, isBlock, "x-ms-tags: k=v")
	require.Contains(t, h.text(t, find), "<Name>b</Name>")
	h.must(t, 202, "DELETE", "/acct/box/b", "", v)
	require.NotContains(t, h.text(t, find), "<Blob>")
	require.Equal(t, 1, hints(), "the leftover")
	h.must(t, 201, "PUT", "/acct/box/b", "x", v, isBlock, "x-ms-tags: k=v&l=w")
	require.NoError(t, h.svc.countTags(context.Background(), p, []protocol.Pair{{Name: "k", Value: "x"}, {Name: "l", Value: "w"}}, 1))
	require.Equal(t, 3, hints())
	h.svc.tagging.add(p.key, 1) // a write is under way: nothing is touched
	require.NoError(t, h.svc.sweepTags(context.Background()))
	require.Equal(t, 3, hints())
	h.svc.tagging.add(p.key, -1)
	require.NoError(t, h.svc.sweepTags(context.Background()))
	require.Equal(t, 2, hints())
	require.Contains(t, h.text(t, find), "<Name>b</Name>")
	h.must(t, 202, "DELETE", "/acct/box/b", "", v)
	require.Zero(t, hints())
	h.svc.tagging.add(p.key, 1) // for what follows, which counts by hand
	require.NoError(t, h.svc.countTags(context.Background(), p, tags, 1))
	h.must(t, 202, "DELETE", "/acct/box?restype=container", "", v)
	require.NoError(t, h.svc.dropTagIndex(context.Background(), account.DevName, p.gen))
	require.Equal(t, 1, hints(), "another account's")
	require.NoError(t, h.svc.dropTagIndex(context.Background(), "acct", p.gen))
	require.Zero(t, hints())
}
