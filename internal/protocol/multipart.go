package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/blobd/blobd/internal/view"
)

// Batches of both services are multipart/mixed messages whose parts are HTTP requests or answers (RFC 2046 section 5.1, RFC
// 9110). They are held whole, as their size is bounded to a few MiB before they are read; what is parsed aliases them, so
// parsing costs no more than the list of parts.

// ErrMultipart is a batch body that breaks the format. The services word it in their own ways.
var ErrMultipart = errors.New("malformed multipart body")

// Bounds of a part's headers.
const (
	maxPartHeaders = 64
	maxPartLine    = 16 << 10 // bytes
	maxBoundary    = 70       // RFC 2046
)

// Field is one header line of a part.
type Field struct{ Name, Value string }

// Fields are the header lines of a part in the order sent.
type Fields []Field

// Get returns the first value of a name, whatever its case.
func (f Fields) Get(name string) (string, bool) {
	for i := range f {
		if len(f[i].Name) == len(name) && strings.EqualFold(f[i].Name, name) {
			return f[i].Value, true
		}
	}
	return "", false
}

// Same tells, without a look at them, that two are one list: those of parts whose headers are written alike are.
func (f Fields) Same(g Fields) bool {
	return len(f) == len(g) && (len(f) == 0 || &f[0] == &g[0])
}

// All visits every field.
func (f Fields) All(visit func(name, value string)) {
	for i := range f {
		visit(f[i].Name, f[i].Value)
	}
}

// Part is one part of a multipart message.
type Part struct {
	Header Fields
	Body   []byte
	room   *fieldRoom // for the header of the request within
}

// fieldRoom is where the header lines of all parts of a message lie, so that each needs no piece of memory of its own. The parts
// of most messages have the same header, byte for byte: it is parsed once.
type fieldRoom struct {
	chunks []Fields // each of manyPartHeaders
	used   int      // of chunks
	free   Fields   // in the last one used
	last   string   // a header block with the empty line at its end
	fields Fields   // what it says
}

// The header of a part is expected to have fewPartHeaders lines; room is made for many at once.
const (
	fewPartHeaders  = 8
	manyPartHeaders = 256
	fewParts        = 16
)

// begin returns an empty Fields to append to.
func (r *fieldRoom) begin() Fields {
	if len(r.free) < fewPartHeaders {
		if r.used == len(r.chunks) {
			r.chunks = append(r.chunks, make(Fields, manyPartHeaders))
		}
		r.free = r.chunks[r.used]
		r.used++
	}
	return r.free[:0]
}

// end takes back what was left of it.
func (r *fieldRoom) end(h Fields) Fields {
	if cap(h) == cap(r.free) { // it was not moved elsewhere
		r.free = r.free[len(h):]
	}
	return h[:len(h):len(h)]
}

// clear forgets all headers and keeps the room.
func (r *fieldRoom) clear() {
	for _, c := range r.chunks[:r.used] {
		clear(c)
	}
	*r = fieldRoom{chunks: r.chunks}
}

// MultipartBoundary returns the boundary of a multipart/mixed content type. An unquoted one reaches to the next semicolon, as clients
// of these services put characters into it that RFC 2045 has quoted: those of Base64, and more.
func MultipartBoundary(contentType string) (string, error) {
	kind, params, _ := strings.Cut(contentType, ";")
	if !strings.EqualFold(strings.TrimSpace(kind), "multipart/mixed") {
		return "", fmt.Errorf("%w: content type %q", ErrMultipart, contentType)
	}
	for params != "" {
		var name, value string
		if name, value, params = cutParameter(params); !strings.EqualFold(name, "boundary") {
			continue
		}
		if value == "" || len(value) > maxBoundary || strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c > '~' }) || strings.HasSuffix(value, " ") {
			return "", fmt.Errorf("%w: boundary %q", ErrMultipart, value)
		}
		return value, nil
	}
	return "", fmt.Errorf("%w: content type %q without a boundary", ErrMultipart, contentType)
}

// cutParameter reads the first of the parameters of a content type. A quoted value is without its quotes and escapes.
func cutParameter(params string) (name, value, rest string) {
	end := strings.IndexAny(params, "=;")
	if end < 0 {
		return strings.TrimSpace(params), "", ""
	}
	name, rest = strings.TrimSpace(params[:end]), params[end+1:]
	if params[end] == ';' {
		return name, "", rest
	}
	quoted, ok := strings.CutPrefix(strings.TrimLeft(rest, " \t"), `"`)
	if !ok {
		value, rest, _ = strings.Cut(rest, ";")
		return name, strings.TrimSpace(value), rest
	}
	var b strings.Builder
	for i := 0; i < len(quoted); i++ {
		switch c := quoted[i]; {
		case c == '"':
			_, rest, _ = strings.Cut(quoted[i+1:], ";")
			return name, b.String(), rest
		case c == '\\' && i+1 < len(quoted):
			i++
			b.WriteByte(quoted[i])
		default:
			b.WriteByte(c)
		}
	}
	return name, "", "" // the quote is not closed
}

// MultipartReader cuts bodies into parts in memory that it uses again.
type MultipartReader struct {
	delimiter []byte
	parts     []Part
	room      fieldRoom
}

// Split cuts a body into its parts, at most most of them (more are ErrTooManyParts). Lines may end in CRLF or LF. The parts live
// until the next Split, their headers and bodies until Clear.
func (m *MultipartReader) Split(body []byte, boundary string, most int) ([]Part, error) {
	m.parts = m.parts[:0]
	m.delimiter = append(append(m.delimiter[:0], "\n--"...), boundary...)
	_, rest, last, ok := cutDelimiter(body, m.delimiter)
	if !ok {
		return nil, fmt.Errorf("%w: no delimiter", ErrMultipart)
	}
	for !last {
		var content []byte
		if content, rest, last, ok = cutDelimiter(rest, m.delimiter); !ok {
			return nil, fmt.Errorf("%w: no closing delimiter", ErrMultipart)
		}
		if len(m.parts) == most {
			return nil, ErrTooManyParts
		}
		h, b, err := cutHeader(&m.room, content)
		if err != nil {
			return nil, err
		}
		m.parts = append(m.parts, Part{h, b, &m.room})
	}
	return m.parts, nil
}

// Clear lets go of what was split.
func (m *MultipartReader) Clear() {
	if m.room.used == 0 {
		return
	}
	clear(m.parts[:cap(m.parts)])
	m.parts = m.parts[:0]
	m.room.clear()
}

// SplitMultipart is Split in memory of its own.
func SplitMultipart(body []byte, boundary string, most int) ([]Part, error) {
	m := MultipartReader{parts: make([]Part, 0, min(most, fewParts))}
	return m.Split(body, boundary, most)
}

// ErrTooManyParts is a batch of more parts than allowed.
var ErrTooManyParts = errors.New("too many parts")

// cutDelimiter finds the next delimiter line, given as a line end, two dashes and the boundary. content is what lies before it,
// without the line end that belongs to it; last tells the closing one.
func cutDelimiter(b, delimiter []byte) (content, rest []byte, last, ok bool) {
	for pos := 0; ; {
		at := pos // of the dashes
		if pos > 0 || !bytes.HasPrefix(b, delimiter[1:]) {
			i := bytes.Index(b[pos:], delimiter)
			if i < 0 {
				return nil, nil, false, false
			}
			at = pos + i + 1
		}
		pos = at + len(delimiter) - 1
		tail := b[pos:]
		last = bytes.HasPrefix(tail, []byte("--"))
		if last {
			tail = tail[2:]
		}
		line, after, found := bytes.Cut(tail, []byte("\n"))
		if len(bytes.TrimSpace(line)) > 0 || !found && !last {
			continue
		}
		content = bytes.TrimSuffix(b[:at], []byte("\n"))
		return bytes.TrimSuffix(content, []byte("\r")), after, last, true
	}
}

// cutHeader reads header lines up to an empty line.
func cutHeader(room *fieldRoom, b []byte) (Fields, []byte, error) {
	if room.last != "" && bytes.HasPrefix(b, []byte(room.last)) {
		return room.fields, b[len(room.last):], nil
	}
	h, block := room.begin(), b
	for {
		line, rest, ok := bytes.Cut(b, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			h = room.end(h)
			if ok {
				room.last, room.fields = view.String(block[:len(block)-len(rest)]), h
			}
			return h, rest, nil
		}
		name, value, colon := bytes.Cut(line, []byte(":"))
		if !colon || len(line) > maxPartLine || len(h) == maxPartHeaders || !isToken(name) || bytes.IndexByte(value, 0) >= 0 || bytes.IndexByte(value, '\r') >= 0 {
			return nil, nil, fmt.Errorf("%w: header line", ErrMultipart)
		}
		h = append(h, Field{view.String(name), view.String(bytes.TrimSpace(value))})
		if !ok {
			return room.end(h), nil, nil
		}
		b = rest
	}
}

func isToken(b []byte) bool {
	for _, c := range b {
		if !tokenByte[c] {
			return false
		}
	}
	return len(b) > 0
}

// tokenByte has what a token is made of (RFC 9110 section 5.6.2).
var tokenByte = func() (t [256]bool) {
	for c := ' ' + 1; c < 0x7F; c++ {
		t[c] = !strings.ContainsRune("()<>@,;:\\\"/[]?={}", c)
	}
	return t
}()

// PartRequest is the HTTP request in a part of type application/http.
type PartRequest struct {
	Method string
	Target string // as sent: path and query, or a whole URL
	Header Fields
	Body   []byte
}

// Request reads the request in a part. A Content-Length within it bounds its body; without one the body reaches to the end of
// the part. One that is larger than what is there bounds nothing: the former Java library counts the line end after the body.
func (p *Part) Request() (r PartRequest, err error) {
	if t, _ := p.Header.Get("Content-Type"); t != "application/http" && !strings.EqualFold(mediaType(t), "application/http") {
		return r, fmt.Errorf("%w: part of type %q", ErrMultipart, t)
	}
	body := p.Body
	for len(body) > 0 && (body[0] == '\r' || body[0] == '\n') {
		body = body[1:]
	}
	line, rest, _ := bytes.Cut(body, []byte("\n"))
	method, more, _ := strings.Cut(view.String(bytes.TrimSuffix(line, []byte("\r"))), " ")
	target, version, _ := strings.Cut(more, " ")
	if method == "" || target == "" || !strings.HasPrefix(version, "HTTP/1.") || strings.Contains(version, " ") || len(line) > maxPartLine {
		return r, fmt.Errorf("%w: request line", ErrMultipart)
	}
	r.Method, r.Target = method, target
	if p.room == nil {
		p.room = new(fieldRoom)
	}
	if r.Header, r.Body, err = cutHeader(p.room, rest); err != nil {
		return r, err
	}
	if v, ok := r.Header.Get("Content-Length"); ok {
		n, err := strconv.ParseUint(v, 10, 31)
		if err != nil {
			return r, fmt.Errorf("%w: Content-Length %q", ErrMultipart, v)
		}
		r.Body = r.Body[:min(int(n), len(r.Body))]
	}
	return r, nil
}

// mediaType is a content type without its parameters.
func mediaType(t string) string {
	t, _, _ = strings.Cut(t, ";")
	return strings.TrimSpace(t)
}

// AppendPart appends the delimiter and headers of a part of type application/http that answers the part with the given
// Content-ID (none if empty). The HTTP message follows, and AppendClose ends them all.
func AppendPart(b []byte, boundary, contentID string) []byte {
	b = append(b, "--"...)
	b = append(b, boundary...)
	b = append(b, "\r\nContent-Type: application/http\r\n"...)
	if contentID != "" {
		b = append(b, "Content-ID: "...)
		b = append(b, contentID...)
		b = append(b, "\r\n"...)
	}
	return append(b, "\r\n"...)
}

// AppendClose appends the closing delimiter.
func AppendClose(b []byte, boundary string) []byte {
	b = append(b, "--"...)
	b = append(b, boundary...)
	return append(b, "--\r\n"...)
}
