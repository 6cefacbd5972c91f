package blob

import (
	"cmp"
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
	d := decoder{r: r}
	d.emptyBody()
	n := d.creation(record.PageBlob)
	n.Blob.Size, n.Blob.Sequence = d.pageBlobSize(), max(d.size("x-ms-blob-sequence-number"), 0)
	if d.err != nil {
		return d.err
	}
	return s.createEmpty(r, &n)
}

// pageBlobSize reads x-ms-blob-content-length.
func (d *decoder) pageBlobSize() int64 {
	const name = "x-ms-blob-content-length"
	n := d.size(name)
	switch {
	case n < 0:
		d.fail(protocol.MissingHeader(name))
	case n%record.PageSize != 0 || n > record.MaxPageBlob:
		d.fail(protocol.InvalidHeader(name, d.r.Header(name)))
	}
	return n
}

func (d *decoder) pageTerms() store.PageRequest {
	return store.PageRequest{Target: d.target(), LE: d.size("x-ms-if-sequence-number-le"), LT: d.size("x-ms-if-sequence-number-lt"), EQ: d.size("x-ms-if-sequence-number-eq")}
}

// pages reads the range of a page write, which must be whole pages.
func (d *decoder) pages() (from, to int64) {
	rng, ok := protocol.RequestRange(d.r)
	switch {
	case !ok && d.r.Header("x-ms-range") == "" && d.r.Header("range") == "":
		d.fail(protocol.MissingHeader("Range"))
	case !ok, rng.Last >= record.MaxPageBlob, rng.First%record.PageSize != 0, (rng.Last+1)%record.PageSize != 0, rng.First > rng.Last:
		d.fail(protocol.ErrInvalidPageRange)
	}
	return rng.First, rng.Last + 1
}

// putPage is Put Page: an update or a clear.
func (s *Service) putPage(r *rest.Request) error {
	d := decoder{r: r}
	d.supported()
	clears := d.needWord("x-ms-page-write", []string{"", "update", "clear"}) == 2
	from, to := d.pages()
	a := d.pageTerms()
	if clears {
		d.emptyBody()
		if d.err != nil {
			return d.err
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
	up := d.upload(maxPutPage)
	switch {
	case to-from > maxPutPage:
		d.fail(protocol.ErrRequestBodyTooLarge.With("MaxLimit", strconv.Itoa(maxPutPage)))
	case up.Size != to-from:
		d.fail(protocol.InvalidHeader("Content-Length", strconv.FormatInt(r.Body().Len(), 10)))
	}
	if d.err != nil {
		return d.err
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
	setEncrypted(r, true)
}

// setPageProperties is Set Blob Properties with a new size or sequence number. The content headers change only if one of them is
// there.
func (s *Service) setPageProperties(r *rest.Request) error {
	d := decoder{r: r}
	c := store.PageChange{Size: -1, HTTP: decodeHTTP(r, false)}
	if _, ok := r.HeaderOK("x-ms-blob-content-length"); ok {
		c.Size = d.pageBlobSize()
	}
	c.Number = d.size("x-ms-blob-sequence-number")
	c.Action = [...]store.SequenceAction{0, store.SequenceMax, store.SequenceSet, store.SequenceIncrement}[d.word("x-ms-sequence-number-action", []string{"", "max", "update", "increment"})]
	switch {
	case (c.Action == store.SequenceMax || c.Action == store.SequenceSet) && c.Number < 0:
		d.fail(protocol.MissingHeader("x-ms-blob-sequence-number"))
	case c.Action == store.SequenceIncrement && c.Number >= 0:
		d.fail(protocol.InvalidHeader("x-ms-blob-sequence-number", r.Header("x-ms-blob-sequence-number")))
	}
	c.MD5 = d.anyMD5()
	a := d.target()
	if d.err != nil {
		return d.err
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
	d := decoder{r: r}
	q := store.PageQuery{Limit: math.MaxInt, Target: d.target(), Slot: d.slot(), Previous: d.previous()}
	paged := r.Version >= protocol.V20201002
	if paged {
		n, given, err := decodeMax(r)
		d.fail(err)
		if q.Limit = maxPageRanges; given {
			q.Limit = min(q.Limit, n)
		}
		if text := r.Query("marker"); text != "" {
			if q.Start, err = strconv.ParseInt(text, 10, 64); err != nil || q.Start < 0 || q.Start%record.PageSize != 0 {
				d.fail(protocol.InvalidQuery("marker", text, ""))
			}
		}
	}
	if d.err != nil {
		return d.err
	}
	q.Range, q.Ranged = protocol.RequestRange(r)
	b := append(make([]byte, 0, 512), protocol.XMLHead...)
	b = append(b, "<PageList>"...)
	var refused error
	rec, next, err := s.blobs.PageRanges(r.Context, &q, func(from, to int64, cleared bool) {
		if refused == nil {
			refused = r.HoldAnswer(len(b))
		}
		if refused != nil {
			return
		}
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
	if err == protocol.ErrNotModified { // whose answer, alone of the reads', has the type of the body that it has not, as recorded
		return protocol.ErrNotModified.WithHeader("Content-Type", "application/xml")
	}
	if err = cmp.Or(err, refused); err != nil {
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

// previous reads which snapshot the answer is to be compared with; 0 for none.
func (d *decoder) previous() record.Stamp {
	if d.r.Query("prevsnapshot") != "" {
		d.queryOf("prevsnapshot", protocol.V20150708)
	}
	from := d.r.Header("x-ms-previous-snapshot-url")
	if from == "" {
		return d.stamp("prevsnapshot")
	}
	_, query, _ := strings.Cut(from, "?")
	text := d.r.Query("prevsnapshot")
	for item := range strings.SplitSeq(query, "&") {
		if k, v, _ := strings.Cut(item, "="); strings.EqualFold(k, "snapshot") {
			text = rest.DecodeQuery(v)
		}
	}
	if text == "" {
		d.fail(protocol.InvalidHeader("x-ms-previous-snapshot-url", from))
	}
	return d.parseStamp("prevsnapshot", text)
}
