package blob

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
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/con?restype=container", "")
	for name, kind := range map[string]record.ContentKind{"log": record.ContentList, "disk": record.ContentPages} {
		text := strings.Repeat("x", 64<<10)
		if kind == record.ContentList {
			h.must(t, 201, "PUT", "/acct/con/"+name, "", "x-ms-blob-type: AppendBlob")
			for range 5 {
				h.must(t, 201, "PUT", "/acct/con/"+name+"?comp=appendblock", text)
			}
		} else {
			h.must(t, 201, "PUT", "/acct/con/"+name, "", isPage, "x-ms-blob-content-length: 65536")
			h.must(t, 201, "PUT", "/acct/con/"+name+"?comp=page", text, "x-ms-page-write: update", "x-ms-range: bytes=0-65535")
		}
		before := h.must(t, 200, "GET", "/acct/con/"+name, "").Body

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
		require.NoError(t, h.svc.change(ctx, p, func(t *Txn) error {
			rec, err := t.Record(record.Slot{})
			if err == nil && rec.Content.Kind == kind {
				w.Stamp = rec.Content.ID
			}
			return err
		}))
		require.NotZero(t, w.Stamp, name)
		w.Key = record.AppendWorkKey(nil, w.Partition, record.WorkContent, w.Stamp)

		require.NoError(t, h.svc.sweep(ctx, &w))
		require.Equal(t, before, h.must(t, 200, "GET", "/acct/con/"+name, "").Body)
	}
}
