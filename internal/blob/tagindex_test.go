package blob

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// TestTagKey holds the key of a hint to its bytes (docs/format.md).
func TestTagKey(t *testing.T) {
	partition := appendTagPartition(nil, "acct", 0x0102030405060708)
	require.Equal(t, "acct\x00\x01\x02\x03\x04\x05\x06\x07\x08", string(partition))
	for name, want := range map[string]string{"dir/b": "k\x00v\x00dir/b\x00\x01", "a\x00b": "k\x00v\x00a\x00\xFFb\x00\x01"} {
		key := appendTagKey(nil, partition, protocol.Pair{Name: "k", Value: "v"}, name)
		require.Equal(t, string(partition)+want, string(key))
		tag, back, ok := parseTagKey(key[len(partition):])
		require.True(t, ok)
		require.Equal(t, protocol.Pair{Name: "k", Value: "v"}, tag)
		require.Equal(t, name, back)
	}
	for _, bad := range []string{"", "k", "k\x00v", "k\x00v\x00name", "k\x00v\x00name\x00\x01more"} {
		_, _, ok := parseTagKey([]byte(bad))
		require.False(t, ok, "%q", bad)
	}
	require.False(t, bytes.HasPrefix(appendContainerKey(nil, "acct", "box"), partition[:6]), "no container key begins like an index")
}

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
