package blob

import (
	"context"
	"encoding/base64"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/source"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/blob/tagquery"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/resttest"
)

// plainConn takes the model's operations to the plain service, with no HTTP in between. They come as the model words them for the
// wire, and so do the answers, with what the model looks at.
type plainConn struct{ h *house }

func (p *plainConn) Close() error { return nil }

func (p *plainConn) Do(method, target, body string, header ...string) *resttest.Response {
	out := &resttest.Response{Status: 200, Header: http.Header{}}
	if err := p.do(out, method, target, body, header); err != nil {
		e := rest.WireError(err)
		out = &resttest.Response{Status: e.Status, Header: http.Header{}, Body: []byte(err.Error())}
		out.Header.Set("x-ms-error-code", e.Code)
	}
	return out
}

// plainCall is one operation on its way.
type plainCall struct {
	out    *resttest.Response
	at     store.Target
	slot   store.Selector
	header map[string]string
	query  url.Values
	body   string
}

func (c *plainCall) upload() *store.Upload {
	return &store.Upload{Body: strings.NewReader(c.body), Size: int64(len(c.body))}
}

func (c *plainCall) number(name string, absent int64) int64 {
	if n, err := strconv.ParseInt(c.header[name], 10, 64); err == nil {
		return n
	}
	return absent
}

// wrote answers a write that led to rec.
func (c *plainCall) wrote(status int, rec *record.Blob, err error) error {
	if err == nil {
		c.out.Status = status
		c.out.Header.Set("ETag", protocol.ETag(rec.Changed))
		if rec.Version != 0 {
			c.out.Header.Set("x-ms-version-id", protocol.SnapshotID(rec.Version))
		}
	}
	return err
}

func (p *plainConn) do(out *resttest.Response, method, target, body string, header []string) (err error) {
	ctx, s := context.Background(), p.h.svc.blobs
	c := &plainCall{out: out, header: map[string]string{}, body: body}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		c.header[strings.ToLower(name)] = value
	}
	path, query, _ := strings.Cut(target, "?")
	if c.query, err = url.ParseQuery(query); err != nil {
		return err
	}
	c.at = store.Target{Account: p.h.registry.Lookup("acct"), Container: "box", Version: protocol.Newest, Now: record.StampOf(p.h.now())}
	if name, ok := strings.CutPrefix(path, "/acct/box/"); ok {
		if c.at.Name, err = url.PathUnescape(name); err != nil {
			return err
		}
	}
	c.at.Lease, _ = lease.ParseID(c.header["x-ms-lease-id"])
	c.at.Cond = protocol.NewConditions(c.header["if-match"], c.header["if-none-match"], time.Time{}, time.Time{})
	if text := c.header["x-ms-if-tags"]; text != "" {
		if c.at.Tags, err = tagquery.ParseWhere(text, tagquery.If); err != nil {
			return err
		}
	}
	c.slot.Snapshot, _ = protocol.ParseSnapshotID(c.query.Get("snapshot"))
	c.slot.Version, _ = protocol.ParseSnapshotID(c.query.Get("versionid"))
	comp := c.query.Get("comp")
	switch method + " " + comp {
	case "GET list":
		list := &plainListing{}
		con, err := s.Container(ctx, &c.at)
		if err == nil {
			q := store.ListRequest{Prefix: c.query.Get("prefix"), Max: store.MaxPage, Now: c.at.Now}
			if c.query.Get("include") == "snapshots" {
				q.Include = store.IncludeSnapshots
			}
			_, err = s.List(ctx, con, &q, list)
		}
		out.Body = list.b
		return err
	case "GET blobs":
		where, err := tagquery.ParseWhere(c.query.Get("where"), tagquery.Find)
		if err == nil {
			_, err = s.Find(ctx, &store.FindRequest{Account: "acct", Where: where, Limit: store.MaxPage}, func(_, name string, _ *record.Blob) {
				out.Body = fmt.Appendf(out.Body, "<Blob><Name>%s</Name></Blob>", name)
			})
		}
		return err
	case "GET blocklist":
		list, err := s.BlockList(ctx, &c.at, c.slot, true, true)
		out.Body = appendBlocks(appendBlocks(nil, "CommittedBlocks", list.Committed), "UncommittedBlocks", list.Uncommitted)
		return err
	case "GET ", "HEAD ":
		return p.read(ctx, c, method)
	case "DELETE ":
		q := store.DeleteRequest{Target: c.at, Slot: c.slot}
		q.Snapshots = map[string]store.SnapshotsToo{"include": store.SnapshotsInclude, "only": store.SnapshotsOnly}[c.header["x-ms-delete-snapshots"]]
		out.Status = 202
		_, err := s.Delete(ctx, &q)
		return err
	}
	return p.write(ctx, c, comp)
}

func (p *plainConn) read(ctx context.Context, c *plainCall, method string) (err error) {
	var rec *record.Blob
	if method == "HEAD" {
		rec, _, err = p.h.svc.blobs.Look(ctx, &c.at, c.slot)
	} else {
		q := store.ReadRequest{Target: c.at, Slot: c.slot}
		q.Range, q.Ranged = protocol.ParseRange(c.header["x-ms-range"])
		var rd *store.Reading
		if rd, err = p.h.svc.blobs.Open(ctx, &q); err == nil {
			rec = rd.Blob
			c.out.Body, err = rd.All()
		}
	}
	if err != nil {
		return err
	}
	h := c.out.Header
	h.Set("x-ms-blob-type", rec.Type.String())
	for _, m := range rec.Metadata {
		h.Set("x-ms-meta-"+m.Name, m.Value)
	}
	if n := len(rec.Tags); n > 0 {
		h.Set("x-ms-tag-count", strconv.Itoa(n))
	}
	h.Set("x-ms-blob-committed-block-count", strconv.FormatUint(uint64(rec.Blocks), 10))
	h.Set("x-ms-blob-sealed", strconv.FormatBool(rec.Sealed))
	h.Set("x-ms-blob-sequence-number", strconv.FormatInt(rec.Sequence, 10))
	return c.wrote(200, rec, nil)
}

func (p *plainConn) write(ctx context.Context, c *plainCall, comp string) (err error) {
	s := p.h.svc.blobs
	n := store.Creation{Target: c.at, Blob: &record.Blob{Type: record.BlockBlob, HTTP: record.HTTPProperties{ContentType: record.DefaultContentType}}}
	if n.Blob.Tags, err = tagquery.ParseHeader(c.header["x-ms-tags"]); err != nil {
		return err
	}
	if m := c.header["x-ms-meta-m"]; m != "" {
		n.Blob.Metadata = []protocol.Pair{{Name: "m", Value: m}}
	}
	switch comp {
	case "":
		switch from := c.header["x-ms-copy-source"]; {
		case from != "":
			return p.copy(ctx, c, from)
		case c.header["x-ms-blob-type"] == "BlockBlob":
			_, err = s.Put(ctx, &n, c.upload())
		case c.header["x-ms-blob-type"] == "AppendBlob":
			n.Blob.Type = record.AppendBlob
			err = s.CreateEmpty(ctx, &n)
		default:
			n.Blob.Type, n.Blob.Size = record.PageBlob, c.number("x-ms-blob-content-length", 0)
			err = s.CreateEmpty(ctx, &n)
		}
		return c.wrote(201, n.Blob, err)
	case "block":
		id, err := base64.StdEncoding.DecodeString(c.query.Get("blockid"))
		if err == nil {
			_, err = s.StageBlock(ctx, &c.at, string(id), c.upload())
		}
		return err
	case "blocklist":
		refs, err := parseBlockList(c.body)
		if err == nil {
			err = s.Commit(ctx, &n, refs)
		}
		return c.wrote(201, n.Blob, err)
	case "appendblock", "seal":
		q := store.AppendRequest{Target: c.at, Position: c.number("x-ms-blob-condition-appendpos", -1), MaxSize: -1}
		if comp == "seal" {
			rec, err := s.Seal(ctx, &q)
			return c.wrote(200, rec, err)
		}
		rec, _, err := s.Append(ctx, &q, c.upload())
		if err == nil {
			c.out.Header.Set("x-ms-blob-append-offset", strconv.FormatInt(rec.Size-int64(len(c.body)), 10))
		}
		return c.wrote(201, rec, err)
	case "properties":
		q := store.PageChange{Size: c.number("x-ms-blob-content-length", -1)}
		if c.header["x-ms-sequence-number-action"] != "" {
			q.Action = store.SequenceIncrement
		}
		rec, err := s.SetPageProperties(ctx, &c.at, &q)
		return c.wrote(200, &rec, err)
	case "page":
		rng, _ := protocol.ParseRange(c.header["x-ms-range"])
		q := store.PageRequest{Target: c.at, LE: -1, LT: -1, EQ: c.number("x-ms-if-sequence-number-eq", -1)}
		if c.header["x-ms-page-write"] == "clear" {
			rec, err := s.ClearPages(ctx, &q, rng.First, rng.Last+1)
			return c.wrote(201, rec, err)
		}
		rec, _, err := s.WritePages(ctx, &q, rng.First, c.upload())
		return c.wrote(201, rec, err)
	case "tags":
		tags, err := tagquery.ParseXML([]byte(c.body))
		if err == nil {
			err = s.SetTags(ctx, &c.at, c.slot, tags)
		}
		return err
	case "metadata":
		rec, err := s.SetMetadata(ctx, &c.at, n.Blob.Metadata)
		return c.wrote(200, &rec, err)
	case "snapshot":
		rec, id, err := s.Snapshot(ctx, &c.at, nil)
		c.out.Header.Set("x-ms-snapshot", protocol.SnapshotID(id))
		return c.wrote(201, &rec, err)
	case "undelete":
		return s.Undelete(ctx, &c.at)
	}
	q := lease.Request{Action: lease.Break, Period: -1}
	switch c.header["x-ms-lease-action"] {
	case "acquire":
		q = lease.Request{Action: lease.Acquire, Duration: lease.Infinite, Proposed: lease.ID(uuid.New())}
	case "release":
		q = lease.Request{Action: lease.Release, ID: c.at.Lease}
	}
	res, _, err := s.LeaseBlob(ctx, &c.at, &q)
	c.out.Header.Set("x-ms-lease-id", res.Lease.ID.String())
	return err
}

func (p *plainConn) copy(ctx context.Context, c *plainCall, from string) error {
	u, err := source.Parse(from)
	if err != nil {
		return err
	}
	path, _, _ := strings.Cut(from, "?")
	_, name, _ := strings.Cut(path, "/acct/box/")
	if name, err = url.PathUnescape(name); err != nil {
		return err
	}
	q := store.CopyRequest{Target: c.at, Source: &store.Source{URL: u, Now: c.at.Now, Own: &store.OwnSource{Container: "box", Name: name,
		Admit: func(context.Context, bool, bool) (*account.Account, error) { return c.at.Account, nil }}}}
	q.Source.Limit = math.MaxInt64
	rec, err := p.h.svc.blobs.Copy(ctx, &q)
	return c.wrote(202, rec, err)
}

// plainListing words a listing as far as the model reads it.
type plainListing struct{ b []byte }

func (l *plainListing) Full() bool { return false }

func (l *plainListing) Prefix(string) {}

func (l *plainListing) Blob(name string, e *store.Entry) {
	l.b = fmt.Appendf(l.b, "<Blob><Name>%s</Name>", name)
	if e.Slot.Kind == record.SlotSnapshot {
		l.b = fmt.Appendf(l.b, "<Snapshot>%s</Snapshot>", protocol.SnapshotID(e.Slot.Stamp))
	}
	l.b = fmt.Appendf(l.b, "<Content-Length>%d</Content-Length></Blob>", e.Blob.Size)
}
