package blob

import (
	"io"
	"strconv"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// Bounds of bodies by version (REST page "Put Blob", "Put Block"), in bytes.
const (
	miB         = 1 << 20
	maxPutBlob  = 5000 * miB
	maxPutBlock = 4000 * miB
)

func putBlobLimit(v protocol.Version) int64 {
	switch {
	case v < protocol.V20160531:
		return 64 * miB
	case v < protocol.V20191212:
		return 256 * miB
	}
	return maxPutBlob
}

func putBlockLimit(v protocol.Version) int64 {
	switch {
	case v < protocol.V20160531:
		return 4 * miB
	case v < protocol.V20191212:
		return 100 * miB
	}
	return maxPutBlock
}

// withStructure makes room for the frames of a structured body: a small part of the content and a constant.
func withStructure(limit func(protocol.Version) int64) func(protocol.Version) int64 {
	return func(v protocol.Version) int64 { return limit(v) + limit(v)>>10 + 4096 }
}

// upload reads the content of an upload of at most limit bytes, out of its structured message if it comes in one, and the sums that
// it must have.
func (d *decoder) upload(limit int64) (up store.Upload) {
	up.Want = d.bodySums()
	up.Body, up.Size = d.r.Body(), d.r.Body().Len()
	if text, ok := d.r.HeaderOK("x-ms-structured-body"); ok {
		const length = "x-ms-structured-content-length"
		if text != protocol.StructuredBody {
			d.fail(protocol.InvalidHeader("x-ms-structured-body", text))
		}
		if d.r.Header(length) == "" {
			d.fail(protocol.MissingHeader(length))
		}
		n := d.size(length)
		body := protocol.NewStructuredReader(d.r.Body(), up.Size, n)
		up.Body, up.Size, up.Finish = body, n, func() error { return finishStructure(body) }
	}
	if up.Size > limit {
		d.fail(protocol.ErrRequestBodyTooLarge.With("MaxLimit", strconv.FormatInt(limit, 10)))
	}
	return up
}

// part is upload for a part of a blob, which must not be empty.
func (d *decoder) part(limit int64) store.Upload {
	up := d.upload(limit)
	if up.Size == 0 {
		d.fail(protocol.InvalidHeader("Content-Length", "0"))
	}
	return up
}

// finishStructure checks that a structured message ends well; its trailer comes after the last byte of content.
func finishStructure(body io.Reader) error {
	var b [1]byte
	n, err := body.Read(b[:])
	switch {
	case err == io.EOF && n == 0:
		return nil
	case err == nil:
		return protocol.ErrInvalidInput
	}
	return err
}

// setStructured echoes that a structured message was taken as such, which the SDKs insist on.
func setStructured(r *rest.Request, up *store.Upload) {
	if up.Finish != nil {
		r.SetHeader("x-ms-structured-body", protocol.StructuredBody)
	}
}

// putBlob is Put Blob for a block blob.
func (s *Service) putBlob(r *rest.Request) error {
	d := decoder{r: r}
	n, up := d.creation(record.BlockBlob), d.upload(putBlobLimit(r.Version))
	if d.err != nil {
		return d.err
	}
	if n.Blob.MD5 != "" { // the sum to be stored is held to the content, and wins over Content-MD5
		up.Want.MD5, up.Want.HasMD5 = [16]byte([]byte(n.Blob.MD5)), true
	}
	got, err := s.blobs.Put(r.Context, &n, &up)
	if err != nil {
		return err
	}
	setWritten(r, n.Blob)
	r.SetHeader("Content-MD5", protocol.MD5(got.MD5[:]))
	if r.Version >= protocol.V20190202 {
		r.SetHeader("x-ms-content-crc64", protocol.CRC64(got.CRC64))
	}
	setStructured(r, &up)
	r.Reply(201)
	return nil
}

// setSums answers a write of a part with the sum that the client sent, else with the CRC-64.
func setSums(r *rest.Request, want, got *store.Sums) {
	if want.HasMD5 {
		r.SetHeader("Content-MD5", protocol.MD5(got.MD5[:]))
		if r.Version < protocol.V20261006 {
			return
		}
	}
	if r.Version >= protocol.V20190202 {
		r.SetHeader("x-ms-content-crc64", protocol.CRC64(got.CRC64))
	}
}
