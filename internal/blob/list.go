package blob

import (
	"bytes"
	"encoding/base64"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/invariants"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// maxPage is the most entries of a listing, and how many there are unless fewer are asked for.
const maxPage = 5000

// include is what a listing shows besides the blobs themselves.
type include uint16

const (
	includeSnapshots include = 1 << iota
	includeMetadata
	includeUncommitted
	includeCopy
	includeDeleted
	includeTags
	includeVersions
	includeDeletedWithVersions
	includeNothing // immutability and permissions: known, and nothing to show
)

var includeNames = map[string]include{
	"snapshots": includeSnapshots, "metadata": includeMetadata, "uncommittedblobs": includeUncommitted, "copy": includeCopy,
	"deleted": includeDeleted, "tags": includeTags, "versions": includeVersions, "deletedwithversions": includeDeletedWithVersions,
	"immutabilitypolicy": includeNothing, "legalhold": includeNothing, "permissions": includeNothing,
}

// listRequest is List Blobs, decoded.
type listRequest struct {
	prefix, delimiter, marker, startFrom       string
	hasPrefix, hasDelimiter, hasMarker, hasMax bool
	max                                        int
	include                                    include
	version                                    protocol.Version
	now                                        engine.Stamp
}

// decodeMax reads maxresults.
func decodeMax(r *rest.Request) (n int, given bool, err error) {
	text, ok := r.QueryOK("maxresults")
	if !ok || text == "" {
		return maxPage, false, nil
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, true, protocol.InvalidQuery("maxresults", text, "")
	}
	if v < 1 {
		return 0, true, protocol.ErrOutOfRangeQueryParameterValue.With("QueryParameterName", "maxresults").With("QueryParameterValue", text).
			With("MinimumAllowed", "1").With("MaximumAllowed", "2147483647")
	}
	return int(min(v, maxPage)), true, nil
}

func decodeList(r *rest.Request) (q listRequest, err error) {
	q.version, q.now = r.Version, engine.StampOf(r.Now)
	q.prefix, q.hasPrefix = r.QueryOK("prefix")
	q.delimiter, q.hasDelimiter = r.QueryOK("delimiter")
	q.startFrom = r.Query("startfrom")
	if q.max, q.hasMax, err = decodeMax(r); err != nil {
		return q, err
	}
	if text, ok := r.QueryOK("marker"); ok {
		q.hasMarker = true
		if q.marker, ok = parseMarker(text); !ok {
			return q, protocol.InvalidQuery("marker", text, "")
		}
	}
	for item := range strings.SplitSeq(r.Query("include"), ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		bit, ok := includeNames[strings.ToLower(item)]
		if !ok {
			return q, protocol.InvalidQuery("include", r.Query("include"), "")
		}
		q.include |= bit
	}
	switch show := strings.ToLower(r.Query("showonly")); show {
	case "", "files":
	case "deleted":
		q.include |= includeDeleted
	default:
		return q, protocol.InvalidQuery("showonly", show, "")
	}
	return q, nil
}

// A marker is the key at which the next page begins, without the generation: it may lie between blobs, where a prefix ends.
const markerVersion = "1!"

func appendMarker(b, key []byte) []byte {
	b = append(b, markerVersion...)
	return base64.URLEncoding.AppendEncode(b, key)
}

func parseMarker(text string) (key string, ok bool) {
	if text == "" {
		return "", true
	}
	text, ok = strings.CutPrefix(text, markerVersion)
	if !ok {
		return "", false
	}
	if strings.ContainsAny(text, "\r\n") { // which the decoder skips
		return "", false
	}
	b, err := base64.URLEncoding.Strict().DecodeString(text)
	return string(b), err == nil && len(b) > 0 && len(b) <= engine.MaxKey-8
}

// listBlobs is List Blobs.
func (s *Service) listBlobs(r *rest.Request) error {
	q, err := decodeList(r)
	if err != nil {
		return err
	}
	c, err := s.readContainer(r)
	if err != nil {
		return err
	}
	page := newPage()
	b := append(page.b, protocol.XMLHead...)
	b = append(b, `<EnumerationResults ServiceEndpoint="`...)
	b = appendEndpoint(b, r)
	b = append(b, `" ContainerName="`...)
	b = protocol.AppendText(b, r.Container)
	b = append(b, `">`...)
	if q.hasPrefix {
		b = appendEcho(b, "Prefix", q.prefix, q.version)
	}
	if q.hasMarker {
		b = protocol.AppendElement(b, "Marker", r.Query("marker"))
	}
	if q.hasMax {
		b = protocol.AppendElement(b, "MaxResults", r.Query("maxresults"))
	}
	if q.hasDelimiter {
		b = appendEcho(b, "Delimiter", q.delimiter, q.version)
	}
	page.b = b
	prefix := record.AppendGeneration(nil, c.Generation)
	err = s.store.View(r.Context, prefix, func(v engine.Reader) error {
		page.b = append(page.b, "<Blobs>"...)
		next, err := q.scan(v, prefix, page)
		if err != nil {
			return err
		}
		if string(page.b[len(page.b)-len("<Blobs>"):]) == "<Blobs>" {
			page.b = append(page.b[:len(page.b)-1], " />"...)
		} else {
			page.b = append(page.b, "</Blobs>"...)
		}
		if next == nil {
			page.b = append(page.b, "<NextMarker />"...)
		} else {
			page.b = append(appendMarker(append(page.b, "<NextMarker>"...), next), "</NextMarker>"...)
		}
		return nil
	})
	if err != nil {
		page.Close()
		return err
	}
	page.b = append(page.b, "</EnumerationResults>"...)
	page.reply(r)
	return nil
}

// appendEcho repeats a part of the request; an empty one is an empty element.
func appendEcho(b []byte, element, value string, v protocol.Version) []byte {
	if value == "" {
		return protocol.AppendElement(b, element, "")
	}
	return protocol.AppendName(b, element, value, v)
}

// appendEndpoint appends the address of the service as the client sees it.
func appendEndpoint(b []byte, r *rest.Request) []byte {
	if r.HTTPS {
		b = append(b, "https://"...)
	} else {
		b = append(b, "http://"...)
	}
	b = protocol.AppendText(b, r.Header("host"))
	b = append(b, '/')
	if r.PathStyle {
		b = append(b, r.AccountName...)
		b = append(b, '/')
	}
	return b
}

// cursor walks one space. Its key is nil at the end.
type cursor struct {
	it        engine.Iterator
	key       []byte
	partition int // length of the partition in key
	name      []byte
}

func (c *cursor) settle(ok bool) {
	for ; ok; ok = c.it.Next() {
		c.key = c.it.Key()
		if c.name, c.partition, ok = record.SplitKey(c.key); ok {
			return
		}
	}
	c.key = nil
}

// scan appends the entries of a page and returns the key of the next, nil at the end.
//
// The entries of a name lie in up to three spaces: its history comes first, ascending, and the blob itself last.
func (q *listRequest) scan(v engine.Reader, generation []byte, page *page) (next []byte, err error) {
	lower := record.AppendEscaped(append([]byte(nil), generation...), q.prefix)
	upper := record.After(append([]byte(nil), lower...))
	if from := record.AppendEscaped(append([]byte(nil), generation...), q.startFrom); bytes.Compare(from, lower) > 0 {
		lower = from
	}
	if from := append(append([]byte(nil), generation...), q.marker...); bytes.Compare(from, lower) > 0 {
		lower = from
	}
	if upper != nil && bytes.Compare(lower, upper) >= 0 {
		return nil, nil
	}
	spaces := []engine.Space{engine.SpaceBlob}
	if q.include&(includeSnapshots|includeDeleted|includeVersions|includeDeletedWithVersions) != 0 {
		spaces = append(spaces, engine.SpaceBlobHistory)
	}
	if q.include&includeUncommitted != 0 {
		spaces = append(spaces, engine.SpaceUncommitted)
	}
	// A marker within a name's history must still find the blob itself, whose key is shorter.
	baseLower := lower
	if _, n, ok := record.SplitKey(lower); ok {
		baseLower = lower[:n]
	}
	cursors := make([]cursor, len(spaces))
	for i, space := range spaces {
		from := baseLower
		if space == engine.SpaceBlobHistory {
			from = lower
		}
		cursors[i].it = v.Scan(space, from, upper)
		defer cursors[i].it.Close()
		cursors[i].settle(cursors[i].it.Next())
	}
	e := &page.entry
	e.q = q
	for count := 0; ; {
		at := q.least(cursors)
		if at < 0 {
			break
		}
		c := &cursors[at]
		base := spaces[at] != engine.SpaceBlobHistory
		show, err := q.load(e, c, spaces[at], cursors)
		if err != nil {
			return nil, err
		}
		if !show {
			c.settle(c.it.Next())
			continue
		}
		if count == q.max {
			next = append(next, c.key[8:]...)
			if base && len(spaces) > 1 {
				next = append(next, 0xFF) // behind the history, which was shown
			}
			break
		}
		count++
		if q.delimiter != "" {
			if i := strings.Index(record.View(c.name[len(q.prefix):]), q.delimiter); i >= 0 {
				common := string(c.name[:len(q.prefix)+i+len(q.delimiter)])
				page.b = append(page.b, "<BlobPrefix>"...)
				page.b = protocol.AppendName(page.b, "Name", common, q.version)
				page.b = append(page.b, "</BlobPrefix>"...)
				behind := record.After(record.AppendEscaped(append([]byte(nil), generation...), common))
				for i := range cursors {
					if c := &cursors[i]; c.key != nil && (behind == nil || bytes.Compare(c.key, behind) < 0) {
						c.settle(behind != nil && c.it.SeekGE(behind))
					}
				}
				continue
			}
		}
		page.b = e.appendTo(page.b, record.View(c.name))
		c.settle(c.it.Next())
	}
	for i := range cursors {
		if err := cursors[i].it.Close(); err != nil {
			return nil, err
		}
	}
	return next, nil
}

// least returns the cursor whose entry comes next, -1 at the end.
func (q *listRequest) least(cursors []cursor) int {
	if len(cursors) == 1 {
		if cursors[0].key == nil {
			return -1
		}
		return 0
	}
	best := -1
	for i := range cursors {
		c := &cursors[i]
		if c.key == nil {
			continue
		}
		if best < 0 {
			best = i
			continue
		}
		b := &cursors[best]
		switch d := bytes.Compare(c.key[:c.partition], b.key[:b.partition]); {
		case d < 0, d == 0 && len(c.key) > len(b.key):
			best = i
		}
	}
	return best
}

// load decodes the entry under a cursor and tells whether this listing shows it.
func (q *listRequest) load(e *entry, c *cursor, space engine.Space, cursors []cursor) (show bool, err error) {
	e.slot, e.uncommitted, e.versionsOnly = record.Slot{}, space == engine.SpaceUncommitted, false
	if e.uncommitted {
		e.rec = record.Blob{Type: record.BlockBlob, HTTP: record.HTTPProperties{ContentType: record.DefaultContentType}}
		return true, nil
	}
	v, err := c.it.Value()
	if err != nil {
		return false, err
	}
	if err := e.rec.Decode(record.View(v)); err != nil {
		return false, err
	}
	if space == engine.SpaceBlob {
		return true, nil
	}
	slot, ok := record.ParseSlot(c.key[c.partition:])
	if !ok {
		return false, record.ErrBlob
	}
	e.slot = slot
	base := cursors[0].key != nil && bytes.Equal(cursors[0].key, c.key[:c.partition])
	return q.shows(&e.rec, slot, base, e), nil
}

// shows tells whether a listing shows a blob of the history. base tells that the name has a current blob.
func (q *listRequest) shows(rec *record.Blob, slot record.Slot, base bool, e *entry) bool {
	deleted := rec.Deleted.At != 0
	if deleted && (q.include&includeDeleted == 0 || rec.Deleted.Until <= q.now) {
		return false
	}
	switch slot.Kind {
	case record.SlotSnapshot:
		return q.include&includeSnapshots != 0
	case record.SlotDeleted:
		if base {
			e.slot.Kind = record.SlotSnapshot // what a later blob of the name has pushed aside
			return q.include&includeSnapshots != 0
		}
		e.slot = record.Slot{}
		return true
	}
	return q.include&includeVersions != 0
}

// page is the body of an answer on its way into a pooled buffer.
type page struct {
	b     []byte
	sent  int
	entry entry
}

// keepPage bounds the buffers that are kept for the next listing, in bytes.
const keepPage = 16 * miB

var pages = sync.Pool{New: func() any { return &page{b: make([]byte, 0, 64<<10)} }}

func newPage() *page {
	p := pages.Get().(*page)
	p.b, p.sent = p.b[:0], 0
	return p
}

// reply sends the page, whose buffer is given back when that is done.
func (p *page) reply(r *rest.Request) {
	r.SetHeader("Content-Type", "application/xml")
	r.ReplyStream(200, int64(len(p.b)), p)
}

func (p *page) Read(to []byte) (int, error) {
	if p.sent == len(p.b) {
		return 0, io.EOF
	}
	n := copy(to, p.b[p.sent:])
	p.sent += n
	return n, nil
}

func (p *page) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(p.b[p.sent:])
	p.sent += n
	return int64(n), err
}

func (p *page) Close() error {
	if cap(p.b) <= keepPage {
		invariants.Overwrite(p.b)
		pages.Put(p)
	}
	return nil
}
