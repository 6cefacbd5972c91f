package framing

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blobd/blobd/internal/invariants"
)

// Conn is one accepted connection. Read gives the HTTP parser header blocks and nothing else; ReadBody gives the handler the
// body of the request whose header was read last. Both are called by the goroutine that serves the connection; only
// Close, Abort and the listener's shutdown come from elsewhere.
type Conn struct {
	net.Conn          // the socket, or TLS on it
	sock     net.Conn // the socket
	l        *Listener
	client   netip.Addr
	secure   bool
	state    atomic.Int32
	waiter   *waiter // nil with TLS, which has buffers of its own

	// Input: buf[r:w] has arrived and is not yet consumed; the first head bytes of it belong to the parser.
	buf  []byte
	from *[]byte // the pooled buffer that buf is of, or nil
	r, w int
	head int

	req    Head
	left   int64 // bytes of the body not yet read
	wait   bool  // the client waits for 100 Continue
	linger bool  // the peer may still be sending: read it away before closing

	readBy, writeBy time.Time // the deadlines that are set on the socket
	gained          int       // body bytes since readBy was set

	room *[]byte // given out by Room; nil if none is

	header  hold // of Limits.Headers
	body    hold // of Limits.Bodies
	untaken hold // of Limits.Answers
	stream  hold // of Limits.Streams

	small [2048]byte
}

// The states. A connection is busy from the first byte of a request to the end of its answer.
const (
	idle int32 = iota
	busy
	closed
)

// Client is the peer's address.
func (c *Conn) Client() netip.Addr { return c.client }

// Secure tells that the connection is TLS.
func (c *Conn) Secure() bool { return c.secure }

// TLSVersion is the version of TLS as crypto/tls numbers them, 0 without TLS.
func (c *Conn) TLSVersion() uint16 {
	if t, ok := c.Conn.(*tls.Conn); ok {
		return t.ConnectionState().Version
	}
	return 0
}

// Head is the framing of the current request.
func (c *Conn) Head() Head { return c.req }

// Buffered is how many bytes of the current request's body have arrived and are not yet read.
func (c *Conn) Buffered() int64 { return min(int64(c.w-c.r-c.head), c.left) }

// Await counts n bytes of memory, all in all, for the body that is awaited, until BodyDone; false if that much is not left.
func (c *Conn) Await(n int64) bool {
	b, held := c.l.limits.Bodies, c.body.n.Load()
	if b == nil || n <= held {
		return true
	}
	if !b.takeFor(&c.body, n-held) {
		return false
	}
	if held == 0 && c.left > 0 {
		b.begin(&c.body)
	}
	return true
}

// BodyDone gives the memory of the body back.
func (c *Conn) BodyDone() { c.l.limits.Bodies.end(&c.body) }

// Answer counts an answer of n bytes, all in all, until it is sent or the connection ends; false if that much memory is not left. One that
// must be sent, as something was done, has a quarter of all more, beyond which its connection has to end without it.
func (c *Conn) Answer(n int64, must bool) bool {
	b, held := c.l.limits.Answers, c.untaken.n.Load()
	if n <= SmallAnswer || n <= held || b == nil {
		return true
	}
	if must {
		return b.force(&c.untaken, n-held)
	}
	return b.takeFor(&c.untaken, n-held)
}

// Stream counts n bytes, all in all, of buffers of the content that is going to be streamed, until that is done; false if that much is not
// left.
func (c *Conn) Stream(n int64) bool {
	held := c.stream.n.Load()
	return n <= held || c.l.limits.Streams.takeFor(&c.stream, n-held)
}

// MayAnswer tells whether any memory is left for answers.
func (c *Conn) MayAnswer() bool { return c.l.limits.Answers.left(&c.untaken) }

// Answering notes that the answer is made, and waits for the peer from now on.
func (c *Conn) Answering() {
	if c.untaken.n.Load() != 0 {
		c.l.limits.Answers.begin(&c.untaken)
	}
	if c.stream.n.Load() != 0 {
		c.l.limits.Streams.begin(&c.stream)
	}
}

// answered gives the memory of an answer back.
func (c *Conn) answered() {
	if c.untaken.n.Load() != 0 {
		c.l.limits.Answers.end(&c.untaken)
	}
	if c.stream.n.Load() != 0 {
		c.l.limits.Streams.end(&c.stream)
	}
}

// charge takes what the buffer of an incomplete header needs from the budget; false if that is not left.
func (c *Conn) charge() bool {
	need := int64(0)
	if len(c.buf) > len(c.small) {
		need = int64(len(c.buf))
	}
	held := c.header.n.Load()
	if need < held { // it is in the connection's own memory again
		c.discharge()
	}
	return need <= held || c.l.limits.Headers.takeFor(&c.header, need-held)
}

// discharge gives it back.
func (c *Conn) discharge() {
	if c.header.n.Load() != 0 {
		c.l.limits.Headers.end(&c.header)
	}
}

// Read gives the parser what is left of the current header block, or waits for the next one. It returns io.EOF when the
// connection is to be closed for whatever reason; an answer, if one is due, was sent.
func (c *Conn) Read(p []byte) (int, error) {
	if c.head == 0 {
		if !c.next() {
			return 0, io.EOF
		}
	}
	n := copy(p, c.buf[c.r:c.r+c.head])
	c.r += n
	c.head -= n
	c.lighten()
	return n, nil
}

// Room returns a buffer for an answer's body. It is the caller's until the answer is sent, or until the next call.
func (c *Conn) Room(n int) []byte {
	if n > pooled {
		return make([]byte, n)
	}
	if c.room == nil {
		c.room = pool.Get().(*[]byte)
	}
	return (*c.room)[:n]
}

// sent takes the room back. Close does not: it may be called while an answer is made.
func (c *Conn) sent() {
	if c.room != nil {
		free(c.room)
		c.room = nil
	}
}

// next waits for a complete header block; false means that the connection has come to its end.
func (c *Conn) next() bool {
	c.sent()
	c.answered()
	defer c.discharge()
	if c.state.Load() == busy && !c.finish() {
		return false
	}
	c.compact()
	lim := &c.l.limits
	var started time.Time
	if c.w == 0 {
		c.state.CompareAndSwap(busy, idle)
		c.readDeadline(time.Now(), lim.Idle)
		if c.l.stopping.Load() { // looked at last, so that Shutdown finds either the flag seen or the deadline its own
			return false
		}
		n, err := c.first()
		if n == 0 {
			c.plain(err)
			return false
		}
		if !c.state.CompareAndSwap(idle, busy) {
			return false
		}
		c.w = n
	} else if !c.state.CompareAndSwap(idle, busy) && c.state.Load() == closed {
		return false
	}
	c.req, c.gained = Head{Length: -1}, 0
	first := true
	for line := 0; ; {
		nl := bytes.IndexByte(c.buf[line:c.w], '\n')
		if nl < 0 {
			if c.w-line > 0 && !c.plausible(c.buf[line:c.w], first) {
				return false
			}
			if c.w == len(c.buf) && !c.grow() {
				c.refuse(&refusal{"431 Request Header Fields Too Large", "Request Too Long"})
				return false
			}
			if started.IsZero() {
				if c.w < len(c.small) {
					c.compact() // it may take its time
				}
				started = time.Now()
				c.readBy = started.Add(lim.HeaderTime)
				_ = c.Conn.SetReadDeadline(c.readBy)
			}
			if !c.charge() {
				c.refuse(&refusal{"503 Service Unavailable", "Server Busy"})
				return false
			}
			n, err := c.Conn.Read(c.buf[c.w:])
			c.w += n
			if n == 0 && err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					c.refuse(&refusal{"408 Request Timeout", "Request Timeout"})
				}
				return false
			}
			continue
		}
		end := line + nl
		if end == line || c.buf[end-1] != '\r' {
			c.refuse(bad("Invalid Header: bare LF"))
			return false
		}
		text := c.buf[line : end-1]
		var no *refusal
		switch {
		case bytes.IndexByte(text, '\r') >= 0:
			no = bad("Invalid Header: bare CR")
		case first && len(text) == 0: // an empty line before the request line (RFC 9112, section 2.2)
			c.w = copy(c.buf, c.buf[end+1:c.w])
			line = 0
			continue
		case first:
			first = false
			no = c.req.requestLine(text, lim.URI)
		case len(text) == 0:
			if no = c.req.end(); no == nil {
				c.head = end + 1
				c.left = max(c.req.Length, 0)
				c.wait = c.req.Expect
				return true
			}
		default:
			no = c.req.field(text, lim.Fields)
		}
		if no != nil {
			c.refuse(no)
			return false
		}
		line = end + 1
	}
}

// first waits for the first bytes of a request. From a socket they come into a pooled buffer, in which a small body has room as
// well, so that both take one read; until they come the connection holds no such buffer.
func (c *Conn) first() (int, error) {
	if c.waiter == nil {
		return c.Conn.Read(c.buf) // an error beside data is met again
	}
	b, n, err := c.waiter.wait()
	if n > 0 {
		c.from, c.buf = b, (*b)[:c.bufSize()]
	}
	return n, err
}

// bufSize is how much of a pooled buffer is used, in bytes: not more than a header may have.
func (c *Conn) bufSize() int { return min(pooled, max(c.l.limits.Header, len(c.small)+1)) }

// lighten gives a pooled buffer back when all of it is consumed.
func (c *Conn) lighten() {
	if c.r == c.w && c.from != nil {
		c.release()
		c.buf, c.r, c.w = c.small[:], 0, 0
	}
}

// plain answers a client that speaks HTTP to a port that speaks HTTPS: a mistake that is hard to find otherwise.
func (c *Conn) plain(err error) {
	var record tls.RecordHeaderError
	if errors.As(err, &record) && record.Conn != nil && isToken[record.RecordHeader[0]] {
		const text = "This port speaks HTTPS."
		_, _ = io.WriteString(record.Conn, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: "+
			strconv.Itoa(len(text))+"\r\n\r\n"+text)
	}
}

// plausible looks at an incomplete line, so that a peer that speaks another protocol or sends an endless target is turned
// away before it has filled the buffer.
func (c *Conn) plausible(text []byte, first bool) bool {
	if first {
		if text[0] != '\r' && !isToken[text[0]] {
			c.refuse(bad("Invalid Verb"))
			return false
		}
		if len(text) > c.l.limits.URI+64 {
			c.refuse(&refusal{"414 URI Too Long", "URL Too Long"})
			return false
		}
	}
	return true
}

// finish reads away what the handler left of the body, if that is little.
func (c *Conn) finish() bool {
	if c.req.Chunked || c.wait || c.left > c.l.limits.Drain {
		return false
	}
	if c.left == 0 {
		return true
	}
	trash := pool.Get().(*[]byte)
	defer free(trash)
	for c.left > 0 {
		if _, err := c.ReadBody(*trash); err != nil {
			return false
		}
	}
	return true
}

// Reusable tells whether another request may follow on this connection once the current one is answered. If not, the answer
// says so, and Close reads away for a while what the peer is still sending, lest a reset destroys the answer on its way.
func (c *Conn) Reusable() bool {
	if c.req.Chunked || c.wait || c.left > c.l.limits.Drain {
		c.linger = true
		return false
	}
	return !c.l.stopping.Load()
}

// ReadBody reads the body of the current request: io.EOF after exactly the declared length, io.ErrUnexpectedEOF if the peer
// ended before, os.ErrDeadlineExceeded if it stalled.
func (c *Conn) ReadBody(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	if c.wait {
		c.wait = false
		if _, err := c.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n")); err != nil {
			return 0, err
		}
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	var n int
	if c.r < c.w {
		n = copy(p, c.buf[c.r:c.w])
		c.r += n
		c.lighten()
	} else {
		c.bodyDeadline()
		var err error
		if n, err = c.Conn.Read(p); n == 0 {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		c.gained += n
	}
	c.left -= int64(n)
	if c.body.n.Load() != 0 {
		c.body.moved.Add(int64(n))
		if c.left == 0 {
			c.l.limits.Bodies.rest(&c.body)
		}
	}
	return n, nil
}

// bodyDeadline gives the peer another Stall once it has made Progress in the last one.
func (c *Conn) bodyDeadline() {
	lim := &c.l.limits
	now := time.Now()
	if ahead := c.readBy.Sub(now); ahead > lim.Stall || c.gained >= lim.Progress && ahead < lim.Stall-lim.Stall/8 || c.gained == 0 {
		c.readBy, c.gained = now.Add(lim.Stall), 0
		_ = c.Conn.SetReadDeadline(c.readBy)
	}
}

// readDeadline sets the deadline d from now, unless the one that is set is near enough.
func (c *Conn) readDeadline(now time.Time, d time.Duration) {
	if ahead := c.readBy.Sub(now); ahead < d-d/8 || ahead > d {
		c.readBy = now.Add(d)
		_ = c.Conn.SetReadDeadline(c.readBy)
	}
}

// piece is what a peer must take within a Stall, in bytes. More goes to the socket at once where it is not TLS, which does not
// outlive a write that broke off: each call wakes the peer, and content in few calls costs a third less than in many.
const (
	piece = 128 << 10
	burst = 8 * piece
)

// Write sends p. The peer has a Stall for each piece.
func (c *Conn) Write(p []byte) (n int, err error) {
	most := burst
	if c.secure {
		most = piece
	}
	for {
		now := time.Now()
		if d := c.l.limits.Stall; c.writeBy.Sub(now) < d-d/8 {
			c.writeBy = now.Add(d)
			_ = c.Conn.SetWriteDeadline(c.writeBy)
		}
		m, err := c.send(p[n:min(n+most, len(p))])
		n += m
		if c.untaken.n.Load() != 0 {
			c.untaken.moved.Add(int64(m))
		}
		if c.stream.n.Load() != 0 {
			c.stream.moved.Add(int64(m))
		}
		if n == len(p) || err != nil && (m < piece || !errors.Is(err, os.ErrDeadlineExceeded)) {
			return n, err
		}
	}
}

// send is a Write to the socket, or to TLS on it. A long one may take the system a while, and others should run meanwhile.
func (c *Conn) send(p []byte) (int, error) {
	if c.waiter != nil && len(p) <= pooled {
		return c.waiter.write(p)
	}
	return c.Conn.Write(p)
}

// refuse answers a malformed request as the system HTTP layer in front of Azure does, and gives the connection up.
func (c *Conn) refuse(no *refusal) {
	c.l.refused.Add(1)
	_, _ = c.Write([]byte("HTTP/1.1 " + no.status + "\r\nContent-Type: text/plain; charset=us-ascii\r\nServer: Microsoft-HTTPAPI/2.0\r\nDate: " +
		time.Now().UTC().Format(httpDate) + "\r\nConnection: close\r\nContent-Length: " + strconv.Itoa(len(no.reason)) + "\r\n\r\n" + no.reason))
	c.linger = true
}

// Abort ends the connection at once, without an answer.
func (c *Conn) Abort() {
	_ = c.sock.Close() // not TLS, which would wait for the peer to take a close_notify
}

// Close ends the connection; if the peer is still sending, what it sends is read away for a while first.
func (c *Conn) Close() error {
	c.answered() // each time: one from another goroutine may come before the answer
	if c.state.Swap(closed) == closed {
		return nil
	}
	defer c.l.remove(c)
	if c.linger {
		c.drain()
	}
	c.release()
	return c.Conn.Close()
}

func (c *Conn) drain() {
	if hc, ok := c.Conn.(interface{ CloseWrite() error }); !ok || hc.CloseWrite() != nil {
		return
	}
	_ = c.Conn.SetReadDeadline(time.Now().Add(c.l.limits.Linger))
	b := pool.Get().(*[]byte)
	defer free(b)
	for {
		if _, err := c.Conn.Read(*b); err != nil {
			return
		}
	}
}

// compact moves what has arrived of the next request to the front of the smallest buffer that holds it.
func (c *Conn) compact() {
	rest := c.buf[c.r:c.w]
	if len(rest) <= len(c.small) && len(c.buf) != len(c.small) {
		n := copy(c.small[:], rest)
		c.release()
		c.buf, c.r, c.w = c.small[:], 0, n
		return
	}
	c.w = copy(c.buf, rest)
	c.r = 0
}

// grow makes room in the buffer; false at the limit. The first step takes a pooled buffer, which holds nearly every header.
func (c *Conn) grow() bool {
	n := len(c.buf)
	if n >= c.l.limits.Header {
		return false
	}
	if n < pooled {
		b := pool.Get().(*[]byte)
		copy(*b, c.buf[:c.w])
		c.from, c.buf = b, (*b)[:c.bufSize()]
		return true
	}
	b := make([]byte, min(4*n, c.l.limits.Header))
	copy(b, c.buf[:c.w])
	c.release()
	c.buf = b
	return true
}

// release gives a pooled buffer back.
func (c *Conn) release() {
	if c.from != nil {
		free(c.from)
		c.from = nil
	}
	c.buf = nil
}

// pooled is the size of the pooled buffers, in bytes.
const pooled = 16 << 10

// SmallAnswer is up to which size an answer is not counted, in bytes: a socket takes that at once.
const SmallAnswer = pooled

const httpDate = "Mon, 02 Jan 2006 15:04:05 GMT"

var pool = sync.Pool{New: func() any { b := make([]byte, pooled); return &b }}

// free gives a buffer back to the pool.
func free(b *[]byte) {
	invariants.Overwrite(*b)
	pool.Put(b)
}
