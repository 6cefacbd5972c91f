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

// decodeUpload reads the content of an upload of at most limit bytes, out of its structured message if it comes in one, and the
// sums that it must have.
func decodeUpload(r *rest.Request, limit int64) (up store.Upload, err error) {
	if up.Want, err = decodeSums(r, "content-md5", "x-ms-content-crc64"); err != nil {
		return up, err
	}
	up.Body, up.Size = r.Body(), r.Body().Len()
	if text, ok := r.HeaderOK("x-ms-structured-body"); ok {
		if text != protocol.StructuredBody {
			return up, protocol.InvalidHeader("x-ms-structured-body", text)
		}
		length := r.Header("x-ms-structured-content-length")
		if length == "" {
			return up, protocol.MissingHeader("x-ms-structured-content-length")
		}
		n, err := strconv.ParseInt(length, 10, 64)
		if err != nil || n < 0 {
			return up, protocol.InvalidHeader("x-ms-structured-content-length", length)
		}
		body := protocol.NewStructuredReader(r.Body(), up.Size, n)
		up.Body, up.Size, up.Finish = body, n, func() error { return finishStructure(body) }
	}
	if up.Size > limit {
		return up, protocol.ErrRequestBodyTooLarge.With("MaxLimit", strconv.FormatInt(limit, 10))
	}
	return up, nil
}

// decodePart is decodeUpload for a part of a blob, which must not be empty.
func decodePart(r *rest.Request, limit int64) (up store.Upload, err error) {
	if up, err = decodeUpload(r, limit); err == nil && up.Size == 0 {
		err = protocol.InvalidHeader("Content-Length", "0")
	}
	return up, err
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
	n, err := decodeNew(r, record.BlockBlob)
	if err != nil {
		return err
	}
	up, err := decodeUpload(r, putBlobLimit(r.Version))
	if err != nil {
		return err
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

// decodeSums reads the checksum headers; only one of them may be there.
func decodeSums(r *rest.Request, md5Header, crcHeader string) (s store.Sums, err error) {
	if text := r.Header(md5Header); text != "" {
		if s.MD5, err = protocol.ParseMD5(md5Header, text); err != nil {
			return s, err
		}
		s.HasMD5 = true
	}
	if text := r.Header(crcHeader); text != "" {
		if s.CRC64, err = protocol.ParseCRC64(crcHeader, text); err != nil {
			return s, err
		}
		s.HasCRC = true
	}
	if s.HasMD5 && s.HasCRC {
		return s, protocol.ErrBothCrc64AndMd5HeaderPresent
	}
	return s, nil
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
