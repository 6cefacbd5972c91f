package store

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/tagquery"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// TestHintsOutliveWhatNeedsThem: a transaction that fails leaves no hint, and what a crash left behind misleads nobody.
func TestHintsOutliveWhatNeedsThem(t *testing.T) {
	h := newRig(t, 0)
	p, tags := h.at("b"), []protocol.Pair{{Name: "k", Value: "v"}}
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
	require.ErrorIs(t, h.changeTagged(context.Background(), p, tags, func(*txn) error { return failed }), failed)
	require.Zero(t, hints())
	require.NoError(t, h.countTags(context.Background(), p, tags, 1)) // and then the power goes
	found := func() (names []string) {
		where, err := tagquery.ParseWhere("k='v'", tagquery.Find)
		require.NoError(t, err)
		_, err = h.Find(context.Background(), &FindRequest{Account: "acct", Where: where, Limit: 10}, func(_, name string, _ *record.Blob) { names = append(names, name) })
		require.NoError(t, err)
		return names
	}
	require.Empty(t, found())
	h.put("b", "x", tags...)
	require.Equal(t, []string{"b"}, found())
	h.delete("b", 0)
	require.Empty(t, found())
	require.Equal(t, 1, hints(), "the leftover")
	h.put("b", "x", tags[0], protocol.Pair{Name: "l", Value: "w"})
	require.NoError(t, h.countTags(context.Background(), p, []protocol.Pair{{Name: "k", Value: "x"}, {Name: "l", Value: "w"}}, 1))
	require.Equal(t, 3, hints())
	h.tagging.Add(string(p.key), 1) // a write is under way: nothing is touched
	require.NoError(t, h.SweepTags(context.Background()))
	require.Equal(t, 3, hints())
	h.tagging.Add(string(p.key), -1)
	require.NoError(t, h.SweepTags(context.Background()))
	require.Equal(t, 2, hints())
	require.Equal(t, []string{"b"}, found())
	h.delete("b", 0)
	require.Zero(t, hints())
	h.tagging.Add(string(p.key), 1) // for what follows, which counts by hand
	require.NoError(t, h.countTags(context.Background(), p, tags, 1))
	a := h.on("")
	require.NoError(t, h.DeleteContainer(context.Background(), &a))
	require.NoError(t, h.dropTagIndex(context.Background(), account.DevName, p.gen))
	require.Equal(t, 1, hints(), "another account's")
	require.NoError(t, h.dropTagIndex(context.Background(), "acct", p.gen))
	require.Zero(t, hints())
}
