package blob

import (
	"fmt"

	"github.com/minio/crc64nvme"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/md5lanes"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/view"
)

// maxRangeSum is the longest range whose checksum can be asked for, in bytes.
const maxRangeSum = 4 * miB

// getBlob is Get Blob.
func (s *Service) getBlob(r *rest.Request) error {
	d := decoder{r: r}
	q := store.ReadRequest{Rooms: r, Target: d.target(), Slot: d.slot()}
	q.Range, q.Ranged = protocol.RequestRange(r)
	wantMD5, wantCRC := d.flag("x-ms-range-get-content-md5"), d.flag("x-ms-range-get-content-crc64")
	if d.err != nil {
		return d.err
	}
	switch {
	case wantMD5 && wantCRC:
		return protocol.ErrBothCrc64AndMd5RangeHeaderPresent
	case wantMD5 && !q.Ranged:
		return protocol.InvalidHeader("x-ms-range-get-content-md5", "true")
	case wantCRC && !q.Ranged:
		return protocol.InvalidHeader("x-ms-range-get-content-crc64", "true")
	case wantMD5, wantCRC:
		q.Most = maxRangeSum
	}
	structure, structured := r.HeaderOK("x-ms-structured-body")
	if structured && structure != protocol.StructuredBody {
		return protocol.InvalidHeader("x-ms-structured-body", structure)
	}
	rd, err := s.blobs.Open(r.Context, &q)
	if err != nil {
		return err
	}
	rec, status := rd.Blob, 200
	setBlob(r, rec, rd.IsCurrent())
	if q.Ranged {
		status = 206
		var buf [80]byte
		r.SetHeader("Content-Range", view.String(protocol.AppendContentRange(buf[:0], rd.Offset, rd.Length, rec.Size)))
		if rec.MD5 != "" && r.Version >= protocol.V20160531 {
			r.SetHeader("x-ms-blob-content-md5", protocol.MD5(rec.MD5))
		}
	} else if rec.MD5 != "" {
		r.SetHeader("Content-MD5", protocol.MD5(rec.MD5))
	}
	if wantMD5 || wantCRC {
		b, err := rd.All()
		if err != nil {
			return err
		}
		if wantMD5 {
			sum := md5lanes.Sum(b)
			r.SetHeader("Content-MD5", protocol.MD5(sum[:]))
		} else {
			r.SetHeader("x-ms-content-crc64", protocol.CRC64(crc64nvme.Checksum(b)))
		}
	}
	switch {
	case structured:
		r.SetHeader("x-ms-structured-body", protocol.StructuredBody)
		r.SetHeader("x-ms-structured-content-length", fmt.Sprint(rd.Length))
		r.ReplyStream(status, protocol.StructuredLength(rd.Length), protocol.NewStructuredEncoder(rd.Stream(), rd.Length))
	case rd.Body == nil:
		r.ReplyBytes(status, "", rd.Inline)
		setHTTP(r, &rec.HTTP)
	default:
		r.ReplyStream(status, rd.Length, rd.Body)
	}
	return nil
}

// getProperties is Get Blob Properties.
func (s *Service) getProperties(r *rest.Request) error {
	rec, current, err := s.look(r)
	if err != nil {
		return err
	}
	setBlob(r, rec, current)
	if rec.MD5 != "" {
		r.SetHeader("Content-MD5", protocol.MD5(rec.MD5))
	}
	r.ReplyHead(200, rec.Size)
	return nil
}

// getMetadata is Get Blob Metadata.
func (s *Service) getMetadata(r *rest.Request) error {
	rec, _, err := s.look(r)
	if err != nil {
		return err
	}
	setChanged(r, rec.Changed)
	setMetadata(r, rec.Metadata)
	r.Reply(200)
	return nil
}

// look reads the record of the addressed blob on the request's terms, and tells whether it is the current one of its name.
func (s *Service) look(r *rest.Request) (rec *record.Blob, current bool, err error) {
	d := decoder{r: r}
	a, slot := d.target(), d.slot()
	if d.err != nil {
		return nil, false, d.err
	}
	return s.blobs.Look(r.Context, &a, slot)
}
