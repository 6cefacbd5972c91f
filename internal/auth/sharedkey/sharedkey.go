// Package sharedkey checks SharedKey and SharedKeyLite signatures of the Blob and Table services.
//
// A request is accepted when its signature is the one that any client of the real service may have computed for it (REST
// page "Authorize with Shared Key"): clients differ in the order of headers, in the Date line and in how they name the secondary endpoint.
// Every part of the request that Azure signs is signed here; no part is normalised before.
//
// A string to sign has one meaning. Where the protocol would let two requests have the same one, at most one of them is taken:
//   - in the query, names with a colon or a line feed, values with a line feed, and names that are there twice, which are joined by
//     commas, are refused; so are x-ms- headers that are there twice. No other character ends a line of the string, a carriage return
//     neither: it is signed as it is;
//   - the Host is not signed, so /account/container/blob is the same text in path style as for the container "account" in host
//     style. There, containers and tables that are named like the account are refused: they are reached in path style, or by SAS.
package sharedkey

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/invariants"
	"github.com/blobd/blobd/internal/protocol"
)

// MaxSkew is how far a request's date may lie from the server's clock, in either direction.
const MaxSkew = 15 * time.Minute

// Credential is what an Authorization header holds after the name of the scheme.
type Credential struct {
	Lite      bool
	Account   string
	Signature string
}

// Parse reads the Authorization header; ok is false if it is of another scheme or shape.
func Parse(authorization string) (c Credential, ok bool) {
	scheme, rest, ok := strings.Cut(authorization, " ")
	if !ok || scheme != "SharedKey" && scheme != "SharedKeyLite" {
		return c, false
	}
	name, signature, ok := strings.Cut(rest, ":")
	if !ok || name == "" || signature == "" {
		return c, false
	}
	return Credential{Lite: scheme == "SharedKeyLite", Account: name, Signature: signature}, true
}

// Verify checks the credential against the account's keys. A refusal is AuthenticationFailed with the detail that Azure gives,
// the server's string to sign among it.
func Verify(_ context.Context, acct *account.Account, r *auth.Request, c Credential) error {
	if c.Account != r.Account {
		return protocol.ErrAuthenticationFailed
	}
	if err := checkDate(r); err != nil {
		return err
	}
	s := signers.Get().(*signer)
	defer s.release()
	s.reset(r, c.Lite)
	if reason := s.ambiguous(); reason != "" {
		return auth.Failed(reason)
	}
	for more := true; more; more = s.next() {
		message := s.message()
		for _, key := range acct.Keys {
			if key.Verify(message, c.Signature) {
				return nil
			}
		}
	}
	s.reset(r, c.Lite)
	return auth.Failed("The MAC signature found in the HTTP request '" + c.Signature +
		"' is not the same as any computed signature. Server used following string to sign: '" + string(s.message()) + "'.")
}

// httpTime is RFC 1123 with GMT as its only zone.
const httpTime = "Mon, 02 Jan 2006 15:04:05 GMT"

func checkDate(r *auth.Request) error {
	text, ok := r.Headers.Get("x-ms-date")
	if !ok {
		text, ok = r.Headers.Get("date")
	}
	if !ok {
		return auth.Failed("The Date header in the request is incorrect.")
	}
	date, err := parseDate(text)
	if err != nil {
		return auth.Failed("The Date header in the request is incorrect.")
	}
	if r.Now.Sub(date) > MaxSkew {
		return auth.Failed("Request date header too old: '" + strings.Clone(text) + "'")
	}
	if date.Sub(r.Now) > MaxSkew {
		return auth.Failed("The Date header in the request is incorrect.")
	}
	return nil
}

// lastDate is the last date that was read: requests of one second carry the same.
var lastDate atomic.Pointer[parsedDate]

type parsedDate struct {
	text string
	time time.Time
}

func parseDate(text string) (time.Time, error) {
	if last := lastDate.Load(); last != nil && last.text == text {
		return last.time, nil
	}
	t, err := time.Parse(httpTime, text)
	if err == nil {
		lastDate.Store(&parsedDate{strings.Clone(text), t})
	}
	return t, err
}

// signer builds the strings to sign of one request. It is pooled: its buffers and its bound visitors are made once.
type signer struct {
	r    *auth.Request
	lite bool

	// The choices of which every combination is tried, the likeliest first: none is set in the first string.
	plainOrder  bool // x-ms- headers in byte order
	sentDate    bool // the Date line holds Date although x-ms-date is there
	primaryPath bool // "-secondary" is taken out of the path
	mayPlain    bool
	mayDate     bool
	mayPrimary  bool

	names   []byte // lower-case names, to which fields refer
	headers []field
	query   []field
	buf     []byte

	// Bound once, so that a request allocates nothing for them.
	visitHeader, visitQuery    func(name, value string)
	byWeight, byBytes, byValue func(a, b field) int
}

// field is a header or query parameter: its lower-case name is names[from:to].
type field struct {
	from, to int
	value    string
}

var signers = sync.Pool{New: func() any {
	s := &signer{}
	s.visitHeader = func(name, value string) {
		if len(name) > 5 && (name[0]|0x20) == 'x' && name[1] == '-' && (name[2]|0x20) == 'm' && (name[3]|0x20) == 's' && name[4] == '-' {
			s.headers = append(s.headers, s.field(name, trim(value)))
		}
	}
	s.byWeight = func(a, b field) int { return compareWeights(s.name(a), s.name(b)) }
	s.byBytes = func(a, b field) int { return bytes.Compare(s.name(a), s.name(b)) }
	s.byValue = func(a, b field) int {
		if n := s.byBytes(a, b); n != 0 {
			return n
		}
		return strings.Compare(a.value, b.value)
	}
	s.visitQuery = func(name, value string) { s.query = append(s.query, s.field(name, value)) }
	return s
}}

func (s *signer) release() {
	invariants.Overwrite(s.names)
	invariants.Overwrite(s.buf)
	signers.Put(s)
}

func (s *signer) field(name, value string) field {
	from := len(s.names)
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		s.names = append(s.names, c)
	}
	return field{from, len(s.names), value}
}

func (s *signer) name(f field) []byte { return s.names[f.from:f.to] }

func (s *signer) reset(r *auth.Request, lite bool) {
	s.r, s.lite = r, lite
	s.plainOrder, s.sentDate, s.primaryPath = false, false, false
	s.names, s.headers, s.query = s.names[:0], s.headers[:0], s.query[:0]
	s.mayPrimary = r.Secondary && strings.HasPrefix(r.RawPath, "/"+r.Account+"-secondary")
	s.mayPlain, s.mayDate = false, false
	if r.Service == auth.Table {
		return
	}
	_, ms := r.Headers.Get("x-ms-date")
	_, date := r.Headers.Get("date")
	s.mayDate = ms && date
	r.Headers.All(s.visitHeader)
	slices.SortStableFunc(s.headers, s.byWeight)
	s.mayPlain = !slices.IsSortedFunc(s.headers, s.byBytes)
	if !lite {
		r.Query.All(s.visitQuery)
		slices.SortStableFunc(s.query, s.byValue)
	}
}

// ambiguous tells why another request may have the same string to sign, "" if none has. Headers and query are sorted by name.
func (s *signer) ambiguous() string {
	for i, f := range s.headers {
		if i > 0 && string(s.name(f)) == string(s.name(s.headers[i-1])) {
			return "The header " + string(s.name(f)) + " is there more than once."
		}
	}
	for i, f := range s.query {
		name := s.name(f)
		switch {
		case bytes.IndexByte(name, ':') >= 0 || bytes.IndexByte(name, '\n') >= 0 || strings.IndexByte(f.value, '\n') >= 0:
			return "A query parameter holds a character that cannot be signed."
		case i > 0 && string(name) == string(s.name(s.query[i-1])):
			return "The query parameter " + string(name) + " is there more than once."
		}
	}
	if comp, _ := s.r.Query.Get("comp"); strings.IndexByte(comp, '\n') >= 0 {
		return "A query parameter holds a character that cannot be signed."
	}
	if !s.r.PathStyle && len(s.r.RawPath) > 1 && strings.HasPrefix(s.r.RawPath[1:], s.r.Account) {
		first, _, _ := strings.Cut(s.r.RawPath[1:], "/")
		if first = strings.TrimSuffix(first, "-secondary"); first == s.r.Account {
			return "What is named like its account cannot be reached by Shared Key under a host name of the account: use its path-style address, or a SAS."
		}
	}
	return ""
}

// next chooses the next combination, counting in binary over the choices that this request leaves open.
func (s *signer) next() bool {
	for _, choice := range [...]struct {
		open bool
		set  *bool
	}{{s.mayPlain, &s.plainOrder}, {s.mayDate, &s.sentDate}, {s.mayPrimary, &s.primaryPath}} {
		if !choice.open {
			continue
		}
		*choice.set = !*choice.set
		if choice.set == &s.plainOrder {
			if s.plainOrder {
				slices.SortStableFunc(s.headers, s.byBytes)
			} else {
				slices.SortStableFunc(s.headers, s.byWeight)
			}
		}
		if *choice.set {
			return true
		}
	}
	return false
}

// message writes the string to sign for the choices made. It is valid until the next call.
func (s *signer) message() []byte {
	s.buf = s.buf[:0]
	switch {
	case s.r.Service == auth.Table && s.lite:
		s.tableDate()
	case s.r.Service == auth.Table:
		s.line(s.r.Method)
		s.header("content-md5")
		s.header("content-type")
		s.tableDate()
	case s.lite:
		s.line(s.r.Method)
		s.header("content-md5")
		s.header("content-type")
		s.blobDate()
		s.canonicalHeaders()
	default:
		s.line(s.r.Method)
		s.header("content-encoding")
		s.header("content-language")
		s.contentLength()
		s.header("content-md5")
		s.header("content-type")
		s.blobDate()
		s.header("if-modified-since")
		s.header("if-match")
		s.header("if-none-match")
		s.header("if-unmodified-since")
		s.header("range")
		s.canonicalHeaders()
	}
	s.canonicalResource()
	return s.buf
}

func (s *signer) line(value string) { s.buf = append(append(s.buf, value...), '\n') }

func (s *signer) header(lower string) {
	value, _ := s.r.Headers.Get(lower)
	s.line(value)
}

// contentLength is empty for 0 since 2015-02-21.
func (s *signer) contentLength() {
	value, _ := s.r.Headers.Get("content-length")
	if value == "0" && s.r.Version >= protocol.V20150221 {
		value = ""
	}
	s.line(value)
}

func (s *signer) blobDate() {
	if _, ok := s.r.Headers.Get("x-ms-date"); ok && !s.sentDate {
		s.line("")
		return
	}
	s.header("date")
}

// tableDate is never empty: x-ms-date if it is there, else Date.
func (s *signer) tableDate() {
	if value, ok := s.r.Headers.Get("x-ms-date"); ok {
		s.line(value)
		return
	}
	s.header("date")
}

// canonicalHeaders writes name:value lines; values of one name are joined by commas in the order sent.
func (s *signer) canonicalHeaders() {
	for i, f := range s.headers {
		if i > 0 && string(s.name(f)) == string(s.name(s.headers[i-1])) {
			s.buf[len(s.buf)-1] = ','
		} else {
			s.buf = append(append(s.buf, s.name(f)...), ':')
		}
		s.line(f.value)
	}
}

// canonicalResource writes the account, the path as it was sent, and the query: all of it for SharedKey on blobs, only comp
// otherwise.
func (s *signer) canonicalResource() {
	s.buf = append(append(s.buf, '/'), s.r.Account...)
	path := s.r.RawPath
	if s.primaryPath {
		s.buf = append(append(s.buf, '/'), s.r.Account...)
		path = path[len("/")+len(s.r.Account)+len("-secondary"):]
	}
	if s.r.RawPath == "" {
		path = "/"
	}
	s.buf = append(s.buf, path...)
	if s.lite || s.r.Service == auth.Table {
		if comp, ok := s.r.Query.Get("comp"); ok {
			s.buf = append(append(s.buf, "?comp="...), comp...)
		}
		return
	}
	for i, f := range s.query {
		if i > 0 && string(s.name(f)) == string(s.name(s.query[i-1])) {
			s.buf = append(s.buf, ',')
		} else {
			s.buf = append(append(append(s.buf, '\n'), s.name(f)...), ':')
		}
		s.buf = append(s.buf, f.value...)
	}
}

func trim(v string) string { return strings.Trim(v, " \t\r\n") }
