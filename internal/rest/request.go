// Package rest is one request on the wire, as the services see it: its address, headers, query and body, and the answer being
// made. It also has the operation table, from which routing, authorization, metrics labels and docs/compatibility.md come.
//
// Strings that a Request hands out alias the connection's buffers and live until the handler returns; what is kept longer is
// cloned. A Request is used by one goroutine.
package rest

import (
	"context"
	"net/netip"
	"time"
	"unsafe"

	"github.com/valyala/fasthttp"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/protocol"
)

// Request is one request and its answer.
type Request struct {
	ctx *fasthttp.RequestCtx

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
	// Operation is the row's name, for the log and metrics.
	Operation string
	// Grant is what authorization found; set before the handler runs.
	Grant auth.Grant

	headers fields
	query   fields
	body    Body
	close   bool // the connection cannot be used again
}

// Address is what a request line and Host name.
type Address struct {
	Service     auth.Service
	AccountName string // without "-secondary"
	Secondary   bool
	// PathStyle tells that the account stood in the path.
	PathStyle bool
	// RawPath is the path as sent, without the query.
	RawPath string
	// Resource is the path after the account, as sent, without its leading slash.
	Resource string
	// Container and Blob are decoded. "/blob" alone is in $root only when the service decides so; here it is a Container.
	Container string
	Blob      string
}

// field is one header or query parameter. Lower is the name in lower case.
type field struct{ name, lower, value string }

type fields []field

// Get returns the first value of the name, which must be given in lower case.
func (f fields) Get(lower string) (string, bool) {
	for i := range f {
		if f[i].lower == lower {
			return f[i].value, true
		}
	}
	return "", false
}

// All visits every field in the order sent.
func (f fields) All(visit func(name, value string)) {
	for i := range f {
		visit(f[i].name, f[i].value)
	}
}

// Header returns the first value of a request header ("" when absent). The name is given in lower case.
func (r *Request) Header(lower string) string {
	v, _ := r.headers.Get(lower)
	return v
}

// HeaderOK tells an absent header from an empty one.
func (r *Request) HeaderOK(lower string) (string, bool) { return r.headers.Get(lower) }

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
	v, _ := r.query.Get(lower)
	return v
}

// QueryOK tells an absent parameter from an empty one.
func (r *Request) QueryOK(lower string) (string, bool) { return r.query.Get(lower) }

// AuthRequest is the request as authorization sees it.
func (r *Request) AuthRequest() *auth.Request {
	return &auth.Request{
		Service: r.Service, Method: r.Method, Account: r.AccountName, Secondary: r.Secondary, RawPath: r.RawPath,
		Headers: r.headers, Query: r.query, ContentLength: r.ContentLength(), Version: r.Version,
		Client: r.Client, HTTPS: r.HTTPS, Now: r.Now, Container: r.Container, Blob: r.Blob,
	}
}

// ContentLength is the declared length of the body in bytes, -1 if none is declared.
func (r *Request) ContentLength() int64 {
	if _, ok := r.headers.Get("content-length"); !ok {
		return -1
	}
	return int64(r.ctx.Request.Header.ContentLength())
}

// str views bytes of the connection's buffer as a string, which lives as long as they do.
func str(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
