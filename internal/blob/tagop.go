package blob

import (
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/blob/tagquery"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// blobConditions are how Get and Set Blob Tags name conditions on the blob, from the versions on that have them.
var blobConditions = protocol.ConditionNames{Match: "x-ms-blob-if-match", NoneMatch: "x-ms-blob-if-none-match",
	Modified: "x-ms-blob-if-modified-since", Unmodified: "x-ms-blob-if-unmodified-since"}

func decodeTagAccess(r *rest.Request) (a store.Target, err error) {
	if a, err = decodeAccess(r); err != nil {
		return a, err
	}
	own, err := protocol.ParseConditions(r, &blobConditions)
	if err == nil && own.Any() {
		a.Cond = own
	}
	return a, err
}

// getBlobTags is Get Blob Tags.
func (s *Service) getBlobTags(r *rest.Request) error {
	a, err := decodeTagAccess(r)
	if err != nil {
		return err
	}
	slot, err := decodeSlot(r)
	if err != nil {
		return err
	}
	rec, _, err := s.blobs.Look(r.Context, &a, slot)
	if err != nil {
		return err
	}
	b := append(append(make([]byte, 0, 512), protocol.XMLHead...), "<Tags>"...)
	r.ReplyXML(200, append(tagquery.AppendXML(b, rec.Tags), "</Tags>"...))
	return nil
}

// setBlobTags is Set Blob Tags. It changes neither ETag nor Last-Modified.
func (s *Service) setBlobTags(r *rest.Request) error {
	a, err := decodeTagAccess(r)
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
	doc, err := r.ReadBody(tagquery.MaxXML)
	if err != nil {
		return err
	}
	if _, err := want.CheckBytes(doc); err != nil {
		return err
	}
	tags, err := tagquery.ParseXML(doc)
	if err != nil {
		return err
	}
	if err := s.blobs.SetTags(r.Context, &a, slot, tags); err != nil {
		return err
	}
	r.Reply(204)
	return nil
}
