package blob

import (
	"strconv"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/rest"
)

// setProperties is Set Blob Properties: all five content headers and the MD5 are set, absent ones cleared. A page blob's size and
// sequence number are set by the same operation (see page.go).
func (s *Service) setProperties(r *rest.Request) error {
	d := decoder{r: r}
	props, md5, a := decodeHTTP(r, false), d.anyMD5(), d.target()
	if d.err != nil {
		return d.err
	}
	after, err := s.blobs.SetProperties(r.Context, &a, &props, md5)
	if err != nil {
		return err
	}
	setChanged(r, after.Changed)
	setSequence(r, &after)
	r.Reply(200)
	return nil
}

// setMetadata is Set Blob Metadata.
func (s *Service) setMetadata(r *rest.Request) error {
	d := decoder{r: r}
	d.supported()
	metadata, a := d.metadata(), d.target()
	if d.err != nil {
		return d.err
	}
	after, err := s.blobs.SetMetadata(r.Context, &a, metadata)
	if err != nil {
		return err
	}
	setWritten(r, &after)
	r.Reply(200)
	return nil
}

// setSequence answers with the sequence number of a page blob.
func setSequence(r *rest.Request, rec *record.Blob) {
	if rec.Type == record.PageBlob {
		r.SetHeader("x-ms-blob-sequence-number", strconv.FormatInt(rec.Sequence, 10))
	}
}
