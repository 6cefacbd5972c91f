package blob

import (
	"bytes"
	"encoding/base64"
	"strings"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/tagquery"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// Bounds of one page of a search.
const (
	maxHints      = 20_000 // hints looked at
	maxContainers = 5_000  // containers looked into
)

// finder is one page of Find Blobs by Tags.
type finder struct {
	r       engine.Reader
	q       *tagquery.Where
	account string
	only    string // the container searched, empty for all
	from    string // where to begin: container 00 key
	limit   int
	n       int
	hints   int
	next    string
	visit   func(container, name string, rec *record.Blob)
}

// findBlobs is Find Blobs by Tags, at account and container scope.
func (s *Service) findBlobs(r *rest.Request) error {
	text, ok := r.QueryOK("where")
	if !ok || text == "" {
		return protocol.MissingQuery("where")
	}
	q, err := tagquery.ParseWhere(text, tagquery.Find)
	if err != nil {
		return err
	}
	if r.Container != "" && q.NamesContainer() {
		return protocol.InvalidQuery("where", text, "Cannot have container in both uri and query")
	}
	limit, hasMax, err := decodeMax(r)
	if err != nil {
		return err
	}
	versions := false
	for item := range strings.SplitSeq(strings.ToLower(r.Query("include")), ",") {
		switch strings.TrimSpace(item) {
		case "", "none":
		case "versions": // current ones: tags of earlier versions are not indexed, in Azure neither
			versions = true
		default:
			return protocol.InvalidQuery("include", r.Query("include"), "")
		}
	}
	marker, hasMarker := r.QueryOK("marker")
	f := finder{q: q, account: r.AccountName, limit: limit}
	if marker != "" {
		from, err := base64.URLEncoding.DecodeString(marker)
		if err != nil {
			return protocol.InvalidQuery("marker", marker, "")
		}
		f.from = string(from)
	}
	if r.Container != "" {
		if _, err := s.readContainer(r); err != nil {
			return err
		}
		f.only = r.Container
	}
	head := append(make([]byte, 0, 1024), protocol.XMLHead...)
	head = append(head, `<EnumerationResults ServiceEndpoint="`...)
	head = append(appendEndpoint(head, r), '"')
	if f.only != "" {
		head = append(append(append(head, ` ContainerName="`...), f.only...), '"')
	}
	head = append(head, '>')
	if hasMarker {
		head = protocol.AppendElement(head, "Marker", marker)
	}
	head = append(head, "<Where>"...)
	head = append(head, strings.ReplaceAll(string(protocol.AppendText(nil, text)), "'", "&apos;")...) // as recorded of the service
	head = append(head, "</Where>"...)
	if hasMax {
		head = protocol.AppendElement(head, "MaxResults", r.Query("maxresults"))
	}
	head = append(head, "<Blobs>"...)
	var b []byte
	err = s.store.View(r.Context, nil, func(v engine.Reader) error {
		f.r, f.n, f.hints, f.next = v, 0, 0, ""
		b = append([]byte(nil), head...)
		f.visit = func(container, name string, rec *record.Blob) {
			b = append(b, "<Blob>"...)
			b = protocol.AppendName(b, "Name", name, r.Version)
			b = protocol.AppendElement(b, "ContainerName", container)
			if versions && rec.Version != 0 {
				b = protocol.AppendElement(b, "VersionId", protocol.SnapshotID(rec.Version))
				b = protocol.AppendElement(b, "IsCurrentVersion", "true")
			}
			var named []protocol.Pair
			for _, t := range rec.Tags {
				if q.Names(t.Name) {
					named = append(named, t)
				}
			}
			b = tagquery.AppendXML(append(b, "<Tags>"...), named)
			b = append(b, "</Tags></Blob>"...)
		}
		return f.run()
	})
	if err != nil {
		return err
	}
	b = append(b, "</Blobs>"...)
	next := ""
	if f.next != "" {
		next = base64.URLEncoding.EncodeToString([]byte(f.next))
	}
	b = protocol.AppendElement(b, "NextMarker", next)
	r.ReplyXML(200, append(b, "</EnumerationResults>"...))
	return nil
}

// run searches the containers in the order of their names.
func (f *finder) run() error {
	at, key, _ := strings.Cut(f.from, "\x00")
	scope := append([]byte(f.account), 0)
	for _, t := range f.q.Terms {
		if t.Name == tagquery.ContainerName {
			if f.only != "" && f.only != t.Value {
				return nil
			}
			f.only = t.Value
		}
	}
	lower := append(append([]byte(nil), scope...), max(at, f.only)...)
	it := f.r.Scan(engine.SpaceContainer, lower, record.After(append([]byte(nil), scope...)))
	defer it.Close()
	for looked := 0; it.Next(); {
		name, life, _ := strings.Cut(string(it.Key()[len(scope):]), "\x00")
		if f.only != "" && name != f.only {
			break
		}
		if life != "" { // a deleted one
			continue
		}
		if looked++; looked > maxContainers {
			f.next = name + "\x00"
			break
		}
		v, err := it.Value()
		if err != nil {
			return err
		}
		var c record.Container
		if err := c.Decode(record.View(v)); err != nil {
			return err
		}
		if name != at {
			key = ""
		}
		if err := f.container(name, c.Generation, key); err != nil {
			return err
		}
		if f.next != "" {
			break
		}
	}
	return it.Close()
}

// bounds are the keys between which hints of the clause lie, after the partition: of the tag that is best bounded.
func (f *finder) bounds() (lower, upper []byte) {
	var best *tagquery.Node
	for _, t := range f.q.Terms {
		if t.Name != tagquery.ContainerName && (best == nil || t.Op == tagquery.EQ && best.Op != tagquery.EQ) {
			best = t
		}
	}
	prefix := append([]byte(best.Name), 0)
	lower, upper = prefix, record.After(append([]byte(nil), prefix...))
	for _, t := range f.q.Terms {
		if t.Name != best.Name {
			continue
		}
		first := append(append(append([]byte(nil), prefix...), t.Value...), 0)
		last := record.After(append([]byte(nil), first...))
		switch t.Op {
		case tagquery.EQ:
			lower, upper = higher(lower, first), lowerOf(upper, last)
		case tagquery.GE:
			lower = higher(lower, first)
		case tagquery.GT:
			lower = higher(lower, last)
		case tagquery.LT:
			upper = lowerOf(upper, first)
		case tagquery.LE:
			upper = lowerOf(upper, last)
		}
	}
	return lower, upper
}

func higher(a, b []byte) []byte {
	if bytes.Compare(a, b) < 0 {
		return b
	}
	return a
}

func lowerOf(a, b []byte) []byte {
	if bytes.Compare(a, b) > 0 {
		return b
	}
	return a
}

// container searches one container from a key on. Each hint is held to the blob: it must have that very tag, so that no blob
// comes twice, and meet the whole clause.
func (f *finder) container(name string, g record.Generation, from string) error {
	partition := record.AppendTagPartition(nil, f.account, g)
	lower, upper := f.bounds()
	lower = higher(lower, []byte(from))
	if bytes.Compare(lower, upper) >= 0 {
		return nil
	}
	full := func(k []byte) []byte { return append(partition[:len(partition):len(partition)], k...) }
	it := f.r.Scan(engine.SpaceBlobTag, full(lower), full(upper))
	defer it.Close()
	for it.Next() {
		key := it.Key()[len(partition):]
		if f.n == f.limit || f.hints == maxHints {
			f.next = name + "\x00" + string(key)
			break
		}
		f.hints++
		tag, blob, ok := record.ParseTagKey(key)
		if !ok {
			return record.ErrBlob
		}
		rec, err := getRecord(f.r, newPlace(nil, g, blob), record.Slot{})
		if err != nil {
			return err
		}
		if rec == nil {
			continue
		}
		if v, ok := tagquery.Value(rec.Tags, tag.Name); ok && v == tag.Value && f.q.Matches(name, rec.Tags) {
			f.n++
			f.visit(name, blob, rec)
		}
	}
	return it.Close()
}
