package blob

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/replay"
	"github.com/blobd/blobd/internal/rest/resttest"
)

// The model of the Blob service: plain maps and byte slices. It knows what every operation must answer and leave behind.

type mBlob struct {
	kind    string // block, append, page
	content []byte
	meta    string // x-ms-meta-m
	tag     string // the tag k, empty for none
	tag2    bool   // there is another tag
	etag    string
	version string
	blocks  []mBlock // committed
	appends int
	sealed  bool
	seq     int64
	deleted bool // softly, in the history
}

type mBlock struct {
	id      string
	content []byte
}

type mName struct {
	cur      *mBlob
	lease    string // id of an infinite lease
	broken   bool
	staged   map[string][]byte
	snaps    map[string]*mBlob
	versions map[string]*mBlob
	asides   []*mBlob // taken by a soft delete, oldest first
}

// modelConn takes the model's operations to the service: over the wire, or to the plain service.
type modelConn interface {
	Do(method, target, body string, header ...string) *resttest.Response
	Close() error
}

type model struct {
	t     testing.TB
	h     *house
	conn  modelConn
	wire  bool
	rnd   *rand.Rand
	step  int
	log   []string
	soft  bool
	ver   bool
	names map[string]*mName
	order []string
	ahead *atomic.Int64
}

func newModel(t testing.TB, seed uint64, soft, ver bool, atOnce int) *model {
	ahead := new(atomic.Int64) // of the service's clock, in nanoseconds
	h := newHouse(t, func(h *house, a *account.Account) {
		a.Versioning, h.atOnce = ver, atOnce
		h.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	m := &model{ahead: ahead, t: t, h: h, rnd: rand.New(rand.NewPCG(seed, 1)), soft: soft, ver: ver, names: map[string]*mName{}}
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	if soft {
		h.softDelete(t, "7", "")
	}
	for _, n := range []string{"a", "b", "dir/c", "d d", "é"} {
		m.names[n] = &mName{staged: map[string][]byte{}, snaps: map[string]*mBlob{}, versions: map[string]*mBlob{}}
		m.order = append(m.order, n)
	}
	slices.Sort(m.order)
	return m
}

// terms are the lease id and conditions of a request, and what the model says of them.
type mTerms struct {
	header []string
	lease  string
	cond   string // header name or empty
	holds  bool   // the ETag given is the blob's
	iftags string // the value that tag k must have
}

func (m *model) terms(n *mName) (q mTerms) {
	r := m.rnd.IntN(100)
	if n.lease != "" && r < 60 || n.lease == "" && r < 3 {
		q.lease = n.lease
		if q.lease == "" || m.rnd.IntN(8) == 0 {
			q.lease = idB
		}
		q.header = append(q.header, "x-ms-lease-id: "+q.lease)
	}
	if m.rnd.IntN(10) == 0 {
		q.cond = []string{"If-Match", "If-None-Match"}[m.rnd.IntN(2)]
		q.holds = n.cur != nil && m.rnd.IntN(3) > 0
		tag := `"0x1"`
		if q.holds {
			tag = n.cur.etag
		}
		q.header = append(q.header, q.cond+": "+tag)
	}
	if m.rnd.IntN(30) == 0 {
		q.iftags = strconv.Itoa(m.rnd.IntN(3))
		q.header = append(q.header, "x-ms-if-tags: k='"+q.iftags+"'")
	}
	return q
}

type mUse byte

const (
	mRead mUse = iota
	mWrite
	mCreate
	mLease // conditions only
	mSnap  // a write whose lease id is optional
)

// admit is the order of checks: it exists, lease, conditions.
func (q *mTerms) admit(n *mName, use mUse) string {
	b := n.cur
	if b == nil {
		switch {
		case use != mCreate:
			return "404 BlobNotFound"
		case q.lease != "":
			return "412 LeaseNotPresentWithBlobOperation"
		case q.iftags != "", q.cond == "If-Match":
			return "412 ConditionNotMet"
		}
		return ""
	}
	if use != mLease {
		if code := n.admitLease(q.lease, use == mWrite || use == mCreate); code != "" {
			return code
		}
	}
	switch {
	case q.cond == "If-Match" && !q.holds:
		return "412 ConditionNotMet"
	case q.cond == "If-None-Match" && q.holds && use == mRead:
		return "304 ConditionNotMet"
	case q.cond == "If-None-Match" && q.holds:
		return "412 ConditionNotMet"
	case q.iftags != "" && b.tag != q.iftags:
		return "412 ConditionNotMet"
	}
	return ""
}

func (n *mName) admitLease(given string, write bool) string {
	held := n.lease != "" && !n.broken
	switch {
	case given == "" && held && write:
		return "412 LeaseIdMissing"
	case given == "":
		return ""
	case held && given == n.lease:
		return ""
	case held:
		return "412 LeaseIdMismatchWithBlobOperation"
	case n.lease == given:
		return "412 LeaseLost"
	}
	return "412 LeaseNotPresentWithBlobOperation"
}

// written: a broken lease is gone after a write.
func (n *mName) written() {
	if n.broken {
		n.lease, n.broken = "", false
	}
}

func (m *model) target(name, query string) string {
	return "/acct/box/" + (&url.URL{Path: name}).EscapedPath() + query
}

// do sends a request that the model expects to be answered so: "" for success, else status and code.
func (m *model) do(want, method, name, query, body string, header ...string) *resttest.Response {
	m.t.Helper()
	target := m.target(name, query)
	if strings.HasPrefix(name, "/") {
		target = name + query
	}
	r := m.conn.Do(method, target, body, append(header, v)...)
	if r.Status >= 300 && body != "" { // the server may close rather than read a long body that it does not want
		m.dial()
	}
	got := ""
	if r.Status >= 300 {
		got = fmt.Sprintf("%d %s", r.Status, r.Code())
	}
	m.log = append(m.log, fmt.Sprintf("%d %s %s %d bytes %q -> %d %s", m.step, method, target, len(body), header, r.Status, r.Code()))
	if got != want {
		m.fail("want %q, got %q: %s", want, got, r)
	}
	return r
}

func (m *model) dial() {
	if m.conn != nil {
		_ = m.conn.Close() // the server may have closed it already
	}
	if m.wire {
		m.conn = m.h.Dial()
	} else {
		m.conn = &plainConn{m.h}
	}
}

func (m *model) fail(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf(format+"\n%s", append(args, strings.Join(m.log[max(0, len(m.log)-40):], "\n"))...)
}

func (m *model) bytes() []byte {
	n := m.rnd.IntN([]int{1, 20, 300, 300, 20_000, 70_000}[m.rnd.IntN(6)] + 1)
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(m.rnd.Uint32())
	}
	return b
}

// replace puts b in place of the current blob.
func (m *model) replace(n *mName, b *mBlob, r *resttest.Response) {
	m.retire(n)
	n.written()
	b.etag, b.version = r.Header.Get("ETag"), r.Header.Get("x-ms-version-id")
	n.cur = b
	clear(n.staged)
}

// retire takes the current blob away.
func (m *model) retire(n *mName) {
	switch {
	case n.cur == nil:
	case m.ver:
		n.versions[n.cur.version] = n.cur
	case m.soft:
		n.asides = append(n.asides, n.cur)
	}
	n.cur = nil
}

// dress gives a new blob random metadata and tags.
func (m *model) dress(b *mBlob) (header []string) {
	if m.rnd.IntN(2) == 0 {
		b.meta = strconv.Itoa(m.rnd.IntN(1000))
		header = append(header, "x-ms-meta-m: "+b.meta)
	}
	if m.rnd.IntN(4) == 0 {
		b.tag = strconv.Itoa(m.rnd.IntN(3))
		header = append(header, "x-ms-tags: k="+b.tag)
		if m.rnd.IntN(2) == 0 {
			b.tag2 = true
			header[len(header)-1] += "&other=x"
		}
	}
	return header
}

func (m *model) create(name string, n *mName) {
	q := m.terms(n)
	want := q.admit(n, mCreate)
	header := q.header
	if m.rnd.IntN(12) == 0 && q.cond == "" {
		header = append(header, "If-None-Match: *")
		if n.cur != nil && q.lease == "" && (want == "" || q.iftags != "" && strings.HasSuffix(want, "ConditionNotMet")) {
			want = "409 BlobAlreadyExists"
		}
	}
	b := &mBlob{}
	body := ""
	switch m.rnd.IntN(6) {
	case 0:
		b.kind = "append"
		header = append(header, isAppend)
	case 1:
		b.kind = "page"
		b.content = make([]byte, 512*m.rnd.IntN(40))
		header = append(header, isPage, fmt.Sprintf("x-ms-blob-content-length: %d", len(b.content)))
	default:
		b.kind, b.content = "block", m.bytes()
		body = string(b.content)
		header = append(header, isBlock)
	}
	if want == "" && n.cur != nil && n.cur.kind != b.kind {
		want = "409 InvalidBlobType"
	}
	r := m.do(want, "PUT", name, "", body, append(header, m.dress(b)...)...)
	if want == "" {
		m.replace(n, b, r)
	}
}

func (m *model) stage(name string, n *mName) {
	id := string([]byte{'A' + byte(m.rnd.IntN(6))}) + "AAA"
	content := append(m.bytes(), 'x')
	want, header := "", []string(nil)
	if n.cur != nil {
		if n.lease != "" && m.rnd.IntN(4) > 0 {
			header = append(header, "x-ms-lease-id: "+n.lease)
			want = n.admitLease(n.lease, true)
		} else {
			want = n.admitLease("", true)
		}
		if want == "" && n.cur.kind != "block" {
			want = "409 InvalidBlobType"
		}
	}
	m.do(want, "PUT", name, "?comp=block&blockid="+id, string(content), header...)
	if want == "" {
		n.staged[id] = content
	}
}

func (m *model) commit(name string, n *mName) {
	q := m.terms(n)
	want := q.admit(n, mCreate)
	b := &mBlob{kind: "block"}
	if want == "" && n.cur != nil && n.cur.kind != "block" {
		want = "409 InvalidBlobType"
	}
	committed := map[string][]byte{}
	if n.cur != nil {
		for _, c := range slices.Backward(n.cur.blocks) { // of two with one id the first counts
			committed[c.id] = c.content
		}
	}
	doc, missing := "<BlockList>", false
	for range m.rnd.IntN(6) {
		ids := append(slices.Sorted(maps.Keys(n.staged)), slices.Sorted(maps.Keys(committed))...)
		id := "ZAAA"
		if len(ids) > 0 && m.rnd.IntN(20) > 0 {
			id = ids[m.rnd.IntN(len(ids))]
		}
		source := []string{"Latest", "Committed", "Uncommitted"}[m.rnd.IntN(3)]
		doc += "<" + source + ">" + id + "</" + source + ">"
		content, ok := n.staged[id]
		if source == "Committed" || source == "Latest" && !ok {
			content, ok = committed[id]
		}
		missing = missing || !ok
		b.blocks = append(b.blocks, mBlock{id, content})
		b.content = append(b.content, content...)
	}
	if want == "" && missing {
		want = "400 InvalidBlockList"
	}
	r := m.do(want, "PUT", name, "?comp=blocklist", doc+"</BlockList>", append(q.header, m.dress(b)...)...)
	if want == "" {
		m.replace(n, b, r)
	}
}

func (m *model) appendOp(name string, n *mName) {
	q := m.terms(n)
	want := q.admit(n, mWrite)
	content := append(m.bytes(), 'x')
	header := q.header
	if want == "" && n.cur.kind != "append" {
		want = "409 InvalidBlobType"
	}
	if m.rnd.IntN(12) == 0 {
		if want == "" && !n.cur.sealed { // a second seal writes nothing, and a broken lease stays
			n.cur.sealed = true
			n.written()
		}
		r := m.do(want, "PUT", name, "?comp=seal", "", header...)
		if want == "" {
			n.cur.etag = r.Header.Get("ETag")
		}
		return
	}
	if want == "" && n.cur.sealed {
		want = "409 BlobIsSealed"
	}
	if m.rnd.IntN(5) == 0 && n.cur != nil {
		at := len(n.cur.content) + m.rnd.IntN(2)
		header = append(header, fmt.Sprintf("x-ms-blob-condition-appendpos: %d", at))
		if want == "" && at != len(n.cur.content) {
			want = "412 AppendPositionConditionNotMet"
		}
	}
	r := m.do(want, "PUT", name, "?comp=appendblock", string(content), header...)
	if want != "" {
		return
	}
	if at := r.Header.Get("x-ms-blob-append-offset"); at != strconv.Itoa(len(n.cur.content)) {
		m.fail("appended at %s of %d", at, len(n.cur.content))
	}
	n.cur.content = append(slices.Clip(n.cur.content), content...)
	n.cur.appends++
	n.cur.etag = r.Header.Get("ETag")
	n.written()
}

func (m *model) pageOp(name string, n *mName) {
	q := m.terms(n)
	want := q.admit(n, mWrite)
	if want == "" && n.cur.kind != "page" {
		want = "409 InvalidBlobType"
	}
	if m.rnd.IntN(6) == 0 {
		size := 512 * m.rnd.IntN(40)
		header, action := append(q.header, fmt.Sprintf("x-ms-blob-content-length: %d", size)), m.rnd.IntN(2) == 0
		if action {
			header = append(header, "x-ms-sequence-number-action: increment")
		}
		r := m.do(want, "PUT", name, "?comp=properties", "", header...)
		if want == "" {
			resized := make([]byte, size)
			copy(resized, n.cur.content)
			if n.cur.content = resized; action {
				n.cur.seq++
			}
			n.cur.etag = r.Header.Get("ETag")
			n.written()
		}
		return
	}
	from := m.rnd.IntN(40)
	count := 1 + m.rnd.IntN([]int{2, 40}[m.rnd.IntN(2)])
	header := append(q.header, ranges(int64(from)*512, int64(from+count)*512))
	if m.rnd.IntN(10) == 0 {
		header = append(header, "x-ms-if-sequence-number-eq: 0")
		if want == "" && n.cur.seq != 0 {
			want = "412 SequenceNumberConditionNotMet"
		}
	}
	if want == "" && (from+count)*512 > len(n.cur.content) {
		want = "416 InvalidPageRange"
	}
	body, mode := "", "clear"
	data := make([]byte, count*512)
	if m.rnd.IntN(4) > 0 {
		mode = "update"
		for i := range data {
			data[i] = byte(m.rnd.Uint32())
		}
		body = string(data)
	}
	r := m.do(want, "PUT", name, "?comp=page", body, append(header, "x-ms-page-write: "+mode)...)
	if want == "" {
		n.cur.content = bytes.Clone(n.cur.content)
		copy(n.cur.content[from*512:], data)
		n.cur.etag = r.Header.Get("ETag")
		n.written()
	}
}

func (m *model) properties(name string, n *mName) {
	q := m.terms(n)
	want := q.admit(n, mWrite)
	if m.rnd.IntN(2) == 0 { // tags
		tag := ""
		doc := "<Tags><TagSet>"
		if m.rnd.IntN(4) > 0 {
			tag = strconv.Itoa(m.rnd.IntN(3))
			doc += "<Tag><Key>k</Key><Value>" + tag + "</Value></Tag>"
		}
		m.do(want, "PUT", name, "?comp=tags", doc+"</TagSet></Tags>", q.header...)
		if want == "" {
			c := *n.cur
			c.tag, c.tag2 = tag, false
			n.cur = &c
		}
		return
	}
	meta := strconv.Itoa(m.rnd.IntN(1000))
	r := m.do(want, "PUT", name, "?comp=metadata", "", append(q.header, "x-ms-meta-m: "+meta)...)
	if want == "" {
		c := *n.cur
		if m.ver {
			n.versions[n.cur.version] = n.cur
			c.version = r.Header.Get("x-ms-version-id")
		}
		c.meta, c.etag = meta, r.Header.Get("ETag")
		n.cur = &c
		n.written()
	}
}

func (m *model) snapshot(name string, n *mName) {
	q := m.terms(n)
	want := q.admit(n, mSnap)
	r := m.do(want, "PUT", name, "?comp=snapshot", "", q.header...)
	if want == "" {
		c := *n.cur
		n.snaps[r.Header.Get("x-ms-snapshot")] = &c
	}
}

// pick returns one of the ids, or one that is not there.
func (m *model) pick(of map[string]*mBlob) (string, *mBlob) {
	ids := slices.Sorted(maps.Keys(of))
	if len(ids) == 0 || m.rnd.IntN(20) == 0 {
		return "2020-01-01T00:00:00.0000000Z", nil
	}
	id := ids[m.rnd.IntN(len(ids))]
	if b := of[id]; !b.deleted {
		return id, b
	}
	return id, nil
}

func (m *model) remove(name string, n *mName) {
	if m.rnd.IntN(2) == 0 { // a snapshot or version
		of, key := n.snaps, "snapshot"
		if m.ver && m.rnd.IntN(2) == 0 {
			of, key = n.versions, "versionid"
		}
		id, b := m.pick(of)
		want := ""
		if b == nil {
			want = "404 BlobNotFound"
		}
		m.do(want, "DELETE", name, "?"+key+"="+id, "")
		if want == "" {
			if m.soft {
				c := *b
				c.deleted = true
				of[id] = &c
			} else {
				delete(of, id)
			}
		}
		return
	}
	q := m.terms(n)
	want := q.admit(n, mWrite)
	mode := []string{"", "include", "only"}[m.rnd.IntN(3)]
	header := q.header
	if mode != "" {
		header = append(header, "x-ms-delete-snapshots: "+mode)
	}
	for _, b := range n.snaps {
		if want == "" && mode == "" && !b.deleted {
			want = "409 SnapshotsPresent"
		}
	}
	m.do(want, "DELETE", name, "", "", header...)
	if want != "" {
		return
	}
	for id, b := range n.snaps {
		if m.soft && !b.deleted {
			c := *b
			c.deleted = true
			n.snaps[id] = &c
		} else if !b.deleted {
			delete(n.snaps, id)
		}
	}
	if mode != "only" {
		m.retire(n)
		n.lease, n.broken = "", false
		clear(n.staged)
	}
}

func (m *model) undelete(name string, n *mName) {
	want := ""
	if n.cur == nil && len(n.snaps)+len(n.versions)+len(n.asides) == 0 {
		want = "404 BlobNotFound"
	}
	m.do(want, "PUT", name, "?comp=undelete", "")
	for _, of := range []map[string]*mBlob{n.snaps, n.versions} {
		for id, b := range of {
			c := *b
			c.deleted = false
			of[id] = &c
		}
	}
	if len(n.asides) == 0 {
		return
	}
	if n.cur == nil {
		n.cur = n.asides[len(n.asides)-1]
		n.asides = n.asides[:len(n.asides)-1]
	}
	// The others are snapshots now, with ids that the listing tells.
	r := m.do("", "GET", "/acct/box", "?restype=container&comp=list&include=snapshots&prefix="+url.QueryEscape(name), "")
	for _, part := range strings.Split(string(r.Body), "<Snapshot>")[1:] {
		id, _, _ := strings.Cut(part, "<")
		if n.snaps[id] == nil && len(n.asides) > 0 {
			n.snaps[id] = n.asides[0]
			n.asides = n.asides[1:]
		}
	}
	if len(n.asides) > 0 {
		m.fail("%d blobs did not come back as snapshots: %s", len(n.asides), r)
	}
}

func (m *model) leaseOp(name string, n *mName) {
	q := mTerms{}
	want := q.admit(n, mLease)
	held := n.lease != "" && !n.broken
	switch m.rnd.IntN(4) {
	case 0, 1:
		if held && want == "" {
			want = "409 LeaseAlreadyPresent"
		}
		r := m.do(want, "PUT", name, "?comp=lease", "", "x-ms-lease-action: acquire", "x-ms-lease-duration: -1")
		if want == "" {
			n.lease, n.broken = r.Header.Get("x-ms-lease-id"), false
		}
	case 2:
		id := n.lease
		if id == "" || m.rnd.IntN(5) == 0 {
			id = idB
		}
		if want == "" && id != n.lease {
			want = "409 LeaseIdMismatchWithLeaseOperation"
		}
		m.do(want, "PUT", name, "?comp=lease", "", "x-ms-lease-action: release", "x-ms-lease-id: "+id)
		if want == "" {
			n.lease, n.broken = "", false
		}
	default:
		if want == "" && n.lease == "" {
			want = "409 LeaseNotPresentWithLeaseOperation"
		}
		m.do(want, "PUT", name, "?comp=lease", "", "x-ms-lease-action: break")
		if want == "" {
			n.broken = true
		}
	}
}

// copyOp copies a blob or snapshot over another name, or a snapshot over its own base.
func (m *model) copyOp(name string, n *mName) {
	from := m.order[m.rnd.IntN(len(m.order))]
	src, query := m.names[from].cur, ""
	if id, b := m.pick(m.names[from].snaps); b != nil && m.rnd.IntN(2) == 0 {
		src, query = b, "?snapshot="+id
	}
	if src == nil || query == "" && from == name {
		return
	}
	q := m.terms(n)
	want := q.admit(n, mCreate)
	if want == "" && n.cur != nil && n.cur.kind != src.kind {
		want = "409 InvalidBlobType"
	}
	source := "x-ms-copy-source: http://127.0.0.1" + m.target(from, query)
	r := m.do(want, "PUT", name, "", "", append(q.header, source)...)
	if want == "" {
		c := *src
		c.tag, c.tag2, c.deleted = "", false, false
		m.replace(n, &c, r)
	}
}

func (m *model) expect(b *mBlob, r *resttest.Response, what string) {
	m.t.Helper()
	kind := map[string]string{"block": "BlockBlob", "append": "AppendBlob", "page": "PageBlob"}[b.kind]
	tags := 0
	if b.tag != "" {
		tags++
	}
	if b.tag2 {
		tags++
	}
	count := ""
	if tags > 0 {
		count = strconv.Itoa(tags)
	}
	got := []string{r.Header.Get("ETag"), r.Header.Get("x-ms-blob-type"), r.Header.Get("x-ms-meta-m"), r.Header.Get("x-ms-tag-count"), r.Header.Get("x-ms-version-id")}
	if want := []string{b.etag, kind, b.meta, count, b.version}; !slices.Equal(got, want) {
		m.fail("%s: want %q, got %q", what, want, got)
	}
	switch {
	case b.kind == "append" && r.Header.Get("x-ms-blob-committed-block-count") != strconv.Itoa(b.appends):
		m.fail("%s: %s blocks of %d", what, r.Header.Get("x-ms-blob-committed-block-count"), b.appends)
	case b.kind == "append" && (r.Header.Get("x-ms-blob-sealed") == "true") != b.sealed:
		m.fail("%s: sealed is %q, want %v", what, r.Header.Get("x-ms-blob-sealed"), b.sealed)
	case b.kind == "page" && r.Header.Get("x-ms-blob-sequence-number") != strconv.FormatInt(b.seq, 10):
		m.fail("%s: sequence number %s, want %d", what, r.Header.Get("x-ms-blob-sequence-number"), b.seq)
	}
}

func (m *model) read(name string, n *mName) {
	b, query, q, want := n.cur, "", mTerms{}, ""
	switch m.rnd.IntN(4) {
	case 0:
		var id string
		id, b = m.pick(n.snaps)
		query = "?snapshot=" + id
	case 1:
		if !m.ver {
			return
		}
		var id string
		id, b = m.pick(n.versions)
		query = "?versionid=" + id
	default:
		q = m.terms(n)
		want = q.admit(n, mRead)
	}
	if b == nil {
		want = "404 BlobNotFound"
	}
	method := []string{"GET", "HEAD"}[m.rnd.IntN(2)]
	if want != "" {
		m.do(want, method, name, query, "", q.header...)
		return
	}
	whole := b.content
	if method == "GET" && len(whole) > 0 && m.rnd.IntN(2) == 0 {
		from := m.rnd.IntN(len(whole))
		to := from + 1 + m.rnd.IntN(len(whole)-from)
		q.header = append(q.header, ranges(int64(from), int64(to)))
		whole = whole[from:to]
	}
	r := m.do("", method, name, query, "", q.header...)
	m.expect(b, r, "read")
	if method == "GET" && !bytes.Equal(r.Body, whole) {
		m.fail("read %d bytes that are not the %d written", len(r.Body), len(whole))
	}
}

// look holds listings, searches and block lists to the model.
func (m *model) look(name string, n *mName) {
	switch m.rnd.IntN(3) {
	case 0:
		r := m.do("", "GET", "/acct/box", "?restype=container&comp=list", "")
		var want, got []string
		for _, name := range m.order {
			if b := m.names[name].cur; b != nil {
				want = append(want, fmt.Sprintf("%s %d", name, len(b.content)))
			}
		}
		for _, part := range strings.Split(string(r.Body), "<Blob>")[1:] {
			name, _, _ := strings.Cut(strings.TrimPrefix(part, "<Name>"), "<")
			_, rest, _ := strings.Cut(part, "<Content-Length>")
			size, _, _ := strings.Cut(rest, "<")
			got = append(got, name+" "+size)
		}
		if !slices.Equal(want, got) {
			m.fail("listed %q, want %q", got, want)
		}
	case 1:
		tag := strconv.Itoa(m.rnd.IntN(3))
		r := m.do("", "GET", "/acct", "?comp=blobs&where="+url.QueryEscape("k='"+tag+"'"), "")
		var want, got []string
		for _, name := range m.order {
			if b := m.names[name].cur; b != nil && b.tag == tag {
				want = append(want, name)
			}
		}
		for _, part := range strings.Split(string(r.Body), "<Blob>")[1:] {
			name, _, _ := strings.Cut(strings.TrimPrefix(part, "<Name>"), "<")
			got = append(got, name)
		}
		if !slices.Equal(want, got) {
			m.fail("found %q by tag, want %q", got, want)
		}
	default:
		want := ""
		switch {
		case n.cur == nil && len(n.staged) == 0:
			want = "404 BlobNotFound"
		case n.cur != nil && n.cur.kind != "block":
			want = "409 InvalidBlobType"
		}
		r := m.do(want, "GET", name, "?comp=blocklist&blocklisttype=all", "")
		if want != "" {
			return
		}
		one := func(id string, size int) string {
			b, _ := base64.StdEncoding.DecodeString(id)
			return fmt.Sprintf("<Block><Name>%s</Name><Size>%d</Size></Block>", base64.StdEncoding.EncodeToString(b), size)
		}
		var committed, staged strings.Builder
		if n.cur != nil {
			for _, b := range n.cur.blocks {
				committed.WriteString(one(b.id, len(b.content)))
			}
		}
		for _, id := range slices.Sorted(maps.Keys(n.staged)) {
			staged.WriteString(one(id, len(n.staged[id])))
		}
		for element, list := range map[string]string{"CommittedBlocks": committed.String(), "UncommittedBlocks": staged.String()} {
			text := "<" + element + ">" + list + "</" + element + ">"
			if list == "" {
				text = "<" + element + " />"
			}
			if !strings.Contains(string(r.Body), text) {
				m.fail("block list %s, want %s", r.Body, text)
			}
		}
	}
}

func (m *model) run(steps, restarts int) {
	for m.step = range steps {
		if m.step%1000 == 0 {
			m.dial()
			m.log = m.log[max(0, len(m.log)-50):]
		}
		if m.step%(steps/(restarts+1)) == steps/(restarts+1)-1 {
			m.log = append(m.log, "restart")
			m.h.restart(m.t)
			m.dial()
		}
		if m.step%5000 == 2500 {
			require.NoError(m.t, m.h.svc.blobs.Sweep(context.Background()))
		}
		name := m.order[m.rnd.IntN(len(m.order))]
		n := m.names[name]
		op := m.rnd.IntN(100)
		// Histories are kept short, as the model's answers cost what they hold.
		if len(n.snaps)+len(n.versions)+len(n.asides) > 40 {
			m.prune(name, n)
		}
		switch {
		case op < 10:
			m.create(name, n)
		case op < 17:
			m.stage(name, n)
		case op < 24:
			m.commit(name, n)
		case op < 34:
			m.appendOp(name, n)
		case op < 46:
			m.pageOp(name, n)
		case op < 54:
			m.properties(name, n)
		case op < 58:
			m.snapshot(name, n)
		case op < 62:
			m.remove(name, n)
		case op < 64:
			m.undelete(name, n)
		case op < 69:
			m.leaseOp(name, n)
		case op < 72:
			m.copyOp(name, n)
		case op < 78:
			m.look(name, n)
		default:
			m.read(name, n)
		}
	}
}

// prune takes a name and its history away, by the operations that there are; with soft delete time passes.
func (m *model) prune(name string, n *mName) {
	for range 2 {
		if n.lease != "" && n.cur != nil {
			m.do("", "PUT", name, "?comp=lease", "", "x-ms-lease-action: release", "x-ms-lease-id: "+n.lease)
		}
		if n.cur != nil {
			m.do("", "DELETE", name, "", "", "x-ms-delete-snapshots: include")
			m.retire(n)
			n.lease, n.broken = "", false
			clear(n.staged)
			for id, b := range n.snaps {
				c := *b
				c.deleted = true
				n.snaps[id] = &c
			}
		}
		for id, b := range n.snaps {
			if !b.deleted {
				m.do("", "DELETE", name, "?snapshot="+id, "")
			}
		}
		for id, b := range n.versions {
			if !b.deleted {
				m.do("", "DELETE", name, "?versionid="+id, "")
			}
			delete(n.versions, id)
		}
		clear(n.snaps)
		n.asides = nil
	}
	if m.soft {
		m.ahead.Store(int64(8 * 24 * time.Hour))
		require.NoError(m.t, m.h.svc.blobs.Sweep(context.Background()))
		m.ahead.Store(0)
		for _, name := range m.order { // what other names had deleted is gone too
			n := m.names[name]
			for _, of := range []map[string]*mBlob{n.snaps, n.versions} {
				for id, b := range of {
					if b.deleted {
						delete(of, id)
					}
				}
			}
			n.asides = nil
			clear(n.staged) // a week has passed
		}
	}
}

// TestModel runs random operations over all features against the model on the plain service, with restarts in between.
func TestModel(t *testing.T) {
	steps := modelSteps
	if testing.Short() {
		steps = 2_000
	}
	runModel(t, steps, false)
}

// TestModelOnTheWire is TestModel, shorter, with every operation a request.
func TestModelOnTheWire(t *testing.T) { runModel(t, 2_000, true) }

func runModel(t *testing.T, steps int, wire bool) {
	seed := replay.Seed(t)
	for _, c := range []struct {
		name      string
		soft, ver bool
		atOnce    int // with few, lists of blocks are laid in several transactions
	}{{"plain", false, false, 2}, {"soft delete", true, false, 0}, {"versions", true, true, 3}} {
		t.Run(c.name, func(t *testing.T) {
			m := newModel(t, seed, c.soft, c.ver, c.atOnce)
			m.wire = wire
			m.run(steps, 3)
			m.dial()
			for _, name := range m.order {
				m.prune(name, m.names[name])
			}
			m.ahead.Store(int64(30 * 24 * time.Hour))
			require.NoError(t, m.h.svc.blobs.Sweep(context.Background()))
			m.h.empty(t)
		})
	}
}
