package rest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest/framing"
	"github.com/blobd/blobd/internal/view"
)

// Front turns what the HTTP library has parsed into Requests and gives them to the services. Every connection that it serves
// comes from a framing.Listener.
type Front struct {
	// Accounts finds the addressed account.
	Accounts *account.Registry
	// Blob and Table are the services that are there; a host name picks one, else the listener's.
	Blob, Table Service
	// Strict refuses versions newer than the newest known one.
	Strict bool
	// Domains bounds what may follow <account>.<service>. in a host name; empty for anything.
	Domains []string
	// Local takes only the Host names of protocol.LocalHost: for a listener on a loopback address, which the pages that this machine's
	// browser shows can reach as well.
	Local bool
	// Context is the parent of every request's context; nil for the background.
	Context context.Context
	// Begin, if set, is told of every request before it is served, Done after its answer, when everything about it is known.
	Begin func()
	Done  func(*Request)
	// PartDone, if set, is told of each part of a batch when it is answered.
	PartDone func(part *Request, took time.Duration)
	// Panicked, if set, is told of a panic in a handler.
	Panicked func(r *Request, value any, stack []byte)
}

// Server returns the HTTP server of one listener, whose requests go to a service unless their host name says otherwise.
// Deadlines and limits are the framing's, so the library has none of its own but the size of a header.
func (f *Front) Server(service auth.Service, limits framing.Limits) *fasthttp.Server {
	name := "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0"
	if service == auth.Table {
		name = "Windows-Azure-Table/1.0 Microsoft-HTTPAPI/2.0"
	}
	return &fasthttp.Server{
		Handler:                       func(ctx *fasthttp.RequestCtx) { f.serve(ctx, service) },
		HeaderReceived:                hideBody,
		Name:                          name,
		ReadBufferSize:                limits.Header + 1024,
		WriteBufferSize:               32 << 10,
		Concurrency:                   1 << 20, // the listener limits
		DisableHeaderNamesNormalizing: true,
		NoDefaultContentType:          true,
		DisablePreParseMultipartForm:  true,
		// Idle connections give all their buffers back.
		ReduceMemoryUsage: true,
		LazyRequestTime:   true,
		Logger:            quiet{},
	}
}

// quiet drops the library's own log: what matters of a connection is counted by the framing.
type quiet struct{}

func (quiet) Printf(string, ...any) {}

// hideBody lets the library see a request without a body: the body stays with the framing, and so does 100 Continue.
func hideBody(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	if h.ContentLength() != 0 {
		h.Del(fasthttp.HeaderTransferEncoding)
		h.SetContentLength(0)
	}
	// The library knows the header only in this spelling, as names keep their case.
	h.Del(fasthttp.HeaderExpect)
	return fasthttp.RequestConfig{}
}

// serve is one request from its header to its answer.
func (f *Front) serve(ctx *fasthttp.RequestCtx, service auth.Service) {
	r := requests.Get().(*Request)
	r.front, r.ctx, r.Now = f, ctx, time.Now()
	r.conn = ctx.Conn().(*framing.Conn)
	if f.Begin != nil {
		f.Begin()
	}
	if s := f.answer(r, service); r.stream.body == nil {
		if err := r.countAnswer(r.sent); err != nil {
			w, _ := s.(ErrorWriter)
			r.Fail(err, w)
		}
	}
	r.conn.Answering()
	r.cors()
	if !r.conn.Reusable() {
		ctx.Response.SetConnectionClose()
	}
	if r.stream.body == nil {
		r.finish()
	}
}

// errUntaken is backpressure: what makes long answers is refused while too many lie in memory that clients have not yet read.
var errUntaken = protocol.ErrServerBusy.Saying("Too many answers wait for clients that do not read them. Please retry your request.").WithHeader("Retry-After", "1")

// answer serves the request by the service that it returns; a panic becomes InternalError.
func (f *Front) answer(r *Request, service auth.Service) (s Service) {
	defer func() {
		if v := recover(); v != nil {
			w, _ := s.(ErrorWriter)
			r.trapped(v, w)
		}
	}()
	err := r.parse(service)
	if s = f.Blob; r.Service == auth.Table {
		s = f.Table
	}
	if err == nil && s == nil {
		err = protocol.ErrInvalidUri
	}
	if err == nil {
		err = r.open(s)
	}
	if err == nil && r.Method == http.MethodPost && !r.conn.MayAnswer() { // before anything is done that has to be answered
		err = errUntaken
	}
	if err == nil && r.Method == http.MethodOptions {
		if err = r.preflight(); err == nil {
			return s
		}
	}
	if err != nil {
		w, _ := s.(ErrorWriter)
		r.Fail(err, w)
		return s
	}
	s.Serve(r)
	return s
}

// trapped answers a request whose handler has panicked.
func (r *Request) trapped(v any, w ErrorWriter) { r.Fail(r.panicked(v), w) }

// panicked makes an error of a panic.
func (r *Request) panicked(v any) error {
	if f := r.front; f.Panicked != nil {
		f.Panicked(r, v, debug.Stack())
	}
	return fmt.Errorf("panic: %v", v)
}

// parse reads everything but the body. The headers that every answer has are set first.
func (r *Request) parse(service auth.Service) error {
	ctx, f := r.ctx, r.front
	r.Context = f.Context
	if r.Context == nil {
		r.Context = context.Background()
	}
	r.ID = newID(&r.idText)
	r.Service = service
	r.Method = view.String(ctx.Request.Header.Method())
	r.HTTPS, r.Client = r.conn.Secure(), r.conn.Client()
	block, target := view.String(ctx.Request.Header.RawHeaders()), view.String(ctx.Request.Header.RequestURI())
	r.scratch.reset(len(block) + 3*len(target))
	if n := r.conn.Head().Length; n > 0 {
		r.body = Body{stream: bodyReader{r.conn}, declared: n, left: n}
	}
	r.SetHeader("x-ms-request-id", r.ID)
	headersErr := r.headers.parseHeaders(block, &r.scratch)
	if id := r.Header("x-ms-client-request-id"); isClientID(id) {
		r.ClientID = id
		r.SetHeader("x-ms-client-request-id", id)
	}
	host := r.Header("host")
	path, query, err := splitTarget(target, host)
	if err == nil && f.Local && !protocol.LocalHost(host, f.Domains) {
		err = protocol.InvalidHeader("Host", host).Saying("The server listens on this machine only and does not know this host name. " +
			"Use an IP address or localhost, or have it serve the name with --domain.")
	}
	if err == nil {
		err = r.Address.parse(host, path, service, f.Domains, &r.scratch)
	}
	if queryErr := r.query.parseQuery(query, &r.scratch); err == nil {
		err = queryErr
	}
	if err == nil {
		err = headersErr
	}
	if versionErr := r.parseVersion(f.Strict); err == nil {
		err = versionErr
	}
	if r.Version != "" {
		r.SetHeader("x-ms-version", string(r.Version))
	}
	return err
}

// parseVersion determines the version: header, else api-version or sv of a SAS, else the oldest with credentials and the newest
// without (REST page "Versioning for Azure Storage"). A service may replace what was not explicit.
func (r *Request) parseVersion(strict bool) error {
	r.Version = protocol.V20090919
	if v, ok := r.HeaderOK("x-ms-version"); ok {
		version, ok := protocol.ParseVersion(v, strict)
		if !ok {
			return protocol.InvalidHeader("x-ms-version", v)
		}
		r.Version, r.Explicit = version, true
		return nil
	}
	if v, ok := r.QueryOK("api-version"); ok {
		version, ok := protocol.ParseVersion(v, strict)
		if !ok {
			return protocol.InvalidQuery("api-version", v, "")
		}
		r.Version, r.Explicit = version, true
		return nil
	}
	if v, ok := r.QueryOK("sv"); ok {
		// A malformed one is refused by authorization, which says so in its own words.
		if version, ok := protocol.ParseVersion(v, strict); ok {
			r.Version, r.Explicit = version, true
		}
		return nil
	}
	if _, ok := r.HeaderOK("authorization"); !ok {
		r.Version = protocol.Newest
	}
	return nil
}

// VersionDefaulter is implemented by a service that has a default version for requests that name none.
type VersionDefaulter interface {
	DefaultVersion(r *Request) protocol.Version
}

// open finds the account and sets the deadline.
func (r *Request) open(s Service) error {
	if r.AccountName == "" {
		return protocol.ErrInvalidUri
	}
	if r.Account, r.uses = r.front.Accounts.Enter(r.AccountName); r.Account == nil {
		return protocol.ErrResourceNotFound
	}
	r.AccountName = r.Account.Name // the same, but for what keeps it longer than the request
	if d, ok := s.(VersionDefaulter); ok && !r.Explicit {
		if v := d.DefaultVersion(r); v != "" {
			r.Version = v
			r.SetHeader("x-ms-version", string(v))
		}
	}
	return r.limit()
}

// limit sets the deadline that the client asked for.
func (r *Request) limit() error {
	if t, ok := r.QueryOK("timeout"); ok && t != "" {
		seconds, err := strconv.ParseUint(t, 10, 31)
		if err != nil {
			return protocol.InvalidQuery("timeout", t, "")
		}
		if seconds > 0 {
			r.Context, r.cancel = context.WithTimeout(r.Context, time.Duration(seconds)*time.Second)
		}
	}
	return nil
}

// finish ends the request: its answer is sent, or the connection is lost.
func (r *Request) finish() {
	if r.finished {
		return
	}
	r.finished = true
	if r.held > 0 {
		r.conn.BodyDone()
	}
	if f := r.front; f.Done != nil {
		f.Done(r)
	}
	if r.passed {
		r.Account.Meter.Leave(r.Received(), r.sent, r.Now)
	}
	if r.uses != nil {
		r.uses.Leave()
	}
	r.release()
}

type bodyReader struct{ c *framing.Conn }

func (b bodyReader) Read(p []byte) (int, error) { return b.c.ReadBody(p) }

// isClientID reports whether an x-ms-client-request-id is echoed: at most 1024 visible ASCII characters.
func isClientID(s string) bool {
	if s == "" || len(s) > 1024 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// Request ids are 128 bits in the shape of a GUID: a scrambled counter, unique in this process, and a part that is the
// process's own.
var (
	idCounter atomic.Uint64
	idSeed    = rand.Uint64()
	idProcess = rand.Uint64()
)

func newID(to *[36]byte) string {
	const hex = "0123456789abcdef"
	// A bijection (SplitMix64, Steele et al. 2014), so that no two are equal.
	x := idSeed + idCounter.Add(1)*0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	x ^= x >> 31
	words := [2]uint64{x, idProcess}
	at := 0
	for i := range 32 {
		if i == 8 || i == 12 || i == 16 || i == 20 {
			to[at] = '-'
			at++
		}
		to[at] = hex[words[i/16]>>(60-4*(i%16))&15]
		at++
	}
	return view.String(to[:])
}
