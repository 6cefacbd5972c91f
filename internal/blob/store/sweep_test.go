package store

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
)

// A sweep that read a work item before the content was adopted, and comes to it after, takes nothing away.
func TestSweepOfAdoptedContent(t *testing.T) {
	ctx := context.Background()
	h := newRig(t, 0)
	for name, kind := range map[string]record.ContentKind{"log": record.ContentList, "disk": record.ContentPages} {
		text := strings.Repeat("x", 64<<10)
		if kind == record.ContentList {
			h.create(name, record.AppendBlob, 0)
			for range 5 {
				h.append(name, text)
			}
		} else {
			h.create(name, record.PageBlob, 64<<10)
			h.write(name, 0, text)
		}
		before := h.read(name, 0)

		// The item as it was while the content was laid.
		w := record.Work{Kind: record.WorkContent, Value: append([]byte{byte(kind)}, "acct"...)}
		require.NoError(t, h.store.View(ctx, nil, func(r engine.Reader) error {
			it := r.Scan(engine.SpaceBlob, nil, nil)
			defer it.Close()
			for it.Next() {
				if blob, _, ok := record.SplitKey(it.Key()); ok && string(blob) == name {
					w.Partition = append([]byte(nil), it.Key()...)
				}
			}
			return it.Close()
		}))
		p, ok := placeOf(&w)
		require.True(t, ok)
		require.NoError(t, h.change(ctx, p, func(t *txn) error {
			rec, err := t.Record(record.Slot{})
			if err == nil && rec.Content.Kind == kind {
				w.Stamp = rec.Content.ID
			}
			return err
		}))
		require.NotZero(t, w.Stamp, name)
		w.Key = record.AppendWorkKey(nil, w.Partition, record.WorkContent, w.Stamp)

		require.NoError(t, h.sweep(ctx, &w))
		require.Equal(t, before, h.read(name, 0))
	}
}
