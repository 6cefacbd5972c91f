package blob

import (
	"strconv"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// appendBlockFromURL is Append Block From URL.
func (s *Service) appendBlockFromURL(r *rest.Request) error {
	if err := refuseUnsupported(r); err != nil {
		return err
	}
	terms, err := decodeAppend(r)
	if err != nil {
		return err
	}
	return s.fromURL(r, appendBlockLimit(r.Version), func(p *place, f *fetched, want *sums) error {
		if err := s.chunked(r.Context, f); err != nil {
			return err
		}
		in := &intake{size: f.size, crc64: f.crc64, md5: f.md5}
		for i := range f.pieces {
			in.chunks = append(in.chunks, f.pieces[i].Chunk)
		}
		rec, err := s.appendContent(r.Context, p, &terms, in)
		if err != nil {
			return err
		}
		replyAppend(r, rec, in.size)
		setSums(r, want, in)
		return nil
	})
}

// putPageFromURL is Put Page From URL.
func (s *Service) putPageFromURL(r *rest.Request) error {
	if err := refuseUnsupported(r); err != nil {
		return err
	}
	if mode := r.Header("x-ms-page-write"); protocol.Word(mode) != "update" {
		return protocol.InvalidHeader("x-ms-page-write", mode)
	}
	if r.Header("x-ms-source-range") == "" {
		return protocol.MissingHeader("x-ms-source-range")
	}
	from, to, err := decodePages(r)
	if err != nil {
		return err
	}
	if to-from > maxPutPage {
		return protocol.ErrRequestBodyTooLarge.With("MaxLimit", strconv.Itoa(maxPutPage))
	}
	terms, err := decodePageTerms(r)
	if err != nil {
		return err
	}
	return s.fromURL(r, maxPutPage, func(p *place, f *fetched, want *sums) error {
		if f.size != to-from {
			return protocol.InvalidHeader("x-ms-source-range", r.Header("x-ms-source-range"))
		}
		in, err := s.receive(r.Context, f.read(r.Context), f.size, record.MaxInlinePages, false)
		if err != nil {
			return err
		}
		defer in.done()
		in.md5 = f.md5
		rec, err := s.layPages(r.Context, p, &terms, in.pages(from))
		if err != nil {
			return err
		}
		replyPages(r, rec)
		setSums(r, want, in)
		return nil
	})
}

// fromURL fetches the wanted range of a source, holds it to the sums that the request names and has it used.
func (s *Service) fromURL(r *rest.Request, limit int64, use func(*place, *fetched, *sums) error) error {
	src, err := s.decodeSource(r)
	if err != nil {
		return err
	}
	terms, err := decodeFetch(r, limit)
	if err != nil {
		return err
	}
	want, err := decodeSums(r, "x-ms-source-content-md5", "x-ms-source-content-crc64")
	if err != nil {
		return err
	}
	terms.wantMD5 = want.hasMD5
	p, err := s.place(r)
	if err != nil {
		return err
	}
	return retrying(func() error {
		f, err := s.fetch(r, src, &terms)
		if err != nil {
			return err
		}
		defer f.done()
		if err := want.check(&intake{md5: f.md5, crc64: f.crc64}); err != nil {
			return err
		}
		if err := use(p, f, &want); err != nil {
			return err
		}
		r.Reply(201)
		return nil
	})
}
