package store

import (
	"context"
	"strings"

	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/source"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// follows tells whether an incremental copy may go on with a source: it must be a later snapshot of the same blob.
func follows(rec *record.Blob, src *source.URL) error {
	if rec.Copy == nil || !rec.Copy.Incremental {
		return protocol.ErrIncrementalCopyBlobMismatch
	}
	last, lastQuery, _ := strings.Cut(rec.Copy.Source, "?")
	next, _, _ := strings.Cut(src.Text, "?")
	if last != next {
		return protocol.ErrIncrementalCopyBlobMismatch
	}
	text, _ := src.Query.Get("snapshot")
	now, _ := protocol.ParseSnapshotID(text)
	var before engine.Stamp
	for item := range strings.SplitSeq(lastQuery, "&") {
		if id, ok := strings.CutPrefix(item, "snapshot="); ok {
			before, _ = protocol.ParseSnapshotID(strings.ReplaceAll(id, "%3A", ":"))
		}
	}
	if now < before {
		return protocol.ErrIncrementalCopyOfEralierVersionSnapshotNotAllowed
	}
	return nil
}

// CopyIncremental has a page blob follow the snapshots of another (Incremental Copy Blob). Chunks are shared, so a step costs its
// map, and what the destination had is kept by its own snapshots. The destination itself is not read or written.
func (s *Service) CopyIncremental(ctx context.Context, a *Target, src *Source) (rec *record.Blob, err error) {
	p, err := s.place(ctx, a)
	if err != nil {
		return nil, err
	}
	src.pages, src.owner = true, true
	err = s.fetching(ctx, src, func(f *fetched) error {
		if f.laid == nil {
			return protocol.ErrInvalidSourceBlobType
		}
		if err := s.precopy(ctx, p, a, record.PageBlob, func(old *record.Blob) error { return follows(old, src.URL) }); err != nil {
			return err
		}
		if err := s.copyLaid(ctx, p, f.laid); err != nil {
			return err
		}
		rec, err = s.commitIncremental(ctx, p, a, src.URL, f)
		return err
	})
	return rec, err
}

// commitIncremental makes the copied pages those of the destination and takes its snapshot.
func (s *Service) commitIncremental(ctx context.Context, p *place, terms *Target, src *source.URL, f *fetched) (rec *record.Blob, err error) {
	err = s.change(ctx, p, func(t *txn) error {
		old, err := replaced(t.Tx, p, terms, record.PageBlob)
		if err != nil {
			return err
		}
		rec = &record.Blob{Type: record.PageBlob, HTTP: f.rec.HTTP, MD5: f.rec.MD5, Metadata: f.rec.Metadata, Size: f.size, Sequence: f.rec.Sequence}
		if rec.Content, err = t.adoptLaid(&f.laid.laying); err != nil {
			return err
		}
		t.begin(rec, old, terms.Now)
		slot := record.Slot{Stamp: t.Stamp(), Kind: record.SlotSnapshot}
		rec.Copy = &record.Copy{ID: newCopyID(), Status: record.CopySuccess, Incremental: true, Source: src.Shown(), Progress: f.size, Total: f.size,
			Completed: t.Stamp(), Snapshot: slot.Stamp}
		if old != nil {
			if err := follows(old, src); err != nil {
				return err
			}
			t.used.Bytes -= old.Size
			if err := t.drop(old, record.Slot{}, false); err != nil {
				return err
			}
		}
		snapshot := *rec
		snapshot.Lease = lease.Lease{}
		if snapshot.Content, err = t.share(rec, record.Slot{}, slot); err != nil {
			return err
		}
		t.used.Bytes += rec.Size
		t.used.Objects++
		if old == nil {
			t.used.Objects++
		}
		t.set(slot, &snapshot)
		t.set(record.Slot{}, rec)
		return nil
	})
	return rec, err
}
