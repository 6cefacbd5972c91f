package framing

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// script is a peer that has sent everything already, in bursts of at most burst bytes, and takes what is written.
type script struct {
	in    []byte
	burst int
	out   bytes.Buffer
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.in) == 0 {
		return 0, io.EOF
	}
	n := min(len(p), len(s.in))
	if s.burst > 0 {
		n = min(n, s.burst)
	}
	copy(p, s.in[:n])
	s.in = s.in[n:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error)      { return s.out.Write(p) }
func (s *script) Close() error                     { return nil }
func (s *script) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (s *script) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 4711} }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// noListener never accepts.
type noListener struct{ net.Listener }

func (noListener) Close() error { return nil }

// connect puts a guard before a peer.
func connect(peer net.Conn, limits Limits) *Conn {
	return Listen(noListener{}, limits, nil).admit(peer)
}

// message is one request as the guard has framed it.
type message struct{ head, body string }

// takeAll reads every request of a connection, as a server would that reads all bodies.
func takeAll(c *Conn) (all []message, err error) {
	p := make([]byte, 96<<10)
	for {
		n, err := c.Read(p)
		if err != nil {
			return all, nil
		}
		m := message{head: string(p[:n])}
		for c.head > 0 {
			n, _ = c.Read(p)
			m.head += string(p[:n])
		}
		if c.req.Chunked {
			return append(all, m), nil
		}
		body, err := io.ReadAll(readerFunc(c.ReadBody))
		m.body = string(body)
		all = append(all, m)
		if err != nil {
			return all, err
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

const get = "GET /c/b HTTP/1.1\r\nHost: h\r\n"

// malformed holds what must be refused, with the status that it gets.
var malformed = []struct{ name, raw, status string }{
	{"length with transfer encoding", get + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
	{"transfer encoding with length", get + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", "400"},
	{"two lengths", get + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "400"},
	{"two equal lengths", get + "Content-Length: 3\r\ncontent-length: 3\r\n\r\nabc", "400"},
	{"list of lengths", get + "Content-Length: 3, 3\r\n\r\nabc", "400"},
	{"signed length", get + "Content-Length: +3\r\n\r\nabc", "400"},
	{"negative length", get + "Content-Length: -1\r\n\r\n", "400"},
	{"hexadecimal length", get + "Content-Length: 0x3\r\n\r\nabc", "400"},
	{"empty length", get + "Content-Length:\r\n\r\n", "400"},
	{"length out of range", get + "Content-Length: 99999999999999999999\r\n\r\n", "400"},
	{"length with space within", get + "Content-Length: 1 0\r\n\r\n0123456789", "400"},
	{"unknown transfer encoding", get + "Transfer-Encoding: gzip, chunked\r\n\r\n", "501"},
	{"identity transfer encoding", get + "Transfer-Encoding: identity\r\n\r\n", "501"},
	{"obfuscated transfer encoding", get + "Transfer-Encoding: \x0bchunked\r\n\r\n", "400"},
	{"two transfer encodings", get + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "400"},
	{"transfer encoding in 1.0", "PUT / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
	{"space before colon", get + "Content-Length : 3\r\n\r\nabc", "400"},
	{"tab before colon", get + "Transfer-Encoding\t: chunked\r\n\r\n", "400"},
	{"folded line", get + "X-A: 1\r\n 2\r\n\r\n", "400"},
	{"folded with tab", get + "X-A: 1\r\n\t2\r\n\r\n", "400"},
	{"folded first line", "GET / HTTP/1.1\r\n Host: h\r\n\r\n", "400"},
	{"bare LF after line", "GET / HTTP/1.1\nHost: h\r\n\r\n", "400"},
	{"bare LF after field", get + "X-A: 1\nX-B: 2\r\n\r\n", "400"},
	{"bare LF at end", get + "\n", "400"},
	{"bare CR in value", get + "X-A: 1\rX-B: 2\r\n\r\n", "400"},
	{"bare CR in request line", "GET /\rx HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
	{"NUL in value", get + "X-A: 1\x002\r\n\r\n", "400"},
	{"control in value", get + "X-A: 1\x012\r\n\r\n", "400"},
	{"no colon", get + "X-A\r\n\r\n", "400"},
	{"empty name", get + ": 1\r\n\r\n", "400"},
	{"space in name", get + "X A: 1\r\n\r\n", "400"},
	{"no host", "GET / HTTP/1.1\r\n\r\n", "400"},
	{"empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "400"},
	{"two hosts", get + "Host: i\r\n\r\n", "400"},
	{"host with path", "GET / HTTP/1.1\r\nHost: h/x\r\n\r\n", "400"},
	{"version 0.9", "GET /\r\n\r\n", "400"},
	{"version 1.2", "GET / HTTP/1.2\r\nHost: h\r\n\r\n", "505"},
	{"version 2.0", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400"},
	{"version 2", "GET / HTTP/2\r\nHost: h\r\n\r\n", "505"},
	{"version in lower case", "GET / http/1.1\r\nHost: h\r\n\r\n", "505"},
	{"two spaces", "GET  / HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
	{"space after version", "GET / HTTP/1.1 \r\nHost: h\r\n\r\n", "505"},
	{"space in target", "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", "505"},
	{"control in target", "GET /a\x01b HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
	{"fragment in target", "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
	{"relative target", "GET a HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
	{"authority target", "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n", "400"},
	{"asterisk of GET", "GET * HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
	{"foreign scheme", "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
	{"method with bad character", "G@T / HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
	{"no method", " / HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
	{"TLS to a plain port", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "400"},
	{"unknown expectation", get + "Expect: 200-ok\r\nContent-Length: 1\r\n\r\nx", "417"},
	{"long target", "GET /" + strings.Repeat("a", 40<<10) + " HTTP/1.1\r\nHost: h\r\n\r\n", "414"},
	{"endless target", "GET /" + strings.Repeat("a", 60<<10), "414"},
	{"long header", get + "X-A: " + strings.Repeat("a", 70<<10) + "\r\n\r\n", "431"},
	{"many bytes of fields", get + strings.Repeat("X-A: 1\r\n", 10<<10) + "\r\n", "431"},
	{"many fields", get + strings.Repeat("X-A:\r\n", 4100) + "\r\n", "431"},
}

func TestMalformedRequestsAreRefused(t *testing.T) {
	for _, c := range malformed {
		for _, burst := range []int{0, 1, 7} {
			t.Run(c.name, func(t *testing.T) {
				peer := &script{in: []byte(c.raw), burst: burst}
				conn := connect(peer, DefaultLimits())
				all, err := takeAll(conn)
				require.NoError(t, err)
				require.Empty(t, all, "the parser must not see it")
				answer := peer.out.String()
				require.True(t, strings.HasPrefix(answer, "HTTP/1.1 "+c.status+" "), "%q", answer)
				require.Contains(t, answer, "\r\nConnection: close\r\n")
				require.EqualValues(t, 1, conn.l.Refused())
			})
		}
	}
}

func TestWellFormedRequestsPass(t *testing.T) {
	put := "PUT /c/b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n"
	for _, c := range []struct {
		name, raw string
		want      []message
	}{
		{"one", get + "\r\n", []message{{get + "\r\n", ""}}},
		{"body", put + "hello", []message{{put, "hello"}}},
		{"body that looks like a request", strings.Replace(put, "5", "39", 1) + "GET /admin HTTP/1.1\r\nHost: evil.com\r\n\r\n",
			[]message{{strings.Replace(put, "5", "39", 1), "GET /admin HTTP/1.1\r\nHost: evil.com\r\n\r\n"}}},
		{"pipelined", put + "hello" + get + "\r\n" + put + "world", []message{{put, "hello"}, {get + "\r\n", ""}, {put, "world"}}},
		{"empty line before", "\r\n" + get + "\r\n", []message{{get + "\r\n", ""}}},
		{"old client", "GET / HTTP/1.0\r\n\r\n", []message{{"GET / HTTP/1.0\r\n\r\n", ""}}},
		{"GET with body", get + "Content-Length: 2\r\n\r\nhi", []message{{get + "Content-Length: 2\r\n\r\n", "hi"}}},
		{"absolute target", "GET http://h/c HTTP/1.1\r\nHost: h\r\n\r\n", []message{{"GET http://h/c HTTP/1.1\r\nHost: h\r\n\r\n", ""}}},
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", []message{{"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", ""}}},
		{"bytes over 127", "GET /\xc3\xa9 HTTP/1.1\r\nHost: h\r\nX-A: \xe9\r\n\r\n", []message{{"GET /\xc3\xa9 HTTP/1.1\r\nHost: h\r\nX-A: \xe9\r\n\r\n", ""}}},
		{"big header", get + "X-A: " + strings.Repeat("a", 60<<10) + "\r\n\r\n", []message{{get + "X-A: " + strings.Repeat("a", 60<<10) + "\r\n\r\n", ""}}},
		{"chunked", get + "Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", []message{{get + "Transfer-Encoding: Chunked\r\n\r\n", ""}}},
	} {
		for _, burst := range []int{0, 1, 3, 1000} {
			t.Run(c.name, func(t *testing.T) {
				peer := &script{in: []byte(c.raw), burst: burst}
				all, err := takeAll(connect(peer, DefaultLimits()))
				require.NoError(t, err)
				require.Equal(t, c.want, all)
				require.Empty(t, peer.out.String())
			})
		}
	}
}

func TestBodyCutOff(t *testing.T) {
	all, err := takeAll(connect(&script{in: []byte("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhel")}, DefaultLimits()))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Equal(t, "hel", all[0].body)
}

// agree fails if the guard has framed a connection otherwise than net/http frames it. Where net/http is stricter it has no
// opinion; where the guard is stricter it has refused.
func agree(t *testing.T, raw []byte) {
	all, _ := takeAll(connect(&script{in: append([]byte(nil), raw...)}, DefaultLimits()))
	rest := bufio.NewReaderSize(bytes.NewReader(raw), 128<<10)
	for _, m := range all {
		for {
			if p, err := rest.Peek(2); err != nil || string(p) != "\r\n" {
				break
			}
			_, _ = rest.Discard(2)
		}
		req, err := http.ReadRequest(rest)
		if err != nil {
			return
		}
		if got := strings.SplitN(m.head, " ", 2)[0]; got != req.Method {
			t.Fatalf("method %q, net/http has %q, of %q", got, req.Method, raw)
		}
		if len(req.TransferEncoding) > 0 {
			if !strings.Contains(strings.ToLower(m.head), "transfer-encoding") {
				t.Fatalf("net/http has a transfer encoding in %q", m.head)
			}
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("net/http: %v", err)
		}
		if string(body) != m.body {
			t.Fatalf("body %q, net/http has %q, of %q", m.body, body, raw)
		}
	}
}

func TestFramingAgreesWithNetHTTP(t *testing.T) {
	for _, c := range malformed {
		agree(t, []byte(c.raw+get+"\r\n"))
	}
}

func FuzzFraming(f *testing.F) {
	for _, c := range malformed {
		if len(c.raw) < 1000 {
			f.Add([]byte(c.raw))
			f.Add([]byte(c.raw + get + "\r\n"))
		}
	}
	f.Add([]byte("PUT /c/b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello" + get + "\r\n"))
	f.Add([]byte("\r\n\r\nGET http://h/?a=b HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) { agree(t, raw) })
}
