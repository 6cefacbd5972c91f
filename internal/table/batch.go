package table

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/table/entity"
	"github.com/blobd/blobd/internal/table/odata"
	"github.com/blobd/blobd/internal/view"
)

// maxChanges is the most operations of a transaction.
const maxChanges = 100

// partRequest is an operation within a batch.
type partRequest struct {
	protocol.PartRequest
	target odata.Target
	query  string // of the URL, as sent
	kind   changeKind
	needs  *auth.Needs
	known  [len(partHeaders)]string // values of partHeaders
}

// partHeaders are the header lines that matter in an operation within a batch.
var partHeaders = [...]string{"accept", "content-id", "content-type", "if-match", "if-none-match", "prefer", "x-http-method"}

// The numbers of partHeaders.
const (
	partAccept = iota
	partContentID
	partContentType
	partIfMatch
	partIfNoneMatch
	partPrefer
	partMethod
)

// note picks the headers that matter: the first of each.
func (p *partRequest) note() {
	var seen [len(partHeaders)]bool
	for i := range p.Header {
		f := &p.Header[i]
		for k, name := range partHeaders {
			if len(name) == len(f.Name) && !seen[k] && strings.EqualFold(name, f.Name) {
				p.known[k], seen[k] = f.Value, true
				break
			}
		}
	}
}

// header returns one of partHeaders, "" if there is none.
func (p *partRequest) header(lower string) string {
	for k, name := range partHeaders {
		if name == lower {
			return p.known[k]
		}
	}
	return ""
}

// QueryOK implements params.
func (p *partRequest) QueryOK(lower string) (string, bool) {
	for rest := p.query; rest != ""; {
		var one string
		one, rest, _ = strings.Cut(rest, "&")
		name, value, _ := strings.Cut(one, "=")
		if name, err := odata.Unescape(name); err != nil || !strings.EqualFold(name, lower) {
			continue
		}
		v, err := odata.Unescape(strings.ReplaceAll(value, "+", " "))
		return v, err == nil
	}
	return "", false
}

// format is the format of the operation's answer. A refusal to serve one is not worth failing the transaction for.
func (p *partRequest) format(r *rest.Request, otherwise odata.Format) odata.Format {
	format, _ := p.QueryOK("$format")
	accept := p.known[partAccept]
	if format == "" && accept == "" {
		return otherwise
	}
	f, err := odata.Negotiate(r.Version, format, accept)
	if err != nil {
		return otherwise
	}
	return f
}

// batch is POST /$batch: an entity group transaction, or one query alone.
func (c *call) batch(r *rest.Request) error {
	if err := c.readBody(r); err != nil {
		return err
	}
	boundary, err := protocol.MultipartBoundary(r.Header("content-type"))
	if err != nil {
		return protocol.ErrInvalidInput.Because(err)
	}
	outer, err := c.parts.Split(c.in, boundary, 1)
	if err != nil || len(outer) != 1 {
		return protocol.ErrInvalidInput.Because(err)
	}
	c.format = errorFormat(r)
	set := outer[0]
	if contentType, _ := set.Header.Get("Content-Type"); !strings.HasPrefix(strings.ToLower(contentType), "multipart/") {
		var p partRequest
		if err := c.parsePart(r, &set, &p, nil); err != nil {
			return err
		}
		return c.batchQuery(r, &p)
	}
	return c.transaction(r, &set)
}

// parsePart reads the operation in a part and what its URL names. before is the one before it, if any: most of a batch are alike.
func (c *call) parsePart(r *rest.Request, part *protocol.Part, p, before *partRequest) (err error) {
	if p.PartRequest, err = part.Request(); err != nil {
		return protocol.ErrInvalidInput.Because(err)
	}
	if before != nil && p.Header.Same(before.Header) {
		p.known = before.known
	} else {
		p.note()
	}
	if before != nil && p.Target == before.Target {
		p.target, p.query = before.target, before.query
		return nil
	}
	path := p.Target
	if _, after, absolute := strings.Cut(path, "://"); absolute {
		_, path, _ = strings.Cut(after, "/")
	}
	path, p.query, _ = strings.Cut(strings.TrimPrefix(path, "/"), "?")
	if r.PathStyle {
		path = withoutAccount(path, r)
	}
	if p.target, err = odata.ParsePath(path); err != nil {
		return err
	}
	// This is the answer, not work to be done: a batch is of entities, and what a part asks of tables, of the service or of another
	// batch is an operation that the resource does not have, which is 501 on the wire.
	if p.target.Set || p.target.Table == "" || p.target.Table == "$batch" {
		return protocol.ErrNotImplemented
	}
	return nil
}

// withoutAccount cuts the account's name off a path that begins with it.
func withoutAccount(path string, r *rest.Request) string {
	rest, ok := strings.CutPrefix(path, r.AccountName)
	if ok && r.Secondary {
		rest, ok = strings.CutPrefix(rest, "-secondary")
	}
	if ok && strings.HasPrefix(rest, "/") {
		return rest[1:]
	}
	return path
}

// classify tells what an operation within a change set does.
func (p *partRequest) classify() (err error) {
	method := p.Method
	if tunnelled := p.known[partMethod]; tunnelled != "" && method == "POST" {
		method = strings.ToUpper(tunnelled)
	}
	switch {
	case method == "GET":
		return protocol.ErrInvalidInput.Saying("A query operation cannot be in a change set.")
	case p.target.Entity:
		p.kind, p.needs, err = changeOf(method, p.known[partIfMatch] != "")
		return err
	case method == "POST":
		p.kind, p.needs = insert, &needsInsert
		return nil
	}
	return protocol.ErrMethodNotAllowed
}

// errTooManyChanges is found while the change set is taken apart. The service says it of the first operation or of the hundredth.
var errTooManyChanges = protocol.ErrInvalidInput.Saying("The batch request operation exceeds the maximum 100 changes per change set.")

// transaction does the operations of a change set, all or none.
func (c *call) transaction(r *rest.Request, set *protocol.Part) error {
	contentType, _ := set.Header.Get("Content-Type")
	boundary, err := protocol.MultipartBoundary(contentType)
	if err != nil {
		return protocol.ErrInvalidInput.Because(err)
	}
	parts, err := c.parts.Split(set.Body, boundary, maxChanges)
	if errors.Is(err, protocol.ErrTooManyParts) {
		return c.batchFailure(r, maxChanges-1, errTooManyChanges)
	}
	if err != nil {
		return protocol.ErrInvalidInput.Because(err)
	}
	if len(parts) == 0 {
		c.openChangeSet(r)
		return c.closeChangeSet(r)
	}
	read, err := c.parseAll(r, parts)
	ops := c.ops
	for i := range read {
		if err := r.Grant.Permits(ops[i].needs, ops[i].target.Table); err != nil {
			return err
		}
	}
	if err != nil {
		return c.batchFailure(r, read, err)
	}
	if i, err := c.prepareAll(r, ops); err != nil {
		return c.batchFailure(r, i, err)
	}
	t, err := c.find(r.Context, r.AccountName, ops[0].target.Table)
	if err != nil {
		return c.batchFailure(r, 0, err)
	}
	if err := r.HoldAnswer(answerSize(ops)); err != nil {
		return err
	}
	stamp, err := c.write(r.Context, t, c.changes)
	var failed *changeError
	if errors.As(err, &failed) && errors.As(failed.err, new(*protocol.Error)) {
		return c.batchFailure(r, failed.index, failed.err)
	}
	if err != nil {
		return err
	}
	return c.batchSuccess(r, t, ops, uint64(stamp))
}

// answerSize is about how long the answer of a transaction is going to be, in bytes.
func answerSize(ops []partRequest) (n int) {
	for i := range ops {
		n += 512
		if p := &ops[i]; p.kind == insert && preference(p.known[partPrefer]) != "return-no-content" {
			n += len(p.Body)
		}
	}
	return n
}

// parseAll fills c.ops with the operations in parts. An error is of the one after those that it has read.
func (c *call) parseAll(r *rest.Request, parts []protocol.Part) (read int, err error) {
	c.ops = slices.Grow(c.ops, len(parts))[:len(parts)]
	var before *partRequest
	for i := range parts {
		p := &c.ops[i]
		if err := c.parsePart(r, &parts[i], p, before); err != nil {
			return i, err
		}
		if err := p.classify(); err != nil {
			return i, err
		}
		before = p
	}
	return len(parts), nil
}

// prepareAll fills c.changes and holds them against the rules of a transaction. On an error it tells whose it is.
func (c *call) prepareAll(r *rest.Request, ops []partRequest) (int, error) {
	ascending := true // the RowKeys so far, so that none of them is there twice
	for i := range ops {
		p := &ops[i]
		ch, err := c.prepare(p.kind, &p.target, r.Version, p.header, p.Body)
		if err != nil {
			return i, err
		}
		if p.kind == insert { // the decoder is used again
			if i > 0 && ch.pk == c.changes[0].pk {
				ch.pk = c.changes[0].pk
			} else {
				ch.pk = c.keep(ch.pk)
			}
			ch.rk = c.keep(ch.rk)
		}
		switch {
		case !strings.EqualFold(p.target.Table, ops[0].target.Table):
			return i, protocol.ErrInvalidInput.Saying("All commands in a batch must operate on same table.")
		case i > 0 && ch.pk != c.changes[0].pk:
			return i, protocol.ErrCommandsInBatchActOnDifferentPartitions
		}
		if ascending = ascending && (i == 0 || c.changes[i-1].rk < ch.rk); !ascending && c.repeats(ch.rk) {
			return i, protocol.ErrInvalidDuplicateRow
		}
		if !opens(r.Grant.Keys, ch.pk, ch.rk) {
			return i, protocol.ErrAuthorizationFailure
		}
		c.changes = append(c.changes, ch)
	}
	return 0, nil
}

// keep copies a key to where it stays until the call ends.
func (c *call) keep(key string) string {
	from := len(c.keys)
	c.keys = append(c.keys, key...)
	return view.String(c.keys[from:])
}

// repeats tells whether one of the changes so far is of that RowKey.
func (c *call) repeats(rk string) bool {
	if c.seen == nil {
		c.seen = make(map[string]bool, maxChanges)
	}
	for i := len(c.seen); i < len(c.changes); i++ {
		c.seen[c.changes[i].rk] = true
	}
	return c.seen[rk]
}

// partHead is what the beginning of a part in an answer is made of.
type partHead struct {
	insert, content bool
	format          odata.Format
	prefer          string
}

// answersLike tells that the beginnings of two operations' answers are the same, up to where the RowKey stands.
func (p *partRequest) answersLike(q *partRequest) bool {
	return p.Header.Same(q.Header) && p.query == q.query && (p.kind == insert) == (q.kind == insert)
}

// batchSuccess answers a transaction that was done.
func (c *call) batchSuccess(r *rest.Request, t *table, ops []partRequest, stamp uint64) error {
	c.openChangeSet(r)
	if err := c.appendAnswers(r, t, ops, stamp); err != nil {
		return err
	}
	return c.closeChangeSet(r)
}

// appendAnswers appends the answers of operations that were done, a part for each.
func (c *call) appendAnswers(r *rest.Request, t *table, ops []partRequest, stamp uint64) (err error) {
	tag := "ETag: " + etag(stamp) + "\r\n\r\n"
	c.setWriter(r, c.format, t.name)
	var h partHead
	var begin, url, end int // of the last beginning in c.out, and of the URL in it
	for i := range ops {
		p, ch := &ops[i], &c.changes[i]
		at := len(c.out)
		if i > 0 && p.answersLike(&ops[i-1]) {
			c.out = append(c.out, c.out[begin:end]...)
		} else {
			h = c.appendPartHead(r, p)
			if h.insert {
				c.out = append(c.out, "Location: "...)
				url = len(c.out) - at
				c.out = odata.AppendPartitionPath(append(c.out, c.writer.Base...), t.name, ch.pk)
			}
			begin, end = at, len(c.out)
		}
		if h.insert {
			c.out = odata.AppendRowPath(c.out, ch.rk)
			c.line()
			if !h.content {
				c.out = append(append(c.out, "DataServiceId: "...), c.out[at+url:]...)
			}
		}
		if ch.kind != remove {
			c.out = append(c.out, tag...)
		} else {
			c.line()
		}
		if h.content {
			c.setWriter(r, h.format, t.name)
			if c.out, err = c.writer.AppendEntity(c.out, entity.AppendKeyString(nil, ch.pk), entity.AppendKeyString(nil, ch.rk), ch.row, true); err != nil {
				return err
			}
		}
		c.line()
	}
	return nil
}

// appendPartHead writes the beginning of a part that answers an operation that was done.
func (c *call) appendPartHead(r *rest.Request, p *partRequest) partHead {
	h := partHead{insert: p.kind == insert, format: p.format(r, c.format)}
	if h.insert {
		h.prefer = preference(p.known[partPrefer])
		h.content = h.prefer != "return-no-content"
	}
	c.openPart(r)
	if h.content {
		c.beginAnswer(p, "201 Created")
		c.line("Content-Type: ", h.format.ContentType())
	} else {
		c.beginAnswer(p, "204 No Content")
	}
	c.line("X-Content-Type-Options: nosniff")
	c.line("Cache-Control: no-cache")
	if h.prefer != "" {
		c.line("Preference-Applied: ", h.prefer)
	}
	version := "1.0;"
	if h.insert && h.format.JSON() {
		version = "3.0;"
	}
	c.line("DataServiceVersion: ", version)
	return h
}

// batchFailure answers a transaction of which nothing was done, with the error of its operation with that index.
func (c *call) batchFailure(r *rest.Request, index int, err error) error {
	e := rest.WireError(err)
	var p partRequest
	if index < len(c.ops) {
		p = c.ops[index]
	}
	prefix := strconv.Itoa(index) + ":"
	if len(c.ops) == 1 && !e.Is(protocol.ErrTableNotFound) {
		prefix = ""
	}
	c.out = c.out[:0]
	c.openChangeSet(r)
	c.openPart(r)
	c.errorPart(r, &p, e, prefix)
	return c.closeChangeSet(r)
}

// errorPart writes an error as the answer in a part.
func (c *call) errorPart(r *rest.Request, p *partRequest, e *protocol.Error, prefix string) {
	c.beginAnswer(p, strconv.Itoa(e.Status)+" "+http.StatusText(e.Status))
	c.line("X-Content-Type-Options: nosniff")
	if !e.Is(protocol.ErrTableNotFound) && e != errTooManyChanges { // which are found before the request is looked at
		c.line("Cache-Control: no-cache")
		if prefer := preference(p.known[partPrefer]); prefer != "" && p.Method == "POST" && p.kind == insert {
			c.line("Preference-Applied: ", prefer)
		}
	}
	c.line("DataServiceVersion: 3.0;")
	c.line("Content-Type: ", odata.ErrorContentType(c.format))
	c.line("")
	c.out = odata.AppendError(c.out, c.format, e, message(r, e, prefix))
	c.line("")
}

// batchQuery answers a query, which is alone in its batch.
func (c *call) batchQuery(r *rest.Request, p *partRequest) error {
	if p.Method != "GET" {
		return protocol.ErrInvalidInput
	}
	if err := r.Grant.Permits(&needsQuery, p.target.Table); err != nil {
		return err
	}
	f := p.format(r, c.format)
	head := len(c.out)
	var lines []string
	t, err := c.find(r.Context, r.AccountName, p.target.Table)
	if err == nil && p.target.Entity {
		stamp, getErr := c.appendOne(r, t, &p.target, f, p)
		lines, err = append(lines, "ETag: "+etag(uint64(stamp))), getErr
	} else if err == nil {
		next, pageErr := c.appendPage(r, t, p, f)
		if err = pageErr; next != nil {
			pk, rk := splitPosition(next)
			lines = append(lines, "x-ms-continuation-NextPartitionKey: "+token(pk), "x-ms-continuation-NextRowKey: "+token(rk))
		}
	}
	body := string(c.out[head:])
	c.out = c.out[:head]
	c.openOuter(r)
	c.openPart(r)
	var e *protocol.Error
	switch {
	case err == nil:
		c.beginAnswer(p, "200 OK")
		c.line("Content-Type: ", f.ContentType())
		c.line("X-Content-Type-Options: nosniff")
		c.line("Cache-Control: no-cache")
		c.line("DataServiceVersion: 3.0;")
		for _, l := range lines {
			c.line(l)
		}
		c.line("")
		c.line(body)
	case errors.As(err, &e):
		c.errorPart(r, p, e, "")
	default:
		return err
	}
	return c.closeOuter(r)
}

func (c *call) line(parts ...string) {
	for _, p := range parts {
		c.out = append(c.out, p...)
	}
	c.out = append(c.out, '\r', '\n')
}

// The boundaries of an answer are made of the request's id, which no content can know.

func (c *call) openOuter(r *rest.Request) {
	c.out = append(append(append(c.out, "--batchresponse_"...), r.ID...), '\r', '\n')
}

func (c *call) closeOuter(r *rest.Request) error {
	c.line("--batchresponse_", r.ID, "--")
	return c.reply(r, http.StatusAccepted, "multipart/mixed; boundary=batchresponse_"+r.ID)
}

func (c *call) openChangeSet(r *rest.Request) {
	c.openOuter(r)
	c.line("Content-Type: multipart/mixed; boundary=changesetresponse_", r.ID)
	c.line("")
	c.set = true
}

func (c *call) openPart(r *rest.Request) {
	if c.set {
		c.line("--changesetresponse_", r.ID)
	}
	c.line("Content-Type: application/http")
	c.line("Content-Transfer-Encoding: binary")
	c.line("")
}

// beginAnswer writes the status line of an operation's answer, and the Content-ID if there was one among the operation's own
// headers: one in the header of the part is not echoed.
func (c *call) beginAnswer(p *partRequest, status string) {
	c.line("HTTP/1.1 ", status)
	if id := p.known[partContentID]; id != "" {
		c.line("Content-ID: ", id)
	}
}

func (c *call) closeChangeSet(r *rest.Request) error {
	c.line("--changesetresponse_", r.ID, "--")
	return c.closeOuter(r)
}
