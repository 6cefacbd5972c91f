// Package framing stands between a socket and the HTTP parser and decides alone where a request ends.
//
// The parser behind it is lenient and fast; this guard is strict and sees every byte first. It hands the parser one complete,
// well-formed header block at a time and keeps the body to itself, so that the two can never disagree about what is header,
// what is body and what is the next request (RFC 9112, sections 2.2, 5, 6 and 11.2). It guarantees:
//
//   - a block with bare CR or LF, a folded line, a name that is no token, two Content-Length or Host fields, Content-Length
//     with Transfer-Encoding, an unknown HTTP version or an odd request target is answered with an error and closed;
//   - a block has at most so many bytes and so many fields;
//   - no byte of a body reaches the parser; the handler reads it from the Conn, and it ends after exactly the declared length
//     or with an error;
//   - 100 Continue is sent when the handler first reads the body, and never if it does not;
//   - a peer that moves is served however slow it is, and one that stalls is dropped: deadlines follow progress;
//   - memory follows the bytes received, not those declared, and is of two budgets, beyond which the answer is 503: one for headers
//     and one for bodies that are awaited. Until somebody is authorized, no more than 2 KiB wait for a body;
//   - between requests a connection costs one goroutine and about 3 KiB.
package framing

import (
	"bytes"
	"strings"
	"time"
)

// Limits bounds what one connection may take.
type Limits struct {
	Header      int           // bytes of request line and header fields together
	Fields      int           // header fields, as each look-up passes over all of them
	URI         int           // bytes of the request target
	Connections int           // at a time; 0 is no limit
	Quota       *Quota        // of connections that this listener shares with others; nil is no limit
	Headers     *Budget       // of memory for headers of which more than the first 2 KiB are there and not all: whose they are is not known
	Bodies      *Budget       // of memory for bodies of authorized requests, which are not yet there
	Answers     *Budget       // of memory for answers longer than a pooled buffer, until the peer has taken them
	Streams     *Budget       // of memory for the buffers of content that is streamed, until the peer has taken it
	Idle        time.Duration // to the first byte of a request
	HeaderTime  time.Duration // from the first byte of a request to the end of its header
	Stall       time.Duration // in which a body must make Progress in either direction
	Progress    int           // bytes of a request body in every Stall
	Drain       int64         // bytes of an unread body that are read away to keep the connection
	Linger      time.Duration // that an unread body is read away before the connection is closed under its sender
}

// DefaultLimits suits a server on the open network.
func DefaultLimits() Limits {
	return Limits{
		Header: 64 << 10, Fields: 4096, URI: 32 << 10, Connections: 50_000,
		Idle: 2 * time.Minute, HeaderTime: 30 * time.Second, Stall: time.Minute, Progress: 1 << 10,
		Drain: 64 << 10, Linger: 2 * time.Second,
	}
}

// Head is what the header block says about the framing of its request.
type Head struct {
	// Length is the declared Content-Length, -1 if there is none.
	Length int64
	// Chunked tells of a Transfer-Encoding. Such a body is not read: the services want a length.
	Chunked bool
	// Expect tells that the client waits for 100 Continue.
	Expect bool

	fields  int
	http10  bool
	hasHost bool
}

// refusal is the answer to a request that is not well-formed.
type refusal struct {
	status string
	reason string
}

func bad(reason string) *refusal { return &refusal{"400 Bad Request", reason} }

// requestLine checks the first line, without its CRLF.
func (h *Head) requestLine(line []byte, maxURI int) *refusal {
	method, rest, ok := bytes.Cut(line, []byte{' '})
	if !ok || len(method) == 0 || len(method) > 32 {
		return bad("Invalid Verb")
	}
	for _, c := range method {
		if !isToken[c] {
			return bad("Invalid Verb")
		}
	}
	target, version, ok := bytes.Cut(rest, []byte{' '})
	if !ok || len(target) == 0 {
		return bad("Invalid URL")
	}
	if len(target) > maxURI {
		return &refusal{"414 URI Too Long", "URL Too Long"}
	}
	for _, c := range target {
		if c <= ' ' || c == 0x7f || c == '#' {
			return bad("Invalid URL")
		}
	}
	if target[0] != '/' && !absolute(target) && !(len(target) == 1 && target[0] == '*' && string(method) == "OPTIONS") {
		return bad("Invalid URL")
	}
	switch string(version) {
	case "HTTP/1.1":
	case "HTTP/1.0":
		h.http10 = true
	default:
		return &refusal{"505 HTTP Version Not Supported", "HTTP Version Not Supported"}
	}
	return nil
}

func absolute(target []byte) bool {
	return len(target) > 8 && (strings.EqualFold(string(target[:7]), "http://") || strings.EqualFold(string(target[:8]), "https://"))
}

// field checks one header line, without its CRLF.
func (h *Head) field(line []byte, most int) *refusal {
	if h.fields++; h.fields > most {
		return &refusal{"431 Request Header Fields Too Large", "Too many header fields"}
	}
	if line[0] == ' ' || line[0] == '\t' {
		return bad("Invalid Header: folded line")
	}
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return bad("Invalid Header")
	}
	name, value := line[:colon], bytes.Trim(line[colon+1:], " \t")
	for _, c := range name {
		if !isToken[c] {
			return bad("Invalid Header")
		}
	}
	for _, c := range value {
		if c < ' ' && c != '\t' || c == 0x7f {
			return bad("Invalid Header")
		}
	}
	switch {
	case is(name, "content-length"):
		if h.Length >= 0 {
			return bad("Invalid Header: repeated Content-Length")
		}
		n, ok := parseLength(value)
		if !ok {
			return bad("Invalid Header: Content-Length")
		}
		h.Length = n
	case is(name, "transfer-encoding"):
		if h.Chunked {
			return bad("Invalid Header: repeated Transfer-Encoding")
		}
		if !is(value, "chunked") {
			return &refusal{"501 Not Implemented", "Transfer-Encoding"}
		}
		h.Chunked = true
	case is(name, "host"):
		if h.hasHost {
			return bad("Invalid Hostname")
		}
		h.hasHost = len(value) > 0
		if bytes.ContainsAny(value, " \t/\\@?#") {
			return bad("Invalid Hostname")
		}
	case is(name, "expect"):
		if !is(value, "100-continue") {
			return &refusal{"417 Expectation Failed", "Expectation Failed"}
		}
		h.Expect = true
	}
	return nil
}

// end checks what only the whole block can tell.
func (h *Head) end() *refusal {
	switch {
	case h.Chunked && h.Length >= 0:
		return bad("Invalid Header: Content-Length with Transfer-Encoding")
	case h.Chunked && h.http10:
		return bad("Invalid Header: Transfer-Encoding in HTTP/1.0")
	case !h.hasHost && !h.http10:
		return bad("Invalid Hostname")
	}
	if h.http10 || h.Length <= 0 && !h.Chunked {
		h.Expect = false
	}
	return nil
}

// parseLength takes decimal digits only: no sign, no list, no white space within.
func parseLength(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// is compares with a name in lower case.
func is(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := range b {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// isToken holds the characters of a token (RFC 9110, section 5.6.2).
var isToken = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = true, true
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()
