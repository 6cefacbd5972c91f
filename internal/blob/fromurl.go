package blob

import (
	"strconv"

	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// putBlockFromURL is Put Block From URL.
func (s *Service) putBlockFromURL(r *rest.Request) error {
	d := decoder{r: r}
	id := d.blockID()
	d.supported()
	a, src := d.target(), s.summedSource(&d, putBlockLimit(r.Version))
	if d.err != nil {
		return d.err
	}
	got, err := s.blobs.StageFromURL(r.Context, &a, id, src)
	if err != nil {
		return err
	}
	setSums(r, &src.Want, &got)
	setEncrypted(r, true)
	r.Reply(201)
	return nil
}

// appendBlockFromURL is Append Block From URL.
func (s *Service) appendBlockFromURL(r *rest.Request) error {
	d := decoder{r: r}
	d.supported()
	a, src := d.append(), s.summedSource(&d, appendBlockLimit(r.Version))
	if d.err != nil {
		return d.err
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
	d := decoder{r: r}
	d.supported()
	d.needWord("x-ms-page-write", []string{"", "update"})
	if r.Header("x-ms-source-range") == "" {
		d.fail(protocol.MissingHeader("x-ms-source-range"))
	}
	from, to := d.pages()
	if to-from > maxPutPage {
		d.fail(protocol.ErrRequestBodyTooLarge.With("MaxLimit", strconv.Itoa(maxPutPage)))
	}
	a, src := d.pageTerms(), s.summedSource(&d, maxPutPage)
	if d.err != nil {
		return d.err
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
