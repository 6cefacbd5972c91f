package blob

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

const (
	pageSize    = 512
	maxPageBlob = 8 << 40
	maxPutPage  = 4 * miB
	// maxPageRanges is the most ranges of one answer, for versions that can ask for the rest.
	maxPageRanges = 10_000
)

// createPageBlob is Put Blob for a page blob.
func (s *Service) createPageBlob(r *rest.Request) error {
	return s.createEmpty(r, record.PageBlob, func(r *rest.Request, rec *record.Blob) (err error) {
		if rec.Size, err = decodePageBlobSize(r); err != nil {
			return err
		}
		rec.Sequence, err = decodeSequence(r)
		return err
	})
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
	case n%pageSize != 0 || n > maxPageBlob:
		return 0, protocol.InvalidHeader(name, r.Header(name))
	}
	return n, nil
}

// decodeSequence reads x-ms-blob-sequence-number, 0 if it is absent.
func decodeSequence(r *rest.Request) (int64, error) {
	n, err := sizeHeader(r, "x-ms-blob-sequence-number")
	return max(n, 0), err
}

// pageTerms are the conditions of page writes; -1 stands for none.
type pageTerms struct {
	access
	le, lt, eq int64
}

func decodePageTerms(r *rest.Request) (a pageTerms, err error) {
	if a.access, err = decodeAccess(r); err != nil {
		return a, err
	}
	if a.le, err = sizeHeader(r, "x-ms-if-sequence-number-le"); err != nil {
		return a, err
	}
	if a.lt, err = sizeHeader(r, "x-ms-if-sequence-number-lt"); err != nil {
		return a, err
	}
	a.eq, err = sizeHeader(r, "x-ms-if-sequence-number-eq")
	return a, err
}

// check admits a write of the pages from from to to.
func (a *pageTerms) check(rec *record.Blob, from, to int64) error {
	if err := a.write(rec); err != nil {
		return err
	}
	switch {
	case rec.Type != record.PageBlob:
		return protocol.ErrInvalidBlobType
	case rec.Copy != nil && rec.Copy.Incremental:
		return protocol.ErrOperationNotAllowedOnIncrementalCopyBlob
	case a.le >= 0 && rec.Sequence > a.le, a.lt >= 0 && rec.Sequence >= a.lt, a.eq >= 0 && rec.Sequence != a.eq:
		return protocol.ErrSequenceNumberConditionNotMet
	case to > rec.Size:
		return protocol.ErrInvalidPageRange
	}
	return nil
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
	if rng.Last >= maxPageBlob || rng.First%pageSize != 0 || (rng.Last+1)%pageSize != 0 || rng.First > rng.Last {
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
	terms, err := decodePageTerms(r)
	if err != nil {
		return err
	}
	p, err := s.place(r)
	if err != nil {
		return err
	}
	if mode == "clear" {
		if err := emptyBody(r); err != nil {
			return err
		}
		rec, err := s.layPages(r.Context, p, &terms, record.PageRange{From: from, To: to, Kind: record.PageHole})
		if err != nil {
			return err
		}
		setChanged(r, rec.Changed)
		setSequence(r, rec)
		r.Reply(201)
		return nil
	}
	want, err := decodeSums(r, "content-md5", "x-ms-content-crc64")
	if err != nil {
		return err
	}
	body, err := openContent(r, maxPutPage)
	if err != nil {
		return err
	}
	switch {
	case to-from > maxPutPage:
		return protocol.ErrRequestBodyTooLarge.With("MaxLimit", strconv.Itoa(maxPutPage))
	case body.size != to-from:
		return protocol.InvalidHeader("Content-Length", strconv.FormatInt(r.Body().Len(), 10))
	}
	in, err := s.takeIn(r, p, &body, record.MaxInlinePages, &want, func(rec *record.Blob) error { return terms.check(rec, from, to) })
	if err != nil {
		return err
	}
	defer in.done()
	rec, err := s.layPages(r.Context, p, &terms, in.pages(from))
	if err != nil {
		return err
	}
	replyPages(r, rec)
	setSums(r, &want, in)
	body.setStructured(r)
	r.Reply(201)
	return nil
}

func replyPages(r *rest.Request, rec *record.Blob) {
	setChanged(r, rec.Changed)
	setSequence(r, rec)
	r.SetHeader("x-ms-request-server-encrypted", "true")
}

// pages is what was taken in, at most MaxChunk bytes, as the pages at an offset.
func (in *intake) pages(from int64) record.PageRange {
	u := record.PageRange{From: from, To: from + in.size, Kind: record.PageInline, Bytes: in.inline}
	if len(in.chunks) > 0 {
		u.Kind, u.Ref, u.Bytes = record.PageChunk, in.chunks[0].Ref, nil
	}
	return u
}

// layPages writes or clears pages of a blob.
func (s *Service) layPages(ctx context.Context, p *place, terms *pageTerms, u record.PageRange) (rec *record.Blob, err error) {
	err = s.change(ctx, p, func(t *Txn) error {
		if rec, err = t.Record(record.Slot{}); err != nil {
			return err
		}
		if err := terms.check(rec, u.From, u.To); err != nil {
			return err
		}
		if err := t.writePages(&rec.Content, u); err != nil {
			return err
		}
		rec.Changed = t.Stamp()
		rec.Lease = rec.Lease.Written(terms.now)
		t.Modify(rec)
		return nil
	})
	return rec, err
}

// setPageProperties is Set Blob Properties with a new size or sequence number. The content headers change only if one of them is
// there.
func (s *Service) setPageProperties(r *rest.Request) error {
	size, err := int64(-1), error(nil)
	if _, ok := r.HeaderOK("x-ms-blob-content-length"); ok {
		if size, err = decodePageBlobSize(r); err != nil {
			return err
		}
	}
	action := strings.ToLower(r.Header("x-ms-sequence-number-action"))
	number, err := sizeHeader(r, "x-ms-blob-sequence-number")
	if err != nil {
		return err
	}
	switch action {
	case "":
	case "max", "update":
		if number < 0 {
			return protocol.MissingHeader("x-ms-blob-sequence-number")
		}
	case "increment":
		if number >= 0 {
			return protocol.InvalidHeader("x-ms-blob-sequence-number", r.Header("x-ms-blob-sequence-number"))
		}
	default:
		return protocol.InvalidHeader("x-ms-sequence-number-action", r.Header("x-ms-sequence-number-action"))
	}
	props := decodeHTTP(r, false)
	md5, err := decodeAnyMD5(r)
	if err != nil {
		return err
	}
	var after record.Blob
	err = s.modify(r, func(t *Txn, rec *record.Blob) error {
		switch {
		case rec.Type != record.PageBlob:
			return protocol.ErrInvalidBlobType
		case rec.Copy != nil && rec.Copy.Incremental:
			return protocol.ErrOperationNotAllowedOnIncrementalCopyBlob
		case action == "increment" && rec.Sequence+1 < 0:
			return protocol.ErrSequenceNumberIncrementTooLarge
		case action == "increment":
			rec.Sequence++
		case action == "max":
			rec.Sequence = max(rec.Sequence, number)
		case action == "update":
			rec.Sequence = number
		}
		if size >= 0 {
			if size < rec.Size { // what comes back by a later growth is zero
				if err := t.writePages(&rec.Content, record.PageRange{From: size, To: rec.Size, Kind: record.PageHole}); err != nil {
					return err
				}
			}
			t.delta += size - rec.Size
			rec.Size = size
		}
		if props != (record.HTTPProperties{}) || md5 != "" {
			rec.HTTP, rec.MD5 = props, md5
		}
		rec.Changed = t.Stamp()
		after = *rec
		return nil
	})
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
	terms, err := decodeAccess(r)
	if err != nil {
		return err
	}
	slot, err := decodeSlot(r)
	if err != nil {
		return err
	}
	previous, diff, err := decodePrevious(r)
	if err != nil {
		return err
	}
	paged := r.Version >= protocol.V20201002
	limit, start := int(^uint(0)>>1), int64(0)
	if paged {
		n, given, err := decodeMax(r)
		if err != nil {
			return err
		}
		if limit = maxPageRanges; given {
			limit = min(limit, n)
		}
		if text := r.Query("marker"); text != "" {
			if start, err = strconv.ParseInt(text, 10, 64); err != nil || start < 0 || start%pageSize != 0 {
				return protocol.InvalidQuery("marker", text, "")
			}
		}
	}
	rng, ranged := protocol.RequestRange(r)
	p, err := s.place(r)
	if err != nil {
		return err
	}
	list := pageList{limit: limit}
	var rec *record.Blob
	err = s.store.View(r.Context, p.key, func(v engine.Reader) (err error) {
		list.b, list.n, list.cut = append(make([]byte, 0, 512), protocol.XMLHead...), 0, false
		list.b = append(list.b, "<PageList>"...)
		if rec, _, err = slot.find(v, p); err != nil {
			return err
		}
		if err := terms.read(rec); err != nil {
			return err
		}
		if rec.Type != record.PageBlob {
			return protocol.ErrInvalidBlobType
		}
		from, to := start, rec.Size
		if ranged {
			offset, length, ok := rng.Within(rec.Size)
			if !ok {
				return protocol.ErrInvalidPageRange
			}
			from = max(from, offset/pageSize*pageSize)
			to = min(to, (offset+length+pageSize-1)/pageSize*pageSize)
		}
		layers, err := pageLayers(v, p.key, rec.Content.ID)
		if err != nil {
			return err
		}
		if !diff {
			err = walkPages(v, p.key, layers, from, to, func(u *record.PageRange) bool { return list.add(u.From, u.To, false) })
		} else {
			err = previousPages(v, p, slot, previous, layers, func(before []engine.Stamp) error {
				return diffPages(v, p.key, layers, before, from, to, list.add)
			})
		}
		list.flush()
		return err
	})
	if err != nil {
		return err
	}
	if paged {
		next := ""
		if list.cut {
			next = strconv.FormatInt(list.next, 10)
		}
		list.b = protocol.AppendElement(list.b, "NextMarker", next)
	}
	setChanged(r, rec.Changed)
	r.SetHeader("x-ms-blob-content-length", strconv.FormatInt(rec.Size, 10))
	r.ReplyXML(200, append(list.b, "</PageList>"...))
	return nil
}

// decodePrevious reads which snapshot the answer is to be compared with.
func decodePrevious(r *rest.Request) (previous engine.Stamp, diff bool, err error) {
	name, text := "prevsnapshot", r.Query("prevsnapshot")
	if from := r.Header("x-ms-previous-snapshot-url"); from != "" {
		_, query, _ := strings.Cut(from, "?")
		for item := range strings.SplitSeq(query, "&") {
			if k, v, _ := strings.Cut(item, "="); strings.EqualFold(k, "snapshot") {
				text = rest.DecodeQuery(v)
			}
		}
		if text == "" {
			return 0, false, protocol.InvalidHeader("x-ms-previous-snapshot-url", from)
		}
	}
	if text == "" {
		return 0, false, nil
	}
	if previous, diff = protocol.ParseSnapshotID(text); !diff {
		err = protocol.InvalidQuery(name, text, "")
	}
	return previous, diff, err
}

// previousPages finds the layers of an earlier snapshot of the same blob.
func previousPages(v engine.Reader, p *place, slot selector, previous engine.Stamp, layers []engine.Stamp, then func([]engine.Stamp) error) error {
	before, _, err := findSlot(v, p, record.Slot{Stamp: previous, Kind: record.SlotSnapshot})
	switch {
	case errors.Is(err, protocol.ErrBlobNotFound) || err == nil && before == nil:
		return protocol.ErrPreviousSnapshotNotFound
	case err != nil:
		return err
	case slot.snapshot != 0 && previous > slot.snapshot:
		return protocol.ErrPreviousSnapshotCannotBeNewer
	case before.Type != record.PageBlob:
		return protocol.ErrBlobOverwritten
	}
	old, err := pageLayers(v, p.key, before.Content.ID)
	if err != nil {
		return err
	}
	if len(old) == 0 || len(layers) == 0 || old[len(old)-1] != layers[len(layers)-1] {
		return protocol.ErrBlobOverwritten
	}
	return then(old)
}

// pageList is a list of ranges being written; neighbours become one.
type pageList struct {
	b        []byte
	n, limit int
	from, to int64
	cleared  bool
	open     bool
	cut      bool  // the limit came before the end
	next     int64 // where to go on
}

func (l *pageList) add(from, to int64, cleared bool) bool {
	if l.open && l.to == from && l.cleared == cleared {
		l.to = to
		return true
	}
	l.flush()
	if l.n == l.limit {
		l.cut, l.next = true, from
		return false
	}
	l.from, l.to, l.cleared, l.open = from, to, cleared, true
	return true
}

func (l *pageList) flush() {
	if !l.open {
		return
	}
	l.open = false
	l.n++
	element := "PageRange"
	if l.cleared {
		element = "ClearRange"
	}
	l.b = append(append(append(l.b, '<'), element...), "><Start>"...)
	l.b = strconv.AppendInt(l.b, l.from, 10)
	l.b = append(l.b, "</Start><End>"...)
	l.b = strconv.AppendInt(l.b, l.to-1, 10)
	l.b = append(append(append(l.b, "</End></"...), element...), '>')
}

// pageReading is what a reading of pages needs besides its spans.
type pageReading struct {
	// unsteady tells that writes might change what is read while it is read: it is more than one chunk, or more than was located.
	unsteady bool
	next     int64                  // up to where spans go
	more     func() ([]span, error) // locates on
	unpin    func()
}

// Bounds of what is located at a time.
const (
	pageSpans  = 1024
	pageInMind = 256 << 10 // inline bytes
)

// locatePages finds the wanted bytes of a page blob, or as many as are good to keep in mind.
func (rd *reading) locatePages(v engine.Reader, p *place) (err error) {
	if rd.spans, rd.pages.next, err = locateSpans(v, p, rd.rec.Content.ID, rd.offset, rd.offset+rd.length); err != nil {
		return err
	}
	chunks := 0
	for i := range rd.spans {
		if !rd.spans[i].zero && rd.spans[i].data == nil {
			chunks++
		}
	}
	rd.pages.unsteady = rd.pages.next < rd.offset+rd.length || chunks > 1 || chunks == 1 && (rd.spans[0].zero || rd.spans[0].data != nil)
	return nil
}

// locateSpans finds where the bytes between two bounds are, and tells how far it came.
func locateSpans(v engine.Reader, p *place, id engine.Stamp, from, to int64) (spans []span, next int64, err error) {
	layers, err := pageLayers(v, p.key, id)
	if err != nil {
		return nil, 0, err
	}
	if len(layers) == 0 {
		return nil, 0, fmt.Errorf("page map of %q: %w", p.name, record.ErrPages)
	}
	next = from
	inline := 0
	fill := func(to int64) {
		if next < to {
			spans = append(spans, span{zero: true, length: to - next})
			next = to
		}
	}
	whole := true
	err = walkPages(v, p.key, layers, from, to, func(u *record.PageRange) bool {
		if whole = len(spans) < pageSpans && inline < pageInMind; !whole {
			return false
		}
		fill(u.From)
		s := span{length: u.To - u.From}
		if u.Kind == record.PageInline {
			s.data = append([]byte(nil), u.Bytes...)
			inline += len(s.data)
		} else {
			s.ref, s.offset = u.Ref, u.Offset
		}
		spans = append(spans, s)
		next = u.To
		return true
	})
	if whole {
		fill(to)
	}
	return spans, next, err
}

// pinPages looks again, in a transaction so that no write is under way, and pins the map for as long as it is read.
func (s *Service) pinPages(ctx context.Context, p *place, rd *reading, look func(engine.Reader) error) error {
	release := func() {}
	err := s.store.Update(ctx, p.key, func(tx engine.Tx) error {
		release() // of an earlier run
		release = func() {}
		if err := look(tx); err != nil || !rd.pages.unsteady {
			return err
		}
		id := rd.rec.Content.ID
		s.pins.add(p.key, id, 1)
		release = func() {
			s.pins.add(p.key, id, -1)
			s.wake()
		}
		return nil
	})
	if err != nil {
		release()
		return err
	}
	rd.pages.unpin = release
	id, next, end := rd.rec.Content.ID, rd.pages.next, rd.offset+rd.length
	rd.pages.more = func() (spans []span, err error) {
		if next >= end {
			return nil, nil
		}
		err = s.store.View(ctx, p.key, func(v engine.Reader) (err error) {
			spans, next, err = locateSpans(v, p, id, next, end)
			return err
		})
		return spans, errors.Join(err, ctx.Err())
	}
	return nil
}
