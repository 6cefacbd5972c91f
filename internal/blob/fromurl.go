package blob

import (
	"strconv"

	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// putBlockFromURL is Put Block From URL.
func (s *Service) putBlockFromURL(r *rest.Request) error {
	id, err := decodeBlockID(r)
	if err != nil {
		return err
	}
	if err := refuseUnsupported(r); err != nil {
		return err
	}
	a, err := decodeAccess(r)
	if err != nil {
		return err
	}
	src, err := s.decodeSummed(r, putBlockLimit(r.Version))
	if err != nil {
		return err
	}
	got, err := s.blobs.StageFromURL(r.Context, &a, id, src)
	if err != nil {
		return err
	}
	setSums(r, &src.Want, &got)
	r.SetHeader("x-ms-request-server-encrypted", "true")
	r.Reply(201)
	return nil
}

// appendBlockFromURL is Append Block From URL.
func (s *Service) appendBlockFromURL(r *rest.Request) error {
	if err := refuseUnsupported(r); err != nil {
		return err
	}
	a, err := decodeAppend(r)
	if err != nil {
		return err
	}
	src, err := s.decodeSummed(r, appendBlockLimit(r.Version))
	if err != nil {
		return err
	}
	rec, n, got, err := s.blobs.AppendFromURL(r.Context, &a, src)
	if err != nil {
		return err
	}
	replyAppend(r, rec, n)
	setSums(r, &src.Want, &got)
	r.Reply(201)
	return nil
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
	a, err := decodePageTerms(r)
	if err != nil {
		return err
	}
	src, err := s.decodeSummed(r, maxPutPage)
	if err != nil {
		return err
	}
	rec, got, err := s.blobs.PagesFromURL(r.Context, &a, from, to, src)
	if err != nil {
		return err
	}
	replyPages(r, rec)
	setSums(r, &src.Want, &got)
	r.Reply(201)
	return nil
}
