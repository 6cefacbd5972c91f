package blob

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/tagquery"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/md5lanes"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// sourceURL is the address of a copy's source.
type sourceURL struct {
	text  string
	url   *url.URL
	query params
	// own tells that it is a blob of this server, which is then read inside.
	own             bool
	account         string
	secondary       bool
	path            string // as sent, for the signature
	container, blob string
}

// params is the query of a source.
type params []protocol.Pair

// Get implements auth.Fields.
func (p params) Get(name string) (string, bool) {
	for i := range p {
		if strings.EqualFold(p[i].Name, name) {
			return p[i].Value, true
		}
	}
	return "", false
}

// All implements auth.Fields.
func (p params) All(visit func(name, value string)) {
	for i := range p {
		visit(p[i].Name, p[i].Value)
	}
}

// maxSourceURL is the longest x-ms-copy-source, in bytes (REST page "Copy Blob").
const maxSourceURL = 2 << 10

// decodeSource reads x-ms-copy-source.
func (s *Service) decodeSource(r *rest.Request) (*sourceURL, error) {
	text := r.Header("x-ms-copy-source")
	bad := protocol.InvalidHeader("x-ms-copy-source", text)
	if text == "" {
		return nil, protocol.MissingHeader("x-ms-copy-source")
	}
	if len(text) > maxSourceURL+4*protocol.MaxBlobName {
		return nil, bad
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, bad
	}
	src := &sourceURL{text: clone(text), url: u}
	_, rest, _ := strings.Cut(src.text, "://")
	path, query, _ := strings.Cut(rest, "?")
	query, _, _ = strings.Cut(query, "#")
	if i := strings.IndexByte(path, '/'); i >= 0 {
		src.path = path[i:]
	}
	for item := range strings.SplitSeq(query, "&") {
		if item == "" {
			continue
		}
		name, value, _ := strings.Cut(item, "=")
		name, err1 := url.QueryUnescape(name)
		value, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil {
			return nil, bad
		}
		src.query = append(src.query, protocol.Pair{Name: name, Value: value})
	}
	if s.claim(r, src) && (src.container == "" || src.blob == "") {
		return nil, bad
	}
	return src, nil
}

// claim recognises a source on this server, by host or by path, and fills in what it names.
func (s *Service) claim(r *rest.Request, src *sourceURL) bool {
	host := src.url.Host
	name, suffix, hosted := strings.Cut(host, ".blob.")
	path := strings.TrimPrefix(src.path, "/")
	switch {
	case hosted && (s.isOwn(r, suffix) || strings.EqualFold(name, account.DevName)):
		// The emulator's account is nowhere else, and az CLI names it in the public cloud whatever the connection string says.
	case !hosted && s.isOwn(r, host):
		name, path, _ = strings.Cut(path, "/")
	default:
		return false
	}
	src.account = strings.TrimSuffix(strings.ToLower(name), "-secondary")
	src.secondary = len(src.account) != len(name)
	container, blob, found := strings.Cut(path, "/")
	if !found {
		container, blob = "$root", container
	}
	var err1, err2 error
	src.container, err1 = url.PathUnescape(container)
	src.blob, err2 = url.PathUnescape(blob)
	src.blob = rest.BlobName(src.blob)
	src.own = err1 == nil && err2 == nil
	return true
}

// isOwn reports whether a host, or what follows <account>.blob. in one, is this server as the request has reached it: the same
// words, or the same port on an address of this machine that it listens on.
func (s *Service) isOwn(r *rest.Request, host string) bool {
	own := r.Header("host")
	if _, suffix, hosted := strings.Cut(own, ".blob."); hosted {
		if strings.EqualFold(suffix, host) {
			return true
		}
	} else if strings.EqualFold(own, host) {
		return true
	}
	name, port, found := strings.Cut(host, ":")
	local := r.Local()
	if !found || port != strconv.Itoa(int(local.Port())) {
		return false
	}
	if strings.EqualFold(name, "localhost") || strings.HasSuffix(strings.ToLower(name), ".localhost") {
		return local.Addr().IsLoopback()
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && addr == local.Addr()
}

// noHeaders are the headers of a source that is read inside, but for credentials.
type noHeaders struct{ authorization string }

func (h noHeaders) Get(name string) (string, bool) {
	return h.authorization, h.authorization != "" && strings.EqualFold(name, "authorization")
}

func (h noHeaders) All(visit func(name, value string)) {
	if h.authorization != "" {
		visit("Authorization", h.authorization)
	}
}

// admit decides whether a request may read a source on this server, and what else t asks of it: by the source's own SAS, by the token
// that is sent for it, because it is public or, with t.owner, by the request's own key or token if that is for the same account.
// Only Copy Blob is let in by the last; the synchronous forms read a source as a stranger would. A SAS of the destination opens no
// source: a user delegation SAS has its maker's roles, but is for what was signed.
func (s *Service) admit(r *rest.Request, src *sourceURL, t *fetchTerms) (*account.Account, error) {
	tags := t.tags != nil || t.copyTags
	acct := s.accounts.Lookup(src.account)
	if acct == nil {
		return nil, protocol.ErrResourceNotFound
	}
	_, signed := src.query.Get("sig")
	token := r.Header("x-ms-copy-source-authorization")
	if t.owner && !signed && token == "" && acct.Name == r.AccountName {
		allowed := func(a auth.Action) bool {
			return r.Grant.Scheme == auth.SharedKey || r.Grant.Scheme == auth.Bearer && r.Grant.Roles(a, src.container)
		}
		if allowed(auth.ActionRead) && (!tags || allowed(auth.ActionTags)) {
			return acct, nil
		}
	}
	version := r.Version
	if text, ok := src.query.Get("sv"); ok {
		if v, ok := protocol.ParseVersion(text, false); ok {
			version = v
		}
	}
	grant, err := s.authorizer.Authorize(r.Context, acct, &auth.Request{
		Service: auth.Blob, Method: "GET", Account: acct.Name, Secondary: src.secondary, RawPath: src.path,
		Headers: noHeaders{token}, Query: src.query, ContentLength: -1, Version: version, Client: r.Client, HTTPS: r.HTTPS, Now: r.Now,
		Container: src.container, Blob: src.blob,
	}, &readsBlob)
	if err == nil && tags {
		err = grant.Permits(&besideTags, src.container)
	}
	return acct, err
}

// verified turns what was wrong with a source into the answer of a copy: the status is the source's.
func verified(err error) error {
	var e *protocol.Error
	if !errors.As(err, &e) || e.Is(protocol.ErrSourceConditionNotMet) || e.Is(protocol.ErrInvalidRange) || e.Code == protocol.ErrCannotVerifyCopySource.Code {
		return err
	}
	out := protocol.ErrCannotVerifyCopySource.Saying(e.Message).Because(err)
	out.Status = e.Status
	status := strconv.Itoa(e.Status)
	return out.With("CopySourceStatusCode", status).With("CopySourceErrorCode", e.Code).With("CopySourceErrorMessage", e.Message).
		WithHeader("x-ms-copy-source-status-code", status).WithHeader("x-ms-copy-source-error-code", e.Code)
}

// fetched is a source, or a range of one, ready to become content: its properties, and inline bytes or chunks. Chunks of this
// server's own blobs are shared, not copied; made are those that are new and protected until done.
type fetched struct {
	store  engine.Store
	rec    *record.Blob // properties of the source
	size   int64
	inline []byte
	pieces []record.Piece
	made   []engine.Ref
	crc64  uint64
	md5    [16]byte // if it was asked for
	tags   []protocol.Pair
	// laid is the page map or the long chunk list of a source that is to be copied as such; it is pinned until done.
	laid *laidSource
}

func (f *fetched) done() {
	f.store.Forget(f.made...)
	if f.laid != nil {
		f.laid.done()
	}
}

// fetchTerms are what a request asks of its source.
type fetchTerms struct {
	cond protocol.Conditions
	tags *tagquery.Where
	// copyTags tells that the source's tags go with the content.
	copyTags bool
	rng      protocol.Range
	ranged   bool
	limit    int64 // bytes
	wantMD5  bool
	blocks   bool   // keep the list of blocks
	pages    bool   // copy a page map, or a long chunk list, as such
	archive  bool   // an archived source will do
	listed   bool   // content is to be a chunk list, as append blobs have it
	owner    bool   // the caller's rights at the destination's account open a source in it too
	query    string // what is asked of a source elsewhere besides its content
}

// decodeFetch reads the conditions on a source.
func decodeFetch(r *rest.Request, limit int64) (t fetchTerms, err error) {
	t.limit = limit
	if t.cond, err = protocol.ParseConditions(r, &protocol.SourceConditions); err != nil {
		return t, err
	}
	if text := r.Header("x-ms-source-if-tags"); text != "" {
		if t.tags, err = tagquery.ParseWhere(text, tagquery.If); err != nil {
			return t, err
		}
	}
	if text := r.Header("x-ms-source-range"); text != "" {
		if t.rng, t.ranged = protocol.ParseRange(text); !t.ranged {
			return t, protocol.InvalidHeader("x-ms-source-range", text)
		}
	}
	return t, nil
}

// check holds a source to the terms and finds the bytes that are wanted.
func (t *fetchTerms) check(rec *record.Blob, now engine.Stamp) (offset, length int64, err error) {
	if rec == nil {
		return 0, 0, protocol.ErrBlobNotFound
	}
	if err := t.cond.Read(rec.Changed, protocol.Newest); err != nil {
		return 0, 0, t.unmet(err == protocol.ErrNotModified)
	}
	if t.tags != nil && !t.tags.Matches("", rec.Tags) {
		return 0, 0, t.unmet(false)
	}
	if !t.archive {
		if err := rec.Readable(now); err != nil {
			return 0, 0, err
		}
	}
	length = rec.Size
	if t.ranged {
		var ok bool
		if offset, length, ok = t.rng.Within(rec.Size); !ok {
			return 0, 0, protocol.ErrInvalidRange
		}
	}
	if length > t.limit {
		return 0, 0, protocol.ErrRequestBodyTooLarge
	}
	return offset, length, nil
}

// unmet is the refusal of a source whose conditions do not hold. The synchronous forms answer 304 where a read of the source would,
// as recorded by clients of the service; Copy Blob knows 412 only.
func (t *fetchTerms) unmet(notModified bool) error {
	if notModified && !t.owner {
		return protocol.ErrCopySourceNotModified
	}
	return protocol.ErrSourceConditionNotMet
}

// fetch gets hold of a source.
func (s *Service) fetch(r *rest.Request, src *sourceURL, t *fetchTerms) (*fetched, error) {
	if !src.own {
		ctx, done := r.WhileConnected()
		defer done()
		return s.fetchRemote(ctx, &pullSource{src: src, authorization: r.Header("x-ms-copy-source-authorization")}, t, nil)
	}
	acct, err := s.admit(r, src, t)
	if err != nil {
		return nil, verified(err)
	}
	f, err := s.fetchOwn(r.Context, acct, src, t, engine.StampOf(r.Now))
	return f, verified(err)
}

func (s *Service) fetchOwn(ctx context.Context, acct *account.Account, src *sourceURL, t *fetchTerms, now engine.Stamp) (*fetched, error) {
	sel, err := src.selector()
	if err != nil {
		return nil, err
	}
	c, err := s.container(ctx, acct.Name, src.container)
	if err != nil {
		return nil, err
	}
	p := newPlace(acct, c.Generation, src.blob)
	for attempt := 0; ; attempt++ {
		f, err := s.fetchPlace(ctx, p, sel, t, now)
		if !errors.Is(err, engine.ErrReleased) || attempt == 3 {
			return f, err
		}
	}
}

// selector reads snapshot and versionid of a source.
func (src *sourceURL) selector() (s selector, err error) {
	for _, q := range [...]struct {
		name string
		to   *engine.Stamp
	}{{"snapshot", &s.snapshot}, {"versionid", &s.version}} {
		text, _ := src.query.Get(q.name)
		if text == "" {
			continue
		}
		stamp, ok := protocol.ParseSnapshotID(text)
		if !ok || stamp == 0 {
			return s, protocol.InvalidQuery(q.name, text, "")
		}
		*q.to = stamp
	}
	return s, nil
}

// fetchPlace shares what it can of a blob of this server and copies the rest.
func (s *Service) fetchPlace(ctx context.Context, p *place, sel selector, t *fetchTerms, now engine.Stamp) (*fetched, error) {
	f := &fetched{store: s.store}
	rd := &reading{}
	pages := false
	var whole []record.Piece // of the whole chunks in rd.spans, one for each; a zero Ref for a part
	err := s.store.View(ctx, p.key, func(v engine.Reader) (err error) {
		if rd.rec, rd.slot, err = sel.find(v, p); err != nil {
			return err
		}
		if rd.offset, rd.length, err = t.check(rd.rec, now); err != nil {
			return err
		}
		if pages = rd.rec.Content.Kind == record.ContentPages; pages {
			return nil
		}
		if rd.rec.Content.Kind == record.ContentList || rd.rec.Content.Kind == record.ContentChunks {
			whole, err = rd.locatePieces(v, p, s.atOnce)
			return err
		}
		return rd.locate(v, p)
	})
	switch {
	case errors.Is(err, errLong) && t.pages && !t.wantMD5:
		return s.fetchLaid(ctx, p, sel, t, now, record.ContentList)
	case errors.Is(err, errLong):
		return s.fetchBytes(ctx, p, sel, t, now)
	case err != nil:
		return nil, err
	case pages:
		return s.fetchPages(ctx, p, sel, t, now)
	}
	f.rec, f.size, f.inline, f.tags = rd.rec, rd.length, rd.inline, rd.rec.Tags
	if f.inline != nil {
		in := sumBytes(f.inline, t.wantMD5)
		f.crc64, f.md5 = in.crc64, in.md5
		return f, nil
	}
	var digest *md5lanes.Digest
	if t.wantMD5 {
		digest = md5lanes.New(f.size)
		defer digest.Close()
	}
	for i, sp := range rd.spans {
		c := record.Piece{}
		if whole != nil {
			c = whole[i]
		}
		if c.Ref == (engine.Ref{}) || digest != nil {
			made, err := s.copySpan(ctx, sp, c.Ref == (engine.Ref{}), digest)
			if err != nil {
				f.done()
				return nil, err
			}
			for _, m := range made {
				f.made = append(f.made, m.Ref)
				f.add(record.Piece{Chunk: m, First: c.First, Block: c.Block})
				c.First = false
			}
		}
		if c.Ref != (engine.Ref{}) {
			f.add(c)
		}
	}
	if digest != nil {
		f.md5 = digest.Sum()
	}
	if !t.blocks {
		for i := range f.pieces {
			f.pieces[i].First, f.pieces[i].Block = false, ""
		}
	}
	return f, nil
}

func (f *fetched) add(p record.Piece) {
	f.pieces = append(f.pieces, p)
	f.crc64 = protocol.CombineCRC64(f.crc64, p.CRC64, p.Size)
}

// locatePieces finds the wanted bytes as spans, and for each span that is a whole chunk the piece. errLong if there are more than
// most.
func (rd *reading) locatePieces(v engine.Reader, p *place, most int) (whole []record.Piece, err error) {
	if rd.length == 0 {
		return nil, nil
	}
	end := rd.offset + rd.length
	add := func(at int64, c record.Piece) {
		from, to := max(rd.offset, at), min(end, at+c.Size)
		if from >= to {
			return
		}
		rd.spans = append(rd.spans, span{ref: c.Ref, offset: from - at, length: to - from})
		if to-from < c.Size {
			c.Ref = engine.Ref{}
		}
		c.Block = clone(c.Block)
		whole = append(whole, c)
	}
	found := int64(0)
	if rd.rec.Content.Kind == record.ContentChunks {
		for _, c := range rd.rec.Content.Chunks {
			add(found, record.Piece{Chunk: c})
			found += c.Size
		}
		return whole, nil
	}
	err = visitList(v, p, rd.rec.Content.ID, rd.offset, func(at int64, c *record.Piece) bool {
		if at >= end || len(whole) > most {
			return false
		}
		add(at, *c)
		return true
	})
	if err == nil && len(whole) > most {
		err = errLong
	}
	return whole, err
}

// copySpan reads a span, to sum it and, with keep, to store it again.
func (s *Service) copySpan(ctx context.Context, sp span, keep bool, digest *md5lanes.Digest) (made []engine.Chunk, err error) {
	from := &spanReader{ctx: ctx, store: s.store, spans: []span{sp}}
	if err := from.next(); err != nil {
		return nil, err
	}
	defer from.Close()
	var r io.Reader = from
	if digest != nil {
		r = io.TeeReader(from, digest)
	}
	if !keep {
		_, err := io.Copy(io.Discard, struct{ io.Reader }{r})
		return nil, err
	}
	for left := sp.length; left > 0; {
		c, err := s.store.Put(ctx, r, min(left, engine.MaxChunk))
		if err != nil {
			for i := range made {
				s.store.Forget(made[i].Ref)
			}
			return nil, err
		}
		made = append(made, c)
		left -= c.Size
	}
	return made, nil
}

// adopt makes content of what was fetched. The record's size is set by the caller.
func (t *Txn) adopt(f *fetched) record.Content {
	listed := len(f.pieces) > record.MaxDirect
	for i := range f.pieces {
		t.Retain(f.pieces[i].Ref)
		listed = listed || f.pieces[i].First
	}
	if len(f.pieces) == 0 {
		return record.Content{}
	}
	if !listed {
		c := record.Content{Kind: record.ContentChunks}
		for i := range f.pieces {
			c.Chunks = append(c.Chunks, f.pieces[i].Chunk)
		}
		return c
	}
	w := listWriter{t: t, id: t.Stamp()}
	for i := range f.pieces {
		w.add(&f.pieces[i])
	}
	w.flush()
	return record.Content{Kind: record.ContentList, ID: w.id}
}

// read streams what was fetched.
func (f *fetched) read(ctx context.Context) io.Reader {
	if f.inline != nil {
		return newBytesBody(f.inline)
	}
	spans := make([]span, len(f.pieces))
	for i := range f.pieces {
		spans[i] = span{ref: f.pieces[i].Ref, length: f.pieces[i].Size}
	}
	return &lazyReader{spanReader{ctx: ctx, store: f.store, spans: spans}}
}

// lazyReader opens its first span when it is read.
type lazyReader struct{ spanReader }

func (l *lazyReader) Read(p []byte) (int, error) {
	if l.open == nil && len(l.spans) > 0 {
		if err := l.next(); err != nil {
			return 0, err
		}
	}
	return l.spanReader.Read(p)
}
