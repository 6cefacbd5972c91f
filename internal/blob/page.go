package blob

import (
	"math"
	"strconv"
	"strings"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// Bounds of page writes, in bytes, and of the answers of Get Page Ranges for versions that can ask for the rest.
const (
	maxPutPage    = 4 * miB
	maxPageRanges = 10_000
)

// createPageBlob is Put Blob for a page blob.
func (s *Service) createPageBlob(r *rest.Request) error {
	if err := emptyBody(r); err != nil {
		return err
	}
	n, err := decodeNew(r, record.PageBlob)
	if err != nil {
		return err
	}
	if n.Blob.Size, err = decodePageBlobSize(r); err != nil {
		return err
	}
	if n.Blob.Sequence, err = decodeSequence(r); err != nil {
		return err
	}
	return s.createEmpty(r, &n)
}

// decodePageBlobSize reads x-ms-blob-content-length.
func decodePageBlobSize(r *rest.Request) (int64, error) {
	const name = "x-ms-blob-content-length"
	n, err := sizeHeader(r, name)
	switch {
	case err != nil:
		return 0, err
	case n < 0:
		return 0, protocol.MissingHeader(name)
	case n%record.PageSize != 0 || n > record.MaxPageBlob:
		return 0, protocol.InvalidHeader(name, r.Header(name))
	}
	return n, nil
}

// decodeSequence reads x-ms-blob-sequence-number, 0 if it is absent.
func decodeSequence(r *rest.Request) (int64, error) {
	n, err := sizeHeader(r, "x-ms-blob-sequence-number")
	return max(n, 0), err
}

func decodePageTerms(r *rest.Request) (a store.PageRequest, err error) {
	if a.Target, err = decodeAccess(r); err != nil {
		return a, err
	}
	if a.LE, err = sizeHeader(r, "x-ms-if-sequence-number-le"); err != nil {
		return a, err
	}
	if a.LT, err = sizeHeader(r, "x-ms-if-sequence-number-lt"); err != nil {
		return a, err
	}
	a.EQ, err = sizeHeader(r, "x-ms-if-sequence-number-eq")
	return a, err
}

// decodePages reads the range of a page write, which must be whole pages.
func decodePages(r *rest.Request) (from, to int64, err error) {
	rng, ok := protocol.RequestRange(r)
	if !ok {
		if r.Header("x-ms-range") == "" && r.Header("range") == "" {
			return 0, 0, protocol.MissingHeader("Range")
		}
		return 0, 0, protocol.ErrInvalidPageRange
	}
	if rng.Last >= record.MaxPageBlob || rng.First%record.PageSize != 0 || (rng.Last+1)%record.PageSize != 0 || rng.First > rng.Last {
		return 0, 0, protocol.ErrInvalidPageRange
	}
	return rng.First, rng.Last + 1, nil
}

// putPage is Put Page: an update or a clear.
func (s *Service) putPage(r *rest.Request) error {
	if err := refuseUnsupported(r); err != nil {
		return err
	}
	mode := strings.ToLower(r.Header("x-ms-page-write"))
	if mode == "" {
		return protocol.MissingHeader("x-ms-page-write")
	}
	if mode != "update" && mode != "clear" {
		return protocol.InvalidHeader("x-ms-page-write", r.Header("x-ms-page-write"))
	}
	from, to, err := decodePages(r)
	if err != nil {
		return err
	}
	a, err := decodePageTerms(r)
	if err != nil {
		return err
	}
	if mode == "clear" {
		if err := emptyBody(r); err != nil {
			return err
		}
		rec, err := s.blobs.ClearPages(r.Context, &a, from, to)
		if err != nil {
			return err
		}
		setChanged(r, rec.Changed)
		setSequence(r, rec)
		r.Reply(201)
		return nil
	}
	up, err := decodeUpload(r, maxPutPage)
	if err != nil {
		return err
	}
	switch {
	case to-from > maxPutPage:
		return protocol.ErrRequestBodyTooLarge.With("MaxLimit", strconv.Itoa(maxPutPage))
	case up.Size != to-from:
		return protocol.InvalidHeader("Content-Length", strconv.FormatInt(r.Body().Len(), 10))
	}
	rec, got, err := s.blobs.WritePages(r.Context, &a, from, &up)
	if err != nil {
		return err
	}
	replyPages(r, rec)
	setSums(r, &up.Want, &got)
	setStructured(r, &up)
	r.Reply(201)
	return nil
}

func replyPages(r *rest.Request, rec *record.Blob) {
	setChanged(r, rec.Changed)
	setSequence(r, rec)
	r.SetHeader("x-ms-request-server-encrypted", "true")
}

// setPageProperties is Set Blob Properties with a new size or sequence number. The content headers change only if one of them is
// there.
func (s *Service) setPageProperties(r *rest.Request) error {
	c, err := store.PageChange{Size: -1}, error(nil)
	if _, ok := r.HeaderOK("x-ms-blob-content-length"); ok {
		if c.Size, err = decodePageBlobSize(r); err != nil {
			return err
		}
	}
	if c.Number, err = sizeHeader(r, "x-ms-blob-sequence-number"); err != nil {
		return err
	}
	switch strings.ToLower(r.Header("x-ms-sequence-number-action")) {
	case "":
	case "max":
		c.Action = store.SequenceMax
	case "update":
		c.Action = store.SequenceSet
	case "increment":
		c.Action = store.SequenceIncrement
	default:
		return protocol.InvalidHeader("x-ms-sequence-number-action", r.Header("x-ms-sequence-number-action"))
	}
	switch {
	case (c.Action == store.SequenceMax || c.Action == store.SequenceSet) && c.Number < 0:
		return protocol.MissingHeader("x-ms-blob-sequence-number")
	case c.Action == store.SequenceIncrement && c.Number >= 0:
		return protocol.InvalidHeader("x-ms-blob-sequence-number", r.Header("x-ms-blob-sequence-number"))
	}
	c.HTTP = decodeHTTP(r, false)
	if c.MD5, err = decodeAnyMD5(r); err != nil {
		return err
	}
	a, err := decodeAccess(r)
	if err != nil {
		return err
	}
	after, err := s.blobs.SetPageProperties(r.Context, &a, &c)
	if err != nil {
		return err
	}
	setChanged(r, after.Changed)
	setSequence(r, &after)
	r.Reply(200)
	return nil
}

// getPageRanges is Get Page Ranges, and with prevsnapshot its diff.
func (s *Service) getPageRanges(r *rest.Request) error {
	q, err := store.PageQuery{Limit: math.MaxInt}, error(nil)
	if q.Target, q.Slot, err = decodeReading(r); err != nil {
		return err
	}
	if q.Previous, err = decodePrevious(r); err != nil {
		return err
	}
	paged := r.Version >= protocol.V20201002
	if paged {
		n, given, err := decodeMax(r)
		if err != nil {
			return err
		}
		if q.Limit = maxPageRanges; given {
			q.Limit = min(q.Limit, n)
		}
		if text := r.Query("marker"); text != "" {
			if q.Start, err = strconv.ParseInt(text, 10, 64); err != nil || q.Start < 0 || q.Start%record.PageSize != 0 {
				return protocol.InvalidQuery("marker", text, "")
			}
		}
	}
	q.Range, q.Ranged = protocol.RequestRange(r)
	b := append(make([]byte, 0, 512), protocol.XMLHead...)
	b = append(b, "<PageList>"...)
	rec, next, err := s.blobs.PageRanges(r.Context, &q, func(from, to int64, cleared bool) {
		element := "PageRange"
		if cleared {
			element = "ClearRange"
		}
		b = append(append(append(b, '<'), element...), "><Start>"...)
		b = strconv.AppendInt(b, from, 10)
		b = append(b, "</Start><End>"...)
		b = strconv.AppendInt(b, to-1, 10)
		b = append(append(append(b, "</End></"...), element...), '>')
	})
	if err != nil {
		return err
	}
	if paged {
		marker := ""
		if next >= 0 {
			marker = strconv.FormatInt(next, 10)
		}
		b = protocol.AppendElement(b, "NextMarker", marker)
	}
	setChanged(r, rec.Changed)
	r.SetHeader("x-ms-blob-content-length", strconv.FormatInt(rec.Size, 10))
	r.ReplyXML(200, append(b, "</PageList>"...))
	return nil
}

// decodePrevious reads which snapshot the answer is to be compared with; 0 for none.
func decodePrevious(r *rest.Request) (record.Stamp, error) {
	name, text := "prevsnapshot", r.Query("prevsnapshot")
	if from := r.Header("x-ms-previous-snapshot-url"); from != "" {
		_, query, _ := strings.Cut(from, "?")
		for item := range strings.SplitSeq(query, "&") {
			if k, v, _ := strings.Cut(item, "="); strings.EqualFold(k, "snapshot") {
				text = rest.DecodeQuery(v)
			}
		}
		if text == "" {
			return 0, protocol.InvalidHeader("x-ms-previous-snapshot-url", from)
		}
	}
	if text == "" {
		return 0, nil
	}
	previous, ok := protocol.ParseSnapshotID(text)
	if !ok || previous == 0 {
		return 0, protocol.InvalidQuery(name, text, "")
	}
	return previous, nil
}
