package blob

import (
	"strings"

	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// copyIncremental is Incremental Copy Blob: the destination follows the snapshots of a page blob. Chunks are shared, so a step
// costs its map, and what the destination had is kept by its own snapshots. The destination itself is not read or written.
func (s *Service) copyIncremental(r *rest.Request) error {
	if err := refuseUnsupported(r); err != nil {
		return err
	}
	src, err := s.decodeSource(r)
	if err != nil {
		return err
	}
	if text, _ := src.query.Get("snapshot"); text == "" {
		return protocol.ErrIncrementalCopySourceMustBeSnapshot
	}
	if !src.own {
		return protocol.ErrInvalidSourceBlobUrl // of another server
	}
	terms, err := decodeAccess(r)
	if err != nil {
		return err
	}
	p, err := s.place(r)
	if err != nil {
		return err
	}
	var rec *record.Blob
	err = retrying(func() error {
		f, err := s.fetch(r, src, &fetchTerms{limit: 1 << 62, pages: true, owner: true})
		if err != nil {
			return err
		}
		defer f.done()
		if f.laid == nil {
			return protocol.ErrInvalidSourceBlobType
		}
		follows := func(old *record.Blob) error { return follows(old, src) }
		if err := s.precopy(r.Context, p, &terms, record.PageBlob, follows); err != nil {
			return err
		}
		if err := s.copyLaid(r.Context, p, f.laid); err != nil {
			return err
		}
		rec, err = s.settleIncremental(r, p, &terms, src, f)
		return err
	})
	if err != nil {
		return err
	}
	setCopied(r, rec)
	r.Reply(202)
	return nil
}

// settleIncremental makes the copied pages those of the destination and takes its snapshot.
func (s *Service) settleIncremental(r *rest.Request, p *place, terms *access, src *sourceURL, f *fetched) (rec *record.Blob, err error) {
	err = s.change(r.Context, p, func(t *Txn) error {
		old, err := t.Record(record.Slot{})
		if err != nil {
			return err
		}
		if err := terms.create(old, record.PageBlob); err != nil {
			return err
		}
		rec = &record.Blob{Type: record.PageBlob, HTTP: f.rec.HTTP, MD5: f.rec.MD5, Metadata: f.rec.Metadata, Size: f.size, Sequence: f.rec.Sequence}
		if rec.Content, err = t.adoptLaid(&f.laid.laying); err != nil {
			return err
		}
		t.begin(rec, old, terms.now)
		slot := record.Slot{Stamp: t.Stamp(), Kind: record.SlotSnapshot}
		rec.Copy = &record.Copy{ID: newCopyID(), Status: record.CopySuccess, Incremental: true, Source: src.shown(), Progress: f.size, Total: f.size,
			Completed: t.Stamp(), Snapshot: slot.Stamp}
		if old != nil {
			if err := follows(old, src); err != nil {
				return err
			}
			t.delta -= old.Size
			if err := t.drop(old, record.Slot{}, false); err != nil {
				return err
			}
		}
		snapshot := *rec
		snapshot.Lease = lease.Lease{}
		if snapshot.Content, err = t.share(rec, record.Slot{}, slot); err != nil {
			return err
		}
		t.delta += rec.Size
		t.set(slot, &snapshot)
		t.set(record.Slot{}, rec)
		return nil
	})
	return rec, err
}

// follows tells whether an incremental copy may go on with a source: it must be a later snapshot of the same blob.
func follows(rec *record.Blob, src *sourceURL) error {
	if rec.Copy == nil || !rec.Copy.Incremental {
		return protocol.ErrIncrementalCopyBlobMismatch
	}
	last, lastQuery, _ := strings.Cut(rec.Copy.Source, "?")
	next, _, _ := strings.Cut(src.text, "?")
	if last != next {
		return protocol.ErrIncrementalCopyBlobMismatch
	}
	text, _ := src.query.Get("snapshot")
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
