package blob

import (
	"encoding/base64"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/invariants"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// includes are the words of include, each with the version that brought it.
var includes = map[string]struct {
	bit   store.Include
	since protocol.Version
}{
	"snapshots":           {store.IncludeSnapshots, ""},
	"metadata":            {store.IncludeMetadata, ""},
	"uncommittedblobs":    {store.IncludeUncommitted, ""},
	"copy":                {store.IncludeCopy, protocol.V20120212},
	"deleted":             {store.IncludeDeleted, protocol.V20170729},
	"tags":                {store.IncludeTags, protocol.V20191212},
	"versions":            {store.IncludeVersions, protocol.V20191212},
	"immutabilitypolicy":  {store.IncludeNothing, protocol.V20200612},
	"legalhold":           {store.IncludeNothing, protocol.V20200612},
	"permissions":         {store.IncludeNothing, protocol.V20200612},
	"deletedwithversions": {store.IncludeDeletedWithVersions, protocol.V20201002},
}

// decodeMax reads maxresults.
func decodeMax(r *rest.Request) (n int, given bool, err error) {
	text, ok := r.QueryOK("maxresults")
	if !ok || text == "" {
		return store.MaxPage, false, nil
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, true, protocol.InvalidQuery("maxresults", text, "")
	}
	if v < 1 {
		return 0, true, protocol.ErrOutOfRangeQueryParameterValue.With("QueryParameterName", "maxresults").With("QueryParameterValue", text).
			With("MinimumAllowed", "1").With("MaximumAllowed", "2147483647")
	}
	return int(min(v, store.MaxPage)), true, nil
}

func decodeList(r *rest.Request) (q store.ListRequest, err error) {
	q.Now = record.StampOf(r.Now)
	q.Prefix, q.Delimiter, q.StartFrom = r.Query("prefix"), r.Query("delimiter"), r.Query("startfrom")
	if wantsArrow(r) { // the only listing that knows it
		q.EndBefore = r.Query("endbefore")
	}
	if q.Max, _, err = decodeMax(r); err != nil {
		return q, err
	}
	if text, ok := r.QueryOK("marker"); ok {
		if q.Marker, ok = parseMarker(text); !ok {
			return q, protocol.InvalidQuery("marker", text, "")
		}
	}
	for item := range strings.SplitSeq(r.Query("include"), ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		known, ok := includes[strings.ToLower(item)]
		if !ok || r.Version < known.since {
			return q, protocol.InvalidQuery("include", r.Query("include"), "")
		}
		q.Include |= known.bit
	}
	switch show := strings.ToLower(r.Query("showonly")); show {
	case "", "files":
	case "deleted":
		q.Include |= store.IncludeDeleted
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
	return string(b), err == nil && len(b) > 0 && len(b) <= record.MaxInContainer
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
	if wantsArrow(r) {
		return s.listArrow(r, c, &q)
	}
	page := newPage()
	page.r = r
	page.include, page.version, page.now, q.Entry = q.Include, r.Version, q.Now, &page.entry
	page.address = ""
	b := append(page.b, protocol.XMLHead...)
	if r.Version < protocol.V20130815 {
		page.address = string(appendEndpoint(nil, r)) + r.Container
		b = append(append(b, `<EnumerationResults ContainerName="`...), page.address...)
	} else {
		b = append(b, `<EnumerationResults ServiceEndpoint="`...)
		b = appendEndpoint(b, r)
		b = append(b, `" ContainerName="`...)
		b = protocol.AppendText(b, r.Container)
	}
	b = append(b, `">`...)
	b = appendEcho(b, r, "prefix", "Prefix")
	if text, ok := r.QueryOK("marker"); ok {
		b = protocol.AppendElement(b, "Marker", text)
	}
	if text := r.Query("maxresults"); text != "" {
		b = protocol.AppendElement(b, "MaxResults", text)
	}
	b = appendEcho(b, r, "delimiter", "Delimiter")
	page.b = append(b, "<Blobs>"...)
	start := len(page.b)
	next, err := s.blobs.List(r.Context, c, &q, page)
	if err == nil {
		err = page.err
	}
	if err != nil {
		page.Close()
		return err
	}
	if len(page.b) == start {
		page.b = append(page.b[:start-1], " />"...)
	} else {
		page.b = append(page.b, "</Blobs>"...)
	}
	if next == nil {
		page.b = append(page.b, "<NextMarker />"...)
	} else {
		page.b = append(appendMarker(append(page.b, "<NextMarker>"...), next), "</NextMarker>"...)
	}
	page.b = append(page.b, "</EnumerationResults>"...)
	return page.reply(r, "application/xml")
}

// appendEcho repeats a parameter of the query if it is there; an empty one is an empty element.
func appendEcho(b []byte, r *rest.Request, name, element string) []byte {
	switch value, ok := r.QueryOK(name); {
	case !ok:
		return b
	case value == "":
		return protocol.AppendElement(b, element, "")
	default:
		return protocol.AppendName(b, element, value, r.Version)
	}
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

// page is the body of an answer on its way into a pooled buffer.
type page struct {
	b    []byte
	sent int

	// Of a listing of blobs.
	include store.Include
	version protocol.Version
	now     record.Stamp
	entry   store.Entry

	r       *rest.Request // nil for none that is answered
	err     error         // there is no memory for it, or its version does not know a blob of it
	address string        // of the container, in the versions that list addresses
}

// Prefix implements Listing.
func (p *page) Prefix(name string) {
	p.b = append(p.b, "<BlobPrefix>"...)
	p.b = protocol.AppendName(p.b, "Name", name, p.version)
	p.b = append(p.b, "</BlobPrefix>"...)
}

// fullPage is the size in bytes at which a page of a listing ends, however few entries it has: metadata can be thirty times the rest, and a
// page is in memory until its reader has taken it. It is beyond what 5,000 blobs take that have little of it.
const fullPage = 8 * miB

// Full implements Listing.
func (p *page) Full() bool {
	if p.err == nil {
		p.err = p.r.HoldAnswer(len(p.b))
	}
	return p.err != nil || len(p.b) >= fullPage
}

// keepPage bounds the buffers that are kept for the next listing, in bytes.
const keepPage = 16 * miB

var pages = sync.Pool{New: func() any { return &page{b: make([]byte, 0, 64<<10)} }}

func newPage() *page {
	p := pages.Get().(*page)
	p.b, p.sent, p.r, p.err = p.b[:0], 0, nil, nil
	return p
}

// reply sends the page, whose buffer is given back when that is done.
func (p *page) reply(r *rest.Request, contentType string) error {
	r.SetHeader("Content-Type", contentType)
	return r.ReplyWhole(200, int64(len(p.b)), p)
}

// Write appends to the page.
func (p *page) Write(b []byte) (int, error) {
	p.b = append(p.b, b...)
	return len(b), nil
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
		p.r = nil
		invariants.Overwrite(p.b)
		pages.Put(p)
	}
	return nil
}
