package blob

import (
	"context"
	"io"
	"sync"

	"github.com/minio/crc64nvme"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/invariants"
	"github.com/blobd/blobd/internal/md5lanes"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// sums are the checksums of a body that a request names.
type sums struct {
	md5            [16]byte
	crc64          uint64
	hasMD5, hasCRC bool
}

// decodeSums reads the checksum headers; only one of them may be there.
func decodeSums(r *rest.Request, md5Header, crcHeader string) (s sums, err error) {
	if text := r.Header(md5Header); text != "" {
		if s.md5, err = protocol.ParseMD5(md5Header, text); err != nil {
			return s, err
		}
		s.hasMD5 = true
	}
	if text := r.Header(crcHeader); text != "" {
		if s.crc64, err = protocol.ParseCRC64(crcHeader, text); err != nil {
			return s, err
		}
		s.hasCRC = true
	}
	if s.hasMD5 && s.hasCRC {
		return s, protocol.ErrBothCrc64AndMd5HeaderPresent
	}
	return s, nil
}

// check compares them with those of what was received.
func (s *sums) check(in *intake) error {
	switch {
	case s.hasMD5 && s.md5 != in.md5:
		return protocol.MD5Mismatch(s.md5, in.md5)
	case s.hasCRC && s.crc64 != in.crc64:
		return protocol.CRC64Mismatch(s.crc64, in.crc64)
	}
	return nil
}

// intake is content that was received: inline bytes, or chunks that are durable and protected until done.
type intake struct {
	store  engine.Store
	size   int64
	crc64  uint64
	md5    [16]byte // if it was asked for
	inline []byte
	chunks []engine.Chunk
	pooled *[]byte
}

// receive takes exactly size bytes of body. Up to inlineMax bytes are kept inline, more go into chunks. The caller calls done.
func (s *Service) receive(ctx context.Context, body io.Reader, size, inlineMax int64, wantMD5 bool) (*intake, error) {
	in := &intake{store: s.store, size: size}
	if size == 0 {
		in.md5 = md5lanes.Sum(nil)
		return in, nil
	}
	if size <= inlineMax {
		in.pooled = inlineBuffers.Get().(*[]byte)
		in.inline = (*in.pooled)[:size]
		if _, err := io.ReadFull(body, in.inline); err != nil {
			in.done()
			return nil, err
		}
		in.crc64 = crc64nvme.Checksum(in.inline)
		if wantMD5 {
			in.md5 = md5lanes.Sum(in.inline)
		}
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
		in.crc64 = protocol.CombineCRC64(in.crc64, c.CRC64, c.Size)
		left -= n
	}
	if wantMD5 {
		in.md5 = digest.Sum()
	}
	return in, nil
}

// sumBytes is the intake of a document that is not kept.
func sumBytes(b []byte, wantMD5 bool) *intake {
	in := &intake{size: int64(len(b)), crc64: crc64nvme.Checksum(b)}
	if wantMD5 {
		in.md5 = md5lanes.Sum(b)
	}
	return in
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
