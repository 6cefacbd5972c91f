package blob

import (
	"errors"

	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/tagquery"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// blobConditions are how Get and Set Blob Tags name conditions on the blob, from the versions on that have them.
var blobConditions = protocol.ConditionNames{Match: "x-ms-blob-if-match", NoneMatch: "x-ms-blob-if-none-match",
	Modified: "x-ms-blob-if-modified-since", Unmodified: "x-ms-blob-if-unmodified-since"}

func decodeTagAccess(r *rest.Request) (a access, err error) {
	if a, err = decodeAccess(r); err != nil {
		return a, err
	}
	own, err := protocol.ParseConditions(r, &blobConditions)
	if err == nil && own.Any() {
		a.cond = own
	}
	return a, err
}

// getBlobTags is Get Blob Tags.
func (s *Service) getBlobTags(r *rest.Request) error {
	terms, err := decodeTagAccess(r)
	if err != nil {
		return err
	}
	slot, err := decodeSlot(r)
	if err != nil {
		return err
	}
	p, err := s.place(r)
	if err != nil {
		return err
	}
	var rec *record.Blob
	err = s.store.View(r.Context, p.key, func(v engine.Reader) (err error) {
		if rec, _, err = slot.find(v, p); err != nil {
			return err
		}
		return terms.read(rec)
	})
	if err != nil {
		return err
	}
	b := append(append(make([]byte, 0, 512), protocol.XMLHead...), "<Tags>"...)
	r.ReplyXML(200, append(tagquery.AppendXML(b, rec.Tags), "</Tags>"...))
	return nil
}

// setBlobTags is Set Blob Tags. It changes neither ETag nor Last-Modified.
func (s *Service) setBlobTags(r *rest.Request) error {
	terms, err := decodeTagAccess(r)
	if err != nil {
		return err
	}
	slot, err := decodeSlot(r)
	if err != nil {
		return err
	}
	want, err := decodeSums(r, "content-md5", "x-ms-content-crc64")
	if err != nil {
		return err
	}
	p, err := s.place(r)
	if err != nil {
		return err
	}
	doc, err := r.ReadBody(tagquery.MaxXML)
	if err != nil {
		return err
	}
	if err := want.check(sumBytes(doc, want.hasMD5)); err != nil {
		return err
	}
	tags, err := tagquery.ParseXML(doc)
	if err != nil {
		return err
	}
	err = s.changeTagged(r.Context, p, tags, func(t *Txn) error {
		rec, at, err := slot.find(t, p)
		if err != nil {
			return err
		}
		if at.Kind != record.SlotCurrent {
			terms.lease = lease.ID{}
		}
		if err := terms.write(rec); err != nil && !errors.Is(err, protocol.ErrPendingCopyOperation) {
			return err
		}
		if at.Kind == record.SlotCurrent {
			t.untag = rec.Tags
		} else {
			t.untag = tags // the index knows current blobs only
		}
		rec.Tags = tags
		t.set(at, rec)
		return nil
	})
	if err != nil {
		return err
	}
	r.Reply(204)
	return nil
}
