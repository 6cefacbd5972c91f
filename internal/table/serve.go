package table

import (
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/invariants"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/table/entity"
	"github.com/blobd/blobd/internal/table/filter"
	"github.com/blobd/blobd/internal/table/odata"
	"github.com/blobd/blobd/internal/view"
)

var (
	_ rest.Service     = (*Service)(nil)
	_ rest.ErrorWriter = (*Service)(nil)
	_ rest.ErrorWriter = (*call)(nil)
	_ auth.Resources   = (*Service)(nil)
)

// call is one request on its way through the service: what its path names, and the buffers that it works in. A call is reused
// once its answer is sent.
type call struct {
	*Service
	target odata.Target
	format odata.Format

	decoder odata.Decoder
	in      []byte // the request's body
	rows    []byte // encoded rows to be written
	out     []byte // the answer's body
	base    []byte // URL of the account
	writer  odata.Writer
	changes []change
	parts   protocol.MultipartReader // of a batch
	ops     []partRequest            // in parts, of a transaction
	keys    []byte                   // of the entities that it inserts
	seen    map[string]bool          // RowKeys of a transaction
	set     bool                     // the answer is that of a change set
	answers bool                     // out is being sent, and the call is in use until that has ended
}

var calls = sync.Pool{New: func() any { return new(call) }}

// keepBuffer is the largest buffer that stays with an idle call, in bytes.
const keepBuffer = 512 << 10

func (c *call) release() {
	c.reset()
	calls.Put(c)
}

// reset forgets the request and keeps the buffers.
func (c *call) reset() {
	w := c.writer
	w.SetSelect(nil)
	clear(c.changes)
	clear(c.seen)
	clear(c.ops)
	c.parts.Clear()
	if invariants.Enabled {
		for _, b := range [][]byte{c.in, c.rows, c.out, c.base, c.keys} {
			invariants.Overwrite(b)
		}
		c.decoder.Overwrite()
	}
	next := call{
		decoder: c.decoder, in: c.in, rows: c.rows[:0], out: c.out[:0], base: c.base[:0], writer: w, changes: c.changes[:0],
		parts: c.parts, ops: c.ops[:0], keys: c.keys[:0], seen: c.seen,
	}
	for _, b := range []*[]byte{&next.in, &next.rows, &next.out} {
		if cap(*b) > keepBuffer {
			*b, next.decoder = nil, odata.Decoder{} // which refers to the body
		}
	}
	*c = next
}

// Serve implements rest.Service: it tells what the path names and dispatches.
func (s *Service) Serve(r *rest.Request) {
	c := calls.Get().(*call)
	c.Service = s
	level, err := c.locate(r)
	if err != nil {
		r.Fail(err, c)
	} else {
		rest.Dispatch(s.router, level, c, s.authorizer, r)
	}
	if !c.answers {
		c.release()
	}
}

func (c *call) locate(r *rest.Request) (level rest.Level, err error) {
	if c.target, err = odata.ParsePath(r.Resource); err != nil {
		return 0, err
	}
	r.Container, r.Blob, r.Table = "", "", c.target.Table
	if err := checkMethod(r); err != nil {
		return 0, err
	}
	// A browser sends a POST without a type, and only that, across origins without asking first.
	if r.Method == "POST" && r.ContentLength() > 0 && r.Header("content-type") == "" {
		return 0, protocol.ErrMediaTypeNotSupported
	}
	switch {
	case c.target.Set:
		return rest.TableSet, nil
	case c.target.Table == "":
		return rest.Account, nil
	case c.target.Table == "$batch":
		r.Table = ""
		return rest.Batch, nil
	case c.target.Entity:
		return rest.TableEntity, nil
	}
	return rest.Entities, nil
}

// checkMethod holds X-HTTP-Method against its rules: it is the method that a POST stands for.
func checkMethod(r *rest.Request) error {
	n, value := 0, ""
	r.Headers("x-http-method", func(_, lower, v string) {
		if lower == "x-http-method" {
			n, value = n+1, v
		}
	})
	switch {
	case n == 0:
		return nil
	case r.Method != "POST":
		return protocol.ErrXMethodNotUsingPost
	case n > 1:
		return protocol.ErrXMethodIncorrectCount
	case !strings.EqualFold(value, "MERGE") && !strings.EqualFold(value, "PUT") && !strings.EqualFold(value, "DELETE"):
		return protocol.ErrXMethodIncorrectValue
	}
	return nil
}

// WriteError implements rest.ErrorWriter: operations on XML documents answer in XML, the others in the format asked for.
func (s *Service) WriteError(r *rest.Request, e *protocol.Error) {
	_, hasComp := r.QueryOK("comp")
	_, hasRestype := r.QueryOK("restype")
	if hasComp || hasRestype {
		r.ReplyXML(e.Status, odata.AppendDocumentError(nil, e, message(r, e, "")))
		return
	}
	if e.Is(protocol.ErrUnsupportedHttpVerb) {
		e = protocol.ErrMethodNotAllowed
		r.SetHeader("x-ms-error-code", e.Code)
	}
	if e.Status != http.StatusUnauthorized && e.Status != http.StatusForbidden {
		common(r)
		r.SetReason(http.StatusText(e.Status)) // as recorded: what OData answers has no message there
	}
	f := errorFormat(r)
	contentType := odata.ErrorContentType(f)
	if f.JSON() && (e.Status == 401 || e.Status == 403) {
		contentType = "application/json"
	}
	r.ReplyBytes(e.Status, contentType, odata.AppendError(nil, f, e, message(r, e, "")))
}

// errorFormat is the format to word an error in.
func errorFormat(r *rest.Request) odata.Format {
	f, err := odata.Negotiate(r.Version, r.Query("$format"), r.Header("accept"))
	if err != nil && f == odata.Atom {
		return odata.Atom
	}
	return f
}

// message is the text of an error: prefix, message, request id and time.
func message(r *rest.Request, e *protocol.Error, prefix string) string {
	plain := func(b []byte, s string) []byte { return append(b, s...) }
	return string(rest.AppendMessage([]byte(prefix), e.Message, r.ID, r.Now, plain))
}

// negotiate settles the answer's format.
func (c *call) negotiate(r *rest.Request) (err error) {
	c.format, err = odata.Negotiate(r.Version, r.Query("$format"), r.Header("accept"))
	return err
}

// readBody reads the body into the call's buffer.
func (c *call) readBody(r *rest.Request) (err error) {
	c.in, err = r.ReadAll(c.in)
	return err
}

// decode reads a body into c.decoder.Entity.
func (c *call) decode(version protocol.Version, contentType string, body []byte) error {
	atom, err := odata.BodyIsAtom(version, contentType, body)
	if err != nil {
		return err
	}
	if atom {
		return c.decoder.Atom(body)
	}
	return c.decoder.JSON(body)
}

// setWriter prepares c.writer for entities of a table.
func (c *call) setWriter(r *rest.Request, f odata.Format, table string) {
	c.writer.Format, c.writer.Table, c.writer.Account, c.writer.Context = f, table, r.AccountName, c.writer.Context[:0]
	c.writer.SetSelect(nil)
	if len(c.base) == 0 {
		c.base = appendBaseURL(c.base, r)
	}
	c.writer.Base = view.String(c.base)
}

// appendBaseURL appends the URL of the account as the client wrote it, with a slash at its end.
func appendBaseURL(b []byte, r *rest.Request) []byte {
	b = append(b, "http"...)
	if r.HTTPS {
		b = append(b, 's')
	}
	b = append(b, "://"...)
	for _, c := range []byte(r.Header("host")) {
		if c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= ':' || c == '.' || c == '-' || c == '_' || c == '[' || c == ']' {
			b = append(b, c)
		}
	}
	b = append(b, '/')
	if r.PathStyle {
		b = append(append(b, r.AccountName...), '/')
	}
	return b
}

// common sets the headers that every answer on entities and tables has.
func common(r *rest.Request) {
	r.SetHeader("Cache-Control", "no-cache")
	r.SetHeader("X-Content-Type-Options", "nosniff")
}

// reply sends c.out.
func (c *call) reply(r *rest.Request, status int, contentType string) error {
	common(r)
	r.SetHeader("Content-Type", contentType)
	if err := r.ReplyWhole(status, int64(len(c.out)), (*answer)(c)); err != nil {
		return err
	}
	c.answers = true // of one that is refused Serve releases the call
	return nil
}

// answer is the body of a call's answer on its way to the client.
type answer call

// Read implements io.Reader.
func (a *answer) Read(p []byte) (int, error) {
	if len(a.out) == 0 {
		return 0, io.EOF
	}
	n := copy(p, a.out)
	a.out = a.out[n:]
	return n, nil
}

// WriteTo implements io.WriterTo.
func (a *answer) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(a.out)
	return int64(n), err
}

// Close ends the use of the call.
func (a *answer) Close() error {
	c := (*call)(a)
	if c.answers {
		c.release()
	}
	return nil
}

// bounds is the range of keys that the caller's SAS opens, nil for all.
func bounds(k *auth.KeyRange) []filter.Range {
	if k == nil {
		return nil
	}
	at := func(s *string, has bool) *string {
		if !has {
			return nil
		}
		return s
	}
	return []filter.Range{filter.Keys(at(&k.StartPK, k.HasStartPK), at(&k.StartRK, k.HasStartRK), at(&k.EndPK, k.HasEndPK), at(&k.EndRK, k.HasEndRK))}
}

// opens tells whether the caller's SAS opens an entity.
func opens(k *auth.KeyRange, pk, rk string) bool {
	return k == nil || bounds(k)[0].Contains(position(pk, rk))
}

// etag is the ETag header of an entity.
func etag(stamp uint64) string { return string(entity.AppendETag(make([]byte, 0, 64), stamp)) }
