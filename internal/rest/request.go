// Package rest is one request on the wire, as the services see it: its address, headers, query and body, and the answer being
// made. It also has the operation table, from which routing, authorization, metrics labels and docs/compatibility.md come, and
// Dispatch, the one way that a request takes through a service.
//
// Strings that a Request hands out alias the connection's buffers and live until the answer is sent; what is kept longer is
// cloned. The account's name is its own, not the request's, once the account is found. A Request is used by one goroutine.
package rest

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/invariants"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest/framing"
	"github.com/blobd/blobd/internal/view"
)

// Request is one request and its answer.
type Request struct {
	ctx  *fasthttp.RequestCtx
	conn *framing.Conn
	part *framing.Head // of a part of a batch, which has no conn

	// Context ends when the server gives up on the request.
	Context context.Context
	// ID is the x-ms-request-id, ClientID the x-ms-client-request-id to echo.
	ID       string
	ClientID string
	Address
	Account *account.Account
	Method  string
	// Version is the behaviour that the request asks for; Explicit tells that it came from the request.
	Version  protocol.Version
	Explicit bool
	HTTPS    bool
	Client   netip.Addr
	Now      time.Time
	// Batch is the ID of the request that a part of a batch came with.
	Batch string
	// Operation is the row's name, for the log and metrics.
	Operation string
	// Grant is what authorization found; set before the handler runs.
	Grant auth.Grant

	headers fields
	query   fields
	scratch scratch
	body    Body
	uses    *account.Uses // of Account, until the request ends
	tls     uint16        // of the connection, once it was asked for
	held    int64         // of the budget for bodies, in bytes
	answer  int64         // that HoldAnswer has counted, in bytes
	stream  replyStream
	auth    auth.Request
	idText  [36]byte
	cancel  context.CancelFunc // of a timeout that the client asked for

	front    *Front
	status   int
	code     string
	reason   string // of the status line, if it is not the usual one
	sent     int64  // bytes of the answer's body
	added    int    // headers of the answer by AddHeader
	cause    error  // what the log has to know
	passed   bool   // it was let in, and counts
	finished bool
}

// WhileConnected returns a context that ends with the connection as well, for what takes long and is of no use to a client that has
// gone; it costs too much for the rest. done is called before the handler returns. If the client has gone by then, a failure of
// the request is told to nobody.
func (r *Request) WhileConnected() (ctx context.Context, done func()) {
	if r.conn == nil { // a part of a batch
		return r.Context, func() {}
	}
	ctx, cancel := context.WithCancelCause(r.Context)
	stop := r.conn.Watch(func() { cancel(errGone) })
	return ctx, func() {
		stop()
		if context.Cause(ctx) == errGone {
			r.body.err = errGone
		}
		cancel(nil)
	}
}

var errGone = errors.New("the client has ended the connection")

// Header returns the first value of a request header ("" when absent). The name is given in lower case.
func (r *Request) Header(lower string) string {
	v, _ := r.headers.get(lower)
	return v
}

// HeaderOK tells an absent header from an empty one.
func (r *Request) HeaderOK(lower string) (string, bool) { return r.headers.get(lower) }

// Headers visits every request header whose lower-case name begins with prefix, in the order sent. name is as sent.
func (r *Request) Headers(prefix string, visit func(name, lower, value string)) {
	for i := range r.headers {
		if f := &r.headers[i]; len(f.lower) >= len(prefix) && f.lower[:len(prefix)] == prefix {
			visit(f.name, f.lower, f.value)
		}
	}
}

// Query returns the first value of a query parameter, percent-decoded ("" when absent). The name is given in lower case.
func (r *Request) Query(lower string) string {
	v, _ := r.query.get(lower)
	return v
}

// QueryOK tells an absent parameter from an empty one.
func (r *Request) QueryOK(lower string) (string, bool) { return r.query.get(lower) }

// Flag reads a header that is a Boolean.
func (r *Request) Flag(lower string, absent bool) (bool, error) {
	v, ok := r.headers.get(lower)
	if !ok {
		return absent, nil
	}
	value, ok := protocol.ParseFlag(v)
	if !ok {
		return false, protocol.InvalidHeader(lower, v)
	}
	return value, nil
}

// TLSFor is the connection's version of TLS if the account asks for one: it costs something to find out.
func (r *Request) TLSFor(a *account.Account) uint16 {
	if r.tls == 0 && r.HTTPS && a.MinimumTLS > 0 && r.conn != nil {
		r.tls = r.conn.TLSVersion()
	}
	return r.tls
}

// AuthRequest is the request as authorization sees it. It lives as long as the request.
func (r *Request) AuthRequest() *auth.Request {
	r.auth = auth.Request{
		Service: r.Service, Method: r.Method, Account: r.AccountName, Secondary: r.Secondary, PathStyle: r.PathStyle, RawPath: r.RawPath,
		Headers: &r.headers, Query: &r.query, ContentLength: r.ContentLength(), Version: r.Version,
		Client: r.Client, HTTPS: r.HTTPS, Now: r.Now, Container: r.Container, Blob: r.Blob, Table: r.Table,
	}
	if r.Account != nil {
		r.auth.TLS = r.TLSFor(r.Account)
	}
	return &r.auth
}

// ContentLength is the declared length of the body in bytes, -1 if none is declared.
func (r *Request) ContentLength() int64 { return r.head().Length }

// Status is the status of the answer.
func (r *Request) Status() int { return r.status }

// Received is the number of body bytes that were read.
func (r *Request) Received() int64 { return r.body.declared - r.body.left }

// Sent is the number of body bytes in the answer, as far as they were sent.
func (r *Request) Sent() int64 { return r.sent }

// Cause is the failure behind the answer, nil if there is none. It is for the log and may tell what the client must not know.
func (r *Request) Cause() error { return r.cause }

// Code is the error code of the answer, empty for a success.
func (r *Request) Code() string { return r.code }

// Target is path and query as sent.
func (r *Request) Target() string { return view.String(r.ctx.Request.Header.RequestURI()) }

// RawQuery is the query as sent.
func (r *Request) RawQuery() string {
	_, q, _ := strings.Cut(r.Target(), "?")
	return q
}

var requests = sync.Pool{New: func() any { return new(Request) }}

// release makes the Request ready for another use.
func (r *Request) release() {
	if r.cancel != nil {
		r.cancel()
	}
	if invariants.Enabled {
		h := &r.ctx.Request.Header
		for _, b := range [][]byte{h.Method(), h.RequestURI(), h.RawHeaders(), r.scratch.b, r.idText[:]} {
			invariants.Overwrite(b)
		}
	}
	clear(r.headers)
	clear(r.query)
	*r = Request{headers: r.headers[:0], query: r.query[:0], scratch: r.scratch}
	requests.Put(r)
}

// Local is the address on which the request came in.
func (r *Request) Local() netip.AddrPort {
	a, err := netip.ParseAddrPort(r.ctx.LocalAddr().String())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
