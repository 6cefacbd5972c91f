package store

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// TestMostAppends: the number of blocks.
func TestMostAppends(t *testing.T) {
	terms := AppendRequest{Target: Target{Version: protocol.Newest}, Position: -1, MaxSize: -1}
	rec := &record.Blob{Type: record.AppendBlob, Blocks: maxAppends - 1}
	require.NoError(t, terms.check(rec, 1))
	rec.Blocks++
	require.ErrorIs(t, terms.check(rec, 1), protocol.ErrCommittedBlockCountExceedsLimit)
	require.NoError(t, terms.check(rec, 0), "it can still be sealed")
}

// TestAppendAfterGoingBack: an append to a blob that went back to an earlier state leaves other states alone.
func TestAppendAfterGoingBack(t *testing.T) {
	r := newRig(t, 0)
	r.create("a", record.AppendBlob, 0)
	r.append("a", "common ")
	first := r.snapshot("a")
	r.append("a", "left")
	second := r.snapshot("a")
	// The base goes back to the first snapshot, as Copy Blob from it does.
	require.NoError(t, r.change(context.Background(), r.at("a"), func(tx *txn) error {
		old, err := tx.Record(record.Slot{})
		require.NoError(t, err)
		slot := record.Slot{Stamp: first, Kind: record.SlotSnapshot}
		back, err := tx.Record(slot)
		require.NoError(t, err)
		if back.Content, err = tx.share(back, slot, record.Slot{}); err != nil {
			return err
		}
		return tx.Replace(old, back, nil)
	}))
	r.append("a", "RIGHT ")
	r.append("a", "more")
	for snapshot, want := range map[engine.Stamp]string{0: "common RIGHT more", first: "common ", second: "common left"} {
		require.Equal(t, want, r.read("a", snapshot))
	}
}
