package table

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/table/entity"
	"github.com/blobd/blobd/internal/table/odata"
)

// maxChanges is the most operations of a transaction.
const maxChanges = 100

// partRequest is an operation within a batch.
type partRequest struct {
	protocol.PartRequest
	target odata.Target
	query  string // of the URL, as sent
	id     string // Content-ID, to be echoed
	kind   changeKind
	needs  *auth.Needs
	known  [len(partHeaders)]string // values of partHeaders
}

// partHeaders are the header lines that matter in an operation within a batch.
var partHeaders = [...]string{"accept", "content-id", "content-type", "if-match", "if-none-match", "prefer", "x-http-method"}

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

func (p *partRequest) param(lower string) (string, bool) {
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
	format, _ := p.param("$format")
	accept := p.header("accept")
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
	outer, err := protocol.SplitMultipart(c.in, boundary, 1)
	if err != nil || len(outer) != 1 {
		return protocol.ErrInvalidInput.Because(err)
	}
	c.format = errorFormat(r)
	if contentType, _ := outer[0].Header.Get("Content-Type"); !strings.HasPrefix(strings.ToLower(contentType), "multipart/") {
		var p partRequest
		if err := c.parsePart(r, &outer[0], &p); err != nil {
			return err
		}
		return c.batchQuery(r, &p)
	}
	return c.transaction(r, &outer[0])
}

// parsePart reads the operation in a part and what its URL names.
func (c *call) parsePart(r *rest.Request, part *protocol.Part, p *partRequest) (err error) {
	if p.PartRequest, err = part.Request(); err != nil {
		return protocol.ErrInvalidInput.Because(err)
	}
	p.note()
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
	if p.id, _ = part.Header.Get("Content-ID"); p.id == "" {
		p.id = p.header("content-id")
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
	if tunnelled := p.header("x-http-method"); tunnelled != "" && method == "POST" {
		method = strings.ToUpper(tunnelled)
	}
	switch {
	case method == "GET":
		return protocol.ErrInvalidInput.Saying("A query operation cannot be in a change set.")
	case p.target.Entity:
		p.kind, p.needs, err = changeOf(method, p.header("if-match") != "")
		return err
	case method == "POST":
		p.kind, p.needs = insert, &needsInsert
		return nil
	}
	return protocol.ErrMethodNotAllowed
}

// transaction does the operations of a change set, all or none.
func (c *call) transaction(r *rest.Request, set *protocol.Part) error {
	contentType, _ := set.Header.Get("Content-Type")
	boundary, err := protocol.MultipartBoundary(contentType)
	if err != nil {
		return protocol.ErrInvalidInput.Because(err)
	}
	parts, err := protocol.SplitMultipart(set.Body, boundary, maxChanges)
	if errors.Is(err, protocol.ErrTooManyParts) {
		return c.batchFailure(r, maxChanges-1, protocol.ErrInvalidInput.Saying("The batch request operation exceeds the maximum 100 changes per change set."))
	}
	if err != nil || len(parts) == 0 {
		return protocol.ErrInvalidInput.Because(err)
	}
	ops := make([]partRequest, len(parts))
	for i := range ops {
		p := &ops[i]
		err := c.parsePart(r, &parts[i], p)
		if err == nil {
			err = p.classify()
		}
		if err != nil {
			return c.batchFailure(r, i, err)
		}
		if err := r.Grant.Permits(p.needs, p.target.Table); err != nil {
			return err
		}
	}
	if i, err := c.prepareAll(r, ops); err != nil {
		return c.batchFailure(r, i, err)
	}
	t, err := c.find(r.Context, r.AccountName, ops[0].target.Table)
	if err != nil {
		return c.batchFailure(r, 0, err)
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

// prepareAll fills c.changes and holds them against the rules of a transaction. On an error it tells whose it is.
func (c *call) prepareAll(r *rest.Request, ops []partRequest) (int, error) {
	if c.seen == nil {
		c.seen = make(map[string]bool, maxChanges)
	}
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
				ch.pk = strings.Clone(ch.pk)
			}
			ch.rk = strings.Clone(ch.rk)
		}
		switch {
		case !strings.EqualFold(p.target.Table, ops[0].target.Table):
			return i, protocol.ErrInvalidInput.Saying("All commands in a batch must operate on same table.")
		case i > 0 && ch.pk != c.changes[0].pk:
			return i, protocol.ErrCommandsInBatchActOnDifferentPartitions
		case c.seen[ch.rk]:
			return i, protocol.ErrInvalidDuplicateRow
		case !opens(r.Grant.Keys, ch.pk, ch.rk):
			return i, protocol.ErrAuthorizationFailure
		}
		c.seen[ch.rk] = true
		c.changes = append(c.changes, ch)
	}
	return 0, nil
}

// partHead is what the beginning of a part in an answer is made of. Most of a batch are alike, and take it from the one before.
type partHead struct {
	id              string
	insert, content bool
	format          odata.Format
	prefer          string
}

// batchSuccess answers a transaction that was done, an answer for each operation.
func (c *call) batchSuccess(r *rest.Request, t *table, ops []partRequest, stamp uint64) error {
	c.openChangeSet(r)
	tag := etag(stamp)
	c.setWriter(r, c.format, t.name)
	var last partHead
	var from, to int // of last in c.out
	accept, accepted := "", c.format
	for i := range ops {
		p, ch := &ops[i], &c.changes[i]
		h := partHead{id: p.id, insert: ch.kind == insert}
		switch a := p.header("accept"); {
		case p.query != "":
			h.format = p.format(r, c.format)
		case a == accept:
			h.format = accepted
		default:
			h.format = p.format(r, c.format)
			accept, accepted = a, h.format
		}
		if h.insert {
			h.prefer = preference(p.header("prefer"))
			h.content = h.prefer != "return-no-content"
		}
		if at := len(c.out); i > 0 && h == last {
			c.out = append(c.out, c.out[from:to]...)
		} else {
			c.appendPartHead(r, &h)
			last, from, to = h, at, len(c.out)
		}
		if h.insert {
			at := c.link("Location: ", t.name, ch)
			if !h.content {
				c.out = append(append(c.out, "DataServiceId: "...), c.out[at:]...)
			}
		}
		if ch.kind != remove {
			c.line("ETag: ", tag)
		}
		c.line("")
		if h.content {
			c.setWriter(r, h.format, t.name)
			var err error
			if c.out, err = c.writer.AppendEntity(c.out, entity.AppendKeyString(nil, ch.pk), entity.AppendKeyString(nil, ch.rk), ch.row, true); err != nil {
				return err
			}
		}
		c.line("")
	}
	return c.closeChangeSet(r)
}

// appendPartHead writes the beginning of a part that answers an operation that was done.
func (c *call) appendPartHead(r *rest.Request, h *partHead) {
	c.openPart(r, h.id)
	if h.content {
		c.line("HTTP/1.1 201 Created")
		c.line("Content-Type: ", h.format.ContentType())
	} else {
		c.line("HTTP/1.1 204 No Content")
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
}

// batchFailure answers a transaction of which nothing was done, with the error of its operation with that index.
func (c *call) batchFailure(r *rest.Request, index int, err error) error {
	e := rest.WireError(err)
	c.out = c.out[:0]
	c.openChangeSet(r)
	c.openPart(r, "")
	c.errorPart(r, e, strconv.Itoa(index)+":")
	return c.closeChangeSet(r)
}

// errorPart writes an error as the answer in a part.
func (c *call) errorPart(r *rest.Request, e *protocol.Error, prefix string) {
	c.line("HTTP/1.1 ", strconv.Itoa(e.Status), " ", http.StatusText(e.Status))
	c.line("X-Content-Type-Options: nosniff")
	c.line("Cache-Control: no-cache")
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
		selected, _ := p.param("$select")
		stamp, getErr := c.appendOne(r, t, &p.target, f, selected)
		lines, err = append(lines, "ETag: "+etag(uint64(stamp))), getErr
	} else if err == nil {
		next, pageErr := c.appendPage(r, t, p.param, f)
		if err = pageErr; next != nil {
			pk, rk := splitPosition(next)
			lines = append(lines, "x-ms-continuation-NextPartitionKey: "+token(pk), "x-ms-continuation-NextRowKey: "+token(rk))
		}
	}
	body := string(c.out[head:])
	c.out = c.out[:head]
	c.openOuter(r)
	c.openPart(r, p.id)
	var e *protocol.Error
	switch {
	case err == nil:
		c.line("HTTP/1.1 200 OK")
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
		c.errorPart(r, e, "0:")
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

// link writes a line with the URL of a change's entity and returns where in c.out the URL begins.
func (c *call) link(name, table string, ch *change) (at int) {
	c.out = append(c.out, name...)
	at = len(c.out)
	c.out = append(c.out, c.writer.Base...)
	c.out = odata.AppendEntityPath(c.out, table, ch.pk, ch.rk)
	c.line()
	return at
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

func (c *call) openPart(r *rest.Request, id string) {
	if c.set {
		c.line("--changesetresponse_", r.ID)
	}
	c.line("Content-Type: application/http")
	c.line("Content-Transfer-Encoding: binary")
	if id != "" && !strings.ContainsAny(id, "\r\n") {
		c.line("Content-ID: ", id)
	}
	c.line("")
}

func (c *call) closeChangeSet(r *rest.Request) error {
	c.line("--changesetresponse_", r.ID, "--")
	return c.closeOuter(r)
}
