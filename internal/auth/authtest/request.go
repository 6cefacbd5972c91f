// Package authtest makes the requests that tests of authorization need, among them those that a real client would send.
package authtest

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/protocol"
)

// Pair is one header or query parameter.
type Pair struct{ Name, Value string }

// Pairs implements auth.Fields.
type Pairs []Pair

// Get returns the first value of the name, whatever its case.
func (p Pairs) Get(name string) (string, bool) {
	for _, f := range p {
		if strings.EqualFold(f.Name, name) {
			return f.Value, true
		}
	}
	return "", false
}

// All visits every pair in order.
func (p Pairs) All(visit func(name, value string)) {
	for _, f := range p {
		visit(f.Name, f.Value)
	}
}

// With returns the pairs with the named one set, at its place or at the end.
func (p Pairs) With(name, value string) Pairs {
	c := slices.Clone(p)
	for i := range c {
		if strings.EqualFold(c[i].Name, name) {
			c[i].Value = value
			return c
		}
	}
	return append(c, Pair{name, value})
}

// Without returns the pairs but the named ones.
func (p Pairs) Without(name string) Pairs {
	var c Pairs
	for _, f := range p {
		if !strings.EqualFold(f.Name, name) {
			c = append(c, f)
		}
	}
	return c
}

// ParseQuery reads a query string in the order sent.
func ParseQuery(raw string) Pairs {
	var p Pairs
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		n, err := url.QueryUnescape(name)
		if err != nil {
			n = name
		}
		v, err := url.QueryUnescape(value)
		if err != nil {
			v = value
		}
		p = append(p, Pair{n, v})
	}
	return p
}

// FromHTTP is what the server makes of a client's request with a host-style address, <account>[-secondary].<service>.…, or a
// path-style one if the host is an IP address.
func FromHTTP(service auth.Service, req *http.Request, now time.Time) *auth.Request {
	r := &auth.Request{
		Service: service, Method: req.Method, RawPath: req.URL.EscapedPath(), Query: ParseQuery(req.URL.RawQuery),
		ContentLength: req.ContentLength, Version: protocol.Newest, Client: netip.MustParseAddr("127.0.0.1"),
		HTTPS: req.URL.Scheme == "https", Now: now,
	}
	if r.RawPath == "" {
		r.RawPath = "/"
	}
	var headers Pairs
	for name, values := range req.Header {
		for _, v := range values {
			headers = append(headers, Pair{name, v})
		}
	}
	slices.SortFunc(headers, func(a, b Pair) int { return strings.Compare(a.Name, b.Name) })
	if v, ok := headers.Get("x-ms-version"); ok {
		r.Version = protocol.Version(v)
	}
	r.Headers = headers
	resource := r.RawPath
	if _, err := netip.ParseAddr(req.URL.Hostname()); err == nil {
		r.PathStyle = true
		r.Account, resource, _ = strings.Cut(r.RawPath[1:], "/")
	} else {
		r.Account, _, _ = strings.Cut(req.URL.Hostname(), ".")
		resource = strings.TrimPrefix(resource, "/")
	}
	r.Account, r.Secondary = strings.CutSuffix(r.Account, "-secondary")
	resource, err := url.PathUnescape(resource)
	if err != nil {
		return r
	}
	if service == auth.Table {
		r.Table, _, _ = strings.Cut(resource, "(")
		return r
	}
	r.Container, r.Blob, _ = strings.Cut(resource, "/")
	return r
}
