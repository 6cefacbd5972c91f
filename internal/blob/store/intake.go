package store

import (
	"context"
	"io"
	"sync"

	"github.com/minio/crc64nvme"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/invariants"
	"github.com/blobd/blobd/internal/md5lanes"
	"github.com/blobd/blobd/internal/protocol"
)

// Sums are the checksums of a body that a request names.
type Sums struct {
	MD5            [16]byte
	CRC64          uint64
	HasMD5, HasCRC bool
}

// check compares them with those of what was received.
func (s *Sums) check(got *Sums) error {
	switch {
	case s.HasMD5 && s.MD5 != got.MD5:
		return protocol.MD5Mismatch(s.MD5, got.MD5)
	case s.HasCRC && s.CRC64 != got.CRC64:
		return protocol.CRC64Mismatch(s.CRC64, got.CRC64)
	}
	return nil
}

// CheckBytes holds a document that is not kept to the sums, and returns those that were asked for.
func (s *Sums) CheckBytes(b []byte) (Sums, error) {
	got := sumBytes(b, s.HasMD5)
	return got, s.check(&got)
}

// Upload is the content of a write on its way in: exactly size bytes of body, which must have the sums in want.
type Upload struct {
	Body io.Reader
	Size int64
	Want Sums
	// Finish, if it is set, tells after the last byte whether what the content came in ended well.
	Finish func() error
}

// intake is content that was received: inline bytes, or chunks that are durable and protected until done.
type intake struct {
	store engine.Store
	size  int64
	Sums
	inline []byte
	chunks []engine.Chunk
	pooled *[]byte
}

// receive takes exactly size bytes of body. Up to inlineMax bytes are kept inline, more go into chunks. The caller calls done.
func (s *Service) receive(ctx context.Context, body io.Reader, size, inlineMax int64, wantMD5 bool) (*intake, error) {
	in := &intake{store: s.store, size: size}
	if size == 0 {
		in.Sums = sumBytes(nil, wantMD5)
		return in, nil
	}
	if size <= inlineMax {
		in.pooled = inlineBuffers.Get().(*[]byte)
		in.inline = (*in.pooled)[:size]
		if _, err := io.ReadFull(body, in.inline); err != nil {
			in.done()
			return nil, err
		}
		in.Sums = sumBytes(in.inline, wantMD5)
		return in, nil
	}
	var digest *md5lanes.Digest
	if wantMD5 {
		digest = md5lanes.New(size)
		defer digest.Close()
		body = io.TeeReader(body, digest)
	}
	for left := size; left > 0; {
		n := min(left, engine.MaxChunk)
		c, err := s.store.Put(ctx, body, n)
		if err != nil {
			in.done()
			return nil, err
		}
		in.chunks = append(in.chunks, c)
		in.CRC64 = protocol.CombineCRC64(in.CRC64, c.CRC64, c.Size)
		left -= n
	}
	in.HasCRC = true
	if wantMD5 {
		in.MD5, in.HasMD5 = digest.Sum(), true
	}
	return in, nil
}

// sumBytes returns the sums of bytes, the MD5 if it is wanted.
func sumBytes(b []byte, wantMD5 bool) (s Sums) {
	s.CRC64, s.HasCRC = crc64nvme.Checksum(b), true
	if wantMD5 {
		s.MD5, s.HasMD5 = md5lanes.Sum(b), true
	}
	return s
}

// done ends the protection of what no transaction has come to own.
func (in *intake) done() {
	if in.pooled != nil {
		invariants.Overwrite(*in.pooled)
		inlineBuffers.Put(in.pooled)
		in.pooled, in.inline = nil, nil
	}
	if len(in.chunks) > 0 {
		refs := make([]engine.Ref, len(in.chunks))
		for i := range in.chunks {
			refs[i] = in.chunks[i].Ref
		}
		in.store.Forget(refs...)
	}
}

var inlineBuffers = sync.Pool{New: func() any { b := make([]byte, engine.MaxInline); return &b }}

// pages is what was taken in, at most MaxChunk bytes, as the pages at an offset.
func (in *intake) pages(from int64) record.PageRange {
	u := record.PageRange{From: from, To: from + in.size, Kind: record.PageInline, Bytes: in.inline}
	if len(in.chunks) > 0 {
		u.Kind, u.Ref, u.Bytes = record.PageChunk, in.chunks[0].Ref, nil
	}
	return u
}
