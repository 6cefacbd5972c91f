package rest

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest/framing"
)

// Part makes a request of its own out of one part of a batch: it has the part's address and headers, and of the batch only what
// the connection tells, the account and the version. It is dispatched like any other and its answer is taken by AppendAnswer.
// A part has no body. The Request is not for use after that of the batch.
func (r *Request) Part(p *protocol.PartRequest) (*Request, error) {
	sub := &Request{
		ctx: &fasthttp.RequestCtx{}, front: r.front, part: &framing.Head{Length: -1}, Context: r.Context, Now: r.Now, HTTPS: r.HTTPS,
		Client: r.Client, Account: r.Account, tls: r.tls, Method: p.Method, Version: r.Version, Explicit: true,
	}
	sub.ctx.Response.Header.DisableNormalizing()
	sub.ID, sub.Batch = newID(&sub.idText), r.ID
	sub.Service = r.Service
	sub.ctx.Request.Header.SetRequestURI(p.Target)
	host := r.Header("host")
	for _, h := range p.Header {
		sub.headers = append(sub.headers, field{h.Name, strings.ToLower(h.Name), h.Value})
		switch {
		case strings.EqualFold(h.Name, "Content-Length"):
			n, err := strconv.ParseInt(h.Value, 10, 64)
			if err != nil || n != 0 {
				return nil, protocol.ErrInvalidInput
			}
			sub.part.Length = 0
		case strings.EqualFold(h.Name, "Host"):
			host = h.Value
		}
	}
	if err := sub.headers.checkMetadata(); err != nil {
		return nil, err
	}
	sub.scratch.reset(6*len(p.Target) + len(host))
	path, query, err := splitTarget(p.Target, host)
	if err != nil {
		return nil, err
	}
	if err := sub.Address.parse(host, path, r.Service, r.front.Domains, &sub.scratch); err != nil {
		return nil, err
	}
	if err := sub.query.parseQuery(query, &sub.scratch); err != nil {
		return nil, err
	}
	if sub.AccountName != r.AccountName && sub.PathStyle && r.front.Accounts.Lookup(sub.AccountName) == nil {
		// The Python SDK up to 12.12 leaves the account out of the URLs of parts, and signs them so.
		if err := sub.Address.under(r.AccountName, r.Secondary, path, &sub.scratch); err != nil {
			return nil, err
		}
	}
	if sub.AccountName != r.AccountName || sub.Service != r.Service {
		return nil, protocol.ErrInvalidInput
	}
	sub.AccountName = r.AccountName // not in the body's memory
	sub.SetHeader("x-ms-request-id", sub.ID)
	sub.SetHeader("x-ms-version", string(sub.Version))
	if id := sub.Header("x-ms-client-request-id"); isClientID(id) {
		sub.ClientID = id
		sub.SetHeader("x-ms-client-request-id", id)
	}
	return sub, nil
}

// AnswerPart has a part answered by serve, within the time that the part itself names, and tells the front of it. A panic is the part's own: it becomes InternalError.
func (r *Request) AnswerPart(serve func()) {
	began := time.Now()
	func() {
		defer func() {
			if v := recover(); v != nil {
				r.trapped(v, nil)
			}
		}()
		if err := r.limit(); err != nil {
			r.Fail(err, nil)
			return
		}
		serve()
	}()
	if r.cancel != nil {
		r.cancel()
	}
	if f := r.front; f.PartDone != nil {
		f.PartDone(r, time.Since(began))
	}
}

// head is what the request's framing says of its body.
func (r *Request) head() framing.Head {
	if r.part != nil {
		return *r.part
	}
	return r.conn.Head()
}

// AppendAnswer appends the answer of a part as an HTTP message. Its last line end is that of the delimiter which follows: where there
// is no body, that is the whole of the empty line (Java's SDK takes another for a body).
func (r *Request) AppendAnswer(b []byte) []byte {
	reason := http.StatusText(r.status)
	if r.reason != "" {
		reason = r.reason
	}
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(r.status), 10)
	b = append(append(append(b, ' '), reason...), "\r\n"...)
	body := r.ctx.Response.Body()
	for name, value := range r.ctx.Response.Header.All() {
		switch string(name) {
		case "Server", "Date", "Content-Length", "Connection":
			continue
		case "Content-Type":
			if len(body) == 0 {
				continue
			}
		}
		b = append(append(append(append(b, name...), ": "...), value...), "\r\n"...)
	}
	if len(body) > 0 {
		b = append(b, "Content-Length: "...)
		b = append(strconv.AppendInt(b, int64(len(body)), 10), "\r\n\r\n"...)
		b = append(b, body...)
	}
	return append(b, "\r\n"...)
}
