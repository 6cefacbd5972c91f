package blob

import (
	"context"
	"io"
	"strconv"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
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

// content is the body of an upload, out of its structured message if it comes in one.
type content struct {
	io.Reader
	size       int64
	structured bool
}

// openContent finds the content of an upload of at most limit bytes.
func openContent(r *rest.Request, limit int64) (content, error) {
	c := content{Reader: r.Body(), size: r.Body().Len()}
	if text, ok := r.HeaderOK("x-ms-structured-body"); ok {
		if text != protocol.StructuredBody {
			return c, protocol.InvalidHeader("x-ms-structured-body", text)
		}
		length := r.Header("x-ms-structured-content-length")
		if length == "" {
			return c, protocol.MissingHeader("x-ms-structured-content-length")
		}
		n, err := strconv.ParseInt(length, 10, 64)
		if err != nil || n < 0 {
			return c, protocol.InvalidHeader("x-ms-structured-content-length", length)
		}
		c = content{protocol.NewStructuredReader(r.Body(), c.size, n), n, true}
	}
	if c.size > limit {
		return c, protocol.ErrRequestBodyTooLarge.With("MaxLimit", strconv.FormatInt(limit, 10))
	}
	return c, nil
}

// finish checks that a structured message ends well; its trailer comes after the last byte of content.
func (c *content) finish() error {
	if !c.structured {
		return nil
	}
	var b [1]byte
	n, err := c.Read(b[:])
	switch {
	case err == io.EOF && n == 0:
		return nil
	case err == nil:
		return protocol.ErrInvalidInput
	}
	return err
}

// setStructured echoes that a structured message was taken as such, which the SDKs insist on.
func (c *content) setStructured(r *rest.Request) {
	if c.structured {
		r.SetHeader("x-ms-structured-body", protocol.StructuredBody)
	}
}

// putBlob is Put Blob for a block blob.
func (s *Service) putBlob(r *rest.Request) error {
	rec, err := decodeBlob(r, record.BlockBlob)
	if err != nil {
		return err
	}
	terms, err := decodeAccess(r)
	if err != nil {
		return err
	}
	want, err := decodeSums(r, "content-md5", "x-ms-content-crc64")
	if err != nil {
		return err
	}
	if rec.MD5 != "" { // the sum to be stored is held to the content, and wins over Content-MD5
		want.md5, want.hasMD5 = [16]byte([]byte(rec.MD5)), true
	}
	body, err := openContent(r, putBlobLimit(r.Version))
	if err != nil {
		return err
	}
	p, scope, err := s.placeNew(r)
	if err != nil {
		return err
	}
	rec.EncryptionScope = scope
	if body.size > engine.MaxInline {
		if err := s.precheck(r, p, func(old *record.Blob) error { return terms.create(old, record.BlockBlob) }); err != nil {
			return err
		}
	}
	in, err := s.receive(r.Context, &body, body.size, engine.MaxInline, true)
	if err != nil {
		return err
	}
	defer in.done()
	if err := body.finish(); err != nil {
		return err
	}
	if err := want.check(in); err != nil {
		return err
	}
	rec.MD5 = string(in.md5[:])
	if err := s.put(r.Context, p, &terms, rec, in); err != nil {
		return err
	}
	setWritten(r, rec)
	r.SetHeader("Content-MD5", protocol.MD5(in.md5[:]))
	if r.Version >= protocol.V20190202 {
		r.SetHeader("x-ms-content-crc64", protocol.CRC64(in.crc64))
	}
	body.setStructured(r)
	r.Reply(201)
	return nil
}

// put makes rec, with the content taken in, the current blob.
func (s *Service) put(ctx context.Context, p *place, terms *access, rec *record.Blob, in *intake) error {
	return s.changeTagged(ctx, p, rec.Tags, func(t *Txn) error {
		old, err := t.Record(record.Slot{})
		if err != nil {
			return err
		}
		if err := terms.create(old, rec.Type); err != nil {
			return err
		}
		rec.Size, rec.CRC64, rec.HasCRC64 = in.size, in.crc64, true
		rec.Content = t.own(in.chunks)
		t.begin(rec, old, terms.now)
		return t.Replace(old, rec, in.inline)
	})
}

// begin gives a new blob its stamps and what it has from the one it replaces: the time of creation and the lease.
func (t *Txn) begin(rec, old *record.Blob, now engine.Stamp) {
	rec.Changed = t.Stamp()
	rec.Created = rec.Changed
	if old != nil {
		rec.Created, rec.Lease = old.Created, old.Lease.Written(now)
	}
}

// takeIn takes the body of a write to a blob, whose terms are checked first, and holds it to its sums. The caller calls done.
func (s *Service) takeIn(r *rest.Request, p *place, body *content, inlineMax int64, want *sums, check func(*record.Blob) error) (*intake, error) {
	if err := s.precheck(r, p, check); err != nil {
		return nil, err
	}
	in, err := s.receive(r.Context, body, body.size, inlineMax, want.hasMD5)
	if err != nil {
		return nil, err
	}
	if err = body.finish(); err == nil {
		err = want.check(in)
	}
	if err != nil {
		in.done()
		return nil, err
	}
	return in, nil
}

// precheck refuses a request with a long body before the body is sent. The transaction checks again.
func (s *Service) precheck(r *rest.Request, p *place, check func(*record.Blob) error) error {
	return s.store.View(r.Context, p.key, func(v engine.Reader) error {
		rec, err := getRecord(v, p, record.Slot{})
		if err != nil {
			return err
		}
		return check(rec)
	})
}

// place finds the addressed blob name: its container must be there and the name a good one.
func (s *Service) place(r *rest.Request) (*place, error) {
	c, err := s.addressed(r)
	if err != nil {
		return nil, err
	}
	return newPlace(r.Account, c.Generation, r.Blob), nil
}

// addressed is the container of the addressed blob name, once both names are good.
func (s *Service) addressed(r *rest.Request) (*record.Container, error) {
	if err := protocol.CheckContainerName(r.Container); err != nil {
		return nil, err
	}
	if err := protocol.CheckBlobName(r.Blob); err != nil {
		return nil, err
	}
	return s.container(r.Context, r.AccountName, r.Container)
}
