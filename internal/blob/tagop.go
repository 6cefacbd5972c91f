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

// tagTarget is target with conditions of either name.
func (d *decoder) tagTarget() store.Target {
	a := d.target()
	if own := d.conditions(&blobConditions); own.Any() {
		a.Cond = own
	}
	return a
}

// getBlobTags is Get Blob Tags.
func (s *Service) getBlobTags(r *rest.Request) error {
	d := decoder{r: r}
	a, slot := d.tagTarget(), d.slot()
	if d.err != nil {
		return d.err
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
	d := decoder{r: r}
	a, slot, want, doc := d.tagTarget(), d.slot(), d.bodySums(), d.document(tagquery.MaxXML)
	if d.err != nil {
		return d.err
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
