// Package wire is the bench's client: HTTP/1.1 on a kept-alive connection, SharedKey signatures, nothing else. It shares the
// machine's cores with the server under test, so it spends as little as it can: one buffer each way, one write per small
// request, no header map. All servers are driven by it alike.
package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// The versions that requests carry: every server under test knows them.
const (
	BlobVersion  = "2023-11-03"
	TableVersion = "2019-02-02"
)

// Field is a header or query parameter.
type Field struct{ Name, Value string }

// Request is one request. It may be used again when Do has returned.
type Request struct {
	Method string
	// Path follows the account, with its leading slash, percent-encoded.
	Path string
	// Query must be sorted by name; names are lower case (in the blob service). Values are plain text.
	Query []Field
	// Headers are the x-ms- headers but date and version, sorted, in lower case; all sort before x-ms-version.
	Headers []Field
	// Plain are further headers, which are not signed.
	Plain       []Field
	ContentType string
	Body        []byte
	// Table chooses the table service's version and signature.
	Table bool
}

func (r *Request) bodyLen() int { return len(r.Body) }

// Response is the head of an answer. Its strings live until the next Do.
type Response struct {
	Status int
	// Length is the declared length of the body, -1 if it came chunked.
	Length int64
	// Code is x-ms-error-code.
	Code string
	// Header is the whole head, for Value.
	head []byte
}

// Value returns a header by its name in any case, "" if absent. It searches: not for the hot path.
func (r *Response) Value(name string) string {
	for _, line := range bytes.Split(r.head, []byte("\r\n")) {
		if n, v, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(n, []byte(name)) {
			return string(bytes.TrimSpace(v))
		}
	}
	return ""
}

// Limits of one exchange.
const (
	readBuffer  = 256 << 10
	maxHead     = 64 << 10
	ioPatience  = 60 * time.Second // an exchange that takes longer has failed
	dialTimeout = 10 * time.Second
)

// Conn is one client: it dials when it must and keeps the connection. It is used by one goroutine.
type Conn struct {
	addr     string
	sign     *signer
	c        net.Conn
	out      []byte
	in       []byte
	r, w     int // in[r:w] is read and not yet used
	date     string
	dateUnix int64
	deadline time.Time
	resp     Response
	// Dials counts connections made.
	Dials int
}

// NewConn returns a client of the server at addr.
func NewConn(addr string, a Account) *Conn {
	return &Conn{addr: addr, sign: newSigner(a), in: make([]byte, readBuffer)}
}

// Close ends the connection.
func (c *Conn) Close() {
	if c.c != nil {
		_ = c.c.Close()
		c.c = nil
	}
}

// Do sends r and writes the answer's body to body as it comes; nil drops it. After an error the connection is closed and the
// next Do dials again. Nothing is ever sent twice.
func (c *Conn) Do(r *Request, body io.Writer) (*Response, error) {
	resp, err := c.do(r, body)
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("%s %s: %w", r.Method, r.Path, err)
	}
	return resp, nil
}

func (c *Conn) do(r *Request, body io.Writer) (*Response, error) {
	now := time.Now()
	if c.c == nil {
		nc, err := net.DialTimeout("tcp", c.addr, dialTimeout)
		if err != nil {
			return nil, err
		}
		c.c, c.r, c.w, c.deadline = nc, 0, 0, time.Time{}
		c.Dials++
	}
	// A deadline costs a timer; one that is near enough stands for many exchanges.
	if c.deadline.Sub(now) < ioPatience {
		c.deadline = now.Add(2 * ioPatience)
		if err := c.c.SetDeadline(c.deadline); err != nil {
			return nil, err
		}
	}
	if u := now.Unix(); u != c.dateUnix {
		c.dateUnix, c.date = u, now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
	}
	c.encode(r)
	if err := c.send(r.Body); err != nil {
		return nil, err
	}
	closing, chunked, err := c.readHead()
	if err != nil {
		return nil, err
	}
	switch {
	case r.Method == "HEAD" || c.resp.Status == 204 || c.resp.Status == 304:
	case chunked:
		err = c.readChunks(body)
	default:
		err = c.readBody(body, c.resp.Length)
	}
	if err != nil {
		return nil, err
	}
	if closing {
		c.Close()
	}
	return &c.resp, nil
}

// oneWrite is the body size up to which head and body go out as one buffer, in bytes.
const oneWrite = 16 << 10

func (c *Conn) send(body []byte) error {
	if len(body) <= oneWrite {
		c.out = append(c.out, body...)
		_, err := c.c.Write(c.out)
		return err
	}
	b := net.Buffers{c.out, body}
	_, err := b.WriteTo(c.c)
	return err
}

func (c *Conn) encode(r *Request) {
	o := append(c.out[:0], r.Method...)
	o = append(o, " /"...)
	o = append(o, c.sign.account.Name...)
	o = append(o, r.Path...)
	for i, q := range r.Query {
		if i == 0 {
			o = append(o, '?')
		} else {
			o = append(o, '&')
		}
		o = append(o, q.Name...)
		o = append(o, '=')
		o = appendEscaped(o, q.Value)
	}
	o = append(o, " HTTP/1.1\r\nHost: "...)
	o = append(o, c.addr...)
	o = append(o, "\r\nx-ms-date: "...)
	o = append(o, c.date...)
	o = append(o, "\r\nx-ms-version: "...)
	if r.Table {
		o = append(o, TableVersion...)
	} else {
		o = append(o, BlobVersion...)
	}
	for _, h := range r.Headers {
		o = appendLine(o, h)
	}
	for _, h := range r.Plain {
		o = appendLine(o, h)
	}
	if r.ContentType != "" {
		o = append(o, "\r\nContent-Type: "...)
		o = append(o, r.ContentType...)
	}
	if r.Method != "GET" && r.Method != "HEAD" {
		o = append(o, "\r\nContent-Length: "...)
		o = strconv.AppendInt(o, int64(r.bodyLen()), 10)
	}
	o = append(o, "\r\nAuthorization: "...)
	o = c.sign.append(o, r, c.date)
	c.out = append(o, "\r\n\r\n"...)
}

func appendLine(o []byte, h Field) []byte {
	o = append(o, "\r\n"...)
	o = append(o, h.Name...)
	o = append(o, ": "...)
	return append(o, h.Value...)
}

// appendEscaped percent-encodes all but the unreserved characters of RFC 3986.
func appendEscaped(o []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(s); i++ {
		b := s[i]
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', b == '-', b == '_', b == '.', b == '~':
			o = append(o, b)
		default:
			o = append(o, '%', hex[b>>4], hex[b&15])
		}
	}
	return o
}

// fill reads more into the buffer.
func (c *Conn) fill() error {
	if c.r == c.w {
		c.r, c.w = 0, 0
	} else if c.w == len(c.in) {
		if c.r == 0 {
			return errors.New("the answer's head is too long")
		}
		c.w = copy(c.in, c.in[c.r:c.w])
		c.r = 0
	}
	n, err := c.c.Read(c.in[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readHead reads an answer's head into c.resp, past any 100 Continue.
func (c *Conn) readHead() (closing, chunked bool, err error) {
	for {
		scanned := 0
		var end int
		for {
			if i := bytes.Index(c.in[c.r+scanned:c.w], []byte("\r\n\r\n")); i >= 0 {
				end = c.r + scanned + i
				break
			}
			if c.w-c.r > maxHead {
				return false, false, errors.New("the answer's head is too long")
			}
			scanned = max(0, c.w-c.r-3)
			if err := c.fill(); err != nil {
				return false, false, fmt.Errorf("read the answer's head: %w", err)
			}
		}
		head := c.in[c.r:end]
		c.r = end + 4
		closing, chunked, err = c.resp.parse(head)
		if err != nil || c.resp.Status != 100 {
			return closing, chunked, err
		}
	}
}

// parse reads a head. The fields that it takes out are those that framing and checks need.
func (r *Response) parse(head []byte) (closing, chunked bool, err error) {
	*r = Response{head: head}
	if len(head) < 12 || !bytes.HasPrefix(head, []byte("HTTP/1.1 ")) {
		return false, false, fmt.Errorf("no HTTP/1.1 status line: %q", head[:min(len(head), 40)])
	}
	if r.Status, err = strconv.Atoi(string(head[9:12])); err != nil {
		return false, false, fmt.Errorf("status line: %w", err)
	}
	rest := head
	for {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			return closing, chunked, nil
		}
		rest = rest[i+1:]
		line := rest
		if j := bytes.IndexByte(rest, '\r'); j >= 0 {
			line = rest[:j]
		}
		colon := bytes.IndexByte(line, ':')
		if colon < 0 {
			return false, false, fmt.Errorf("header line %q", line)
		}
		name, value := line[:colon], bytes.TrimSpace(line[colon+1:])
		switch len(name) {
		case len("Connection"):
			closing = closing || bytes.EqualFold(name, []byte("Connection")) && bytes.EqualFold(value, []byte("close"))
		case len("Content-Length"):
			if bytes.EqualFold(name, []byte("Content-Length")) {
				if r.Length, err = strconv.ParseInt(string(value), 10, 64); err != nil || r.Length < 0 {
					return false, false, fmt.Errorf("Content-Length %q", value)
				}
			}
		case len("x-ms-error-code"):
			if bytes.EqualFold(name, []byte("x-ms-error-code")) {
				r.Code = string(value)
			}
		case len("Transfer-Encoding"):
			if bytes.EqualFold(name, []byte("Transfer-Encoding")) && bytes.EqualFold(value, []byte("chunked")) {
				chunked, r.Length = true, -1
			}
		}
	}
}

// readBody passes n bytes on. The head may lie in the buffer that it refills, so what the caller wants of it is parsed before.
func (c *Conn) readBody(to io.Writer, n int64) error {
	for n > 0 {
		if c.r == c.w {
			c.keepHead()
			if err := c.fill(); err != nil {
				return fmt.Errorf("read the body: %w", err)
			}
		}
		p := c.in[c.r:c.w]
		if int64(len(p)) > n {
			p = p[:n]
		}
		if to != nil {
			if _, err := to.Write(p); err != nil {
				return err
			}
		}
		c.r += len(p)
		n -= int64(len(p))
	}
	return nil
}

// keepHead moves the head out of the buffer that is about to be overwritten.
func (c *Conn) keepHead() {
	if c.resp.head != nil {
		c.resp.head = append(c.out[:0], c.resp.head...)
		c.out = c.resp.head
	}
}

func (c *Conn) readChunks(to io.Writer) error {
	c.keepHead()
	for {
		line, err := c.readLine()
		if err != nil {
			return err
		}
		size, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseInt(string(bytes.TrimSpace(size)), 16, 64)
		if err != nil || n < 0 {
			return fmt.Errorf("chunk size %q", line)
		}
		if n == 0 {
			for { // trailers, up to the empty line
				if line, err = c.readLine(); err != nil || len(line) == 0 {
					return err
				}
			}
		}
		if err := c.readBody(to, n); err != nil {
			return err
		}
		if line, err = c.readLine(); err != nil || len(line) != 0 {
			return fmt.Errorf("no line end after a chunk: %q, %v", line, err)
		}
	}
}

func (c *Conn) readLine() ([]byte, error) {
	for {
		if i := bytes.IndexByte(c.in[c.r:c.w], '\n'); i >= 0 {
			line := bytes.TrimSuffix(c.in[c.r:c.r+i], []byte("\r"))
			c.r += i + 1
			return line, nil
		}
		if err := c.fill(); err != nil {
			return nil, fmt.Errorf("read a chunk: %w", err)
		}
	}
}
