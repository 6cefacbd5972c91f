// Package source reads the sources of copies: the addresses that requests name, and by a client of its own what lies elsewhere, past a
// guard against addresses that a copy must not reach. What was wrong with a source is answered in the words of a copy (Verified).
package source

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/protocol"
)

// errForbiddenSource is the refusal to read from an address that a copy must not reach.
var errForbiddenSource = errors.New("a copy may not read from this address")

// Addresses that are no host's on the public network. never ones carry what is no blob: a cloud's metadata service and platform, and
// what is not routed; private ones are of this machine, its network or its provider.
var (
	neverRead = prefixes("0.0.0.0/8", "169.254.0.0/16", "168.63.129.16/32", "192.0.0.0/24", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24",
		"224.0.0.0/3", "fe80::/10", "ff00::/8", "fd00:ec2::254/128", "2001:db8::/32", "100::/64")
	privateRead = prefixes("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15", "::1/128", "fc00::/7", "fec0::/10")
	// Prefixes after which an IPv4 address follows, which a gateway sends it to: NAT64 (RFC 6052, of the local form its usual
	// length), 6to4 (RFC 3056) and the old IPv4-compatible form. A local NAT64 may mean any network.
	embedding = []struct {
		prefix netip.Prefix
		at     int // of its bytes
	}{{netip.MustParsePrefix("64:ff9b::/96"), 12}, {netip.MustParsePrefix("64:ff9b:1::/48"), 12}, {netip.MustParsePrefix("2002::/16"), 2}, {netip.MustParsePrefix("::/96"), 12}}
	// Teredo (RFC 4380), whose IPv4 address is that of a client behind a translator.
	teredo = netip.MustParsePrefix("2001::/32")
)

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, t := range texts {
		all = append(all, netip.MustParsePrefix(t))
	}
	return all
}

func within(all []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(all, func(p netip.Prefix) bool { return p.Contains(a) })
}

// reachable tells which addresses a copy may read from. What answers on link-local addresses (a cloud's metadata service) is
// never a blob; private networks and this machine, by whatever address it has, are open only to a server that asked for it.
func reachable(a netip.Addr, private bool) bool {
	a = a.Unmap().WithZone("")
	switch {
	case !a.IsValid(), a.IsUnspecified(), within(neverRead, a), teredo.Contains(a):
		return false
	case within(privateRead, a):
		return private
	}
	for _, e := range embedding {
		if e.prefix.Contains(a) {
			b := a.As16()
			return reachable(netip.AddrFrom4([4]byte(b[e.at:])), private)
		}
	}
	return private || !isThisMachine(a)
}

// isThisMachine tells whether an address is one of this machine's interfaces. Services that trust who is on it listen there as well.
// Interfaces that cannot be read have any address.
func isThisMachine(a netip.Addr) bool {
	own, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	return slices.ContainsFunc(own, func(i net.Addr) bool {
		n, ok := i.(*net.IPNet)
		if !ok {
			return false
		}
		ip, ok := netip.AddrFromSlice(n.IP)
		return ok && ip.Unmap() == a
	})
}

// isClosed tells whether an address is one of those that are closed, or what one of them listens on with every address of this machine.
func isClosed(a netip.AddrPort, closed []netip.AddrPort) bool {
	return slices.ContainsFunc(closed, func(c netip.AddrPort) bool {
		to, at := a.Addr().Unmap(), c.Addr().Unmap()
		return a.Port() == c.Port() && (to == at || at.IsUnspecified() && (to.IsLoopback() || isThisMachine(to)))
	})
}

// Client reads the sources of copies that are elsewhere. It is safe for concurrent use.
type Client struct{ http http.Client }

// Close ends the connections that are idle.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// NewClient returns the client by which sources elsewhere are read. Addresses are checked when they are dialled, after the name
// was resolved, so a name cannot mean one address to the check and another to the connection. Redirects are not followed.
// closed are the addresses on which this machine is managed: who may write a blob is not to read them by a copy, whatever else is private.
func NewClient(private bool, stall time.Duration, closed []netip.AddrPort) *Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		a, err := netip.ParseAddrPort(address)
		if err != nil || !reachable(a.Addr(), private) || isClosed(a, closed) {
			return errForbiddenSource
		}
		return nil
	}}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		s := &Stalling{Conn: c, After: stall}
		return s, s.extend(time.Now())
	}
	return &Client{http.Client{
		Transport: &http.Transport{
			DialContext: dial, ResponseHeaderTimeout: 30 * time.Second, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 30 * time.Second,
			MaxIdleConnsPerHost: 8, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// A source has to send leastProgress bytes in every maxStall that it is read.
const (
	MaxStall      = time.Minute
	LeastProgress = 64 << 10
)

// Stalling is a connection that fails when its peer stalls or trickles, so that a copy does not hang for ever. The time counts from
// what was asked last.
type Stalling struct {
	net.Conn
	After time.Duration

	mu    sync.Mutex
	by    time.Time // the deadline that is set
	since int       // bytes read since it was
}

func (c *Stalling) Write(p []byte) (int, error) {
	c.mu.Lock()
	err := c.extend(time.Now())
	c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// extend gives the peer another while. mu is held.
func (c *Stalling) extend(now time.Time) error {
	c.by, c.since = now.Add(c.After), 0
	return c.SetReadDeadline(c.by)
}

func (c *Stalling) Read(p []byte) (int, error) {
	c.mu.Lock()
	var err error
	// The while may also have gone by with nobody reading, as the store took its time.
	if now := time.Now(); c.since >= LeastProgress || c.since > 0 && !now.Before(c.by) {
		err = c.extend(now)
	}
	c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	c.since += n
	c.mu.Unlock()
	return n, err
}

// remoteVersion is the x-ms-version by which sources are read: one that has all that is asked of them and that older servers and
// emulators know too.
const remoteVersion = "2021-12-02"

// Remote is a source elsewhere.
type Remote struct {
	URL string // its address
	// ETag is the source's if it has a strong one: a source that changes while it is read fails the copy.
	ETag string
	// Authorization is x-ms-copy-source-authorization.
	Authorization string
}

// Ask is what is asked of a source.
type Ask struct {
	Cond   protocol.Conditions
	Range  protocol.Range
	Ranged bool
	Limit  int64  // bytes
	query  string // what is asked for besides the content
	// NotModified is the refusal of a source that answers 304; nil for SourceConditionNotMet.
	NotModified error
}

func (t *Ask) unmet(status int) error {
	if status == http.StatusNotModified && t.NotModified != nil {
		return t.NotModified
	}
	return protocol.ErrSourceConditionNotMet
}

// Get asks a source for its content, or the wanted range of it. The errors are those of a copy (verified).
func (c *Client) Get(ctx context.Context, ps *Remote, t *Ask) (*http.Response, error) {
	text, _, _ := strings.Cut(ps.URL, "#")
	if t.query != "" {
		sep := "?"
		if strings.Contains(text, "?") {
			sep = "&"
		}
		text += sep + t.query
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, text, nil)
	if err != nil {
		return nil, protocol.InvalidHeader("x-ms-copy-source", ps.URL).Because(err)
	}
	req.Header.Set("x-ms-version", remoteVersion)
	if ps.Authorization != "" {
		req.Header.Set("Authorization", ps.Authorization)
	}
	if ps.ETag != "" {
		req.Header.Set("If-Match", ps.ETag)
	}
	if t.Ranged {
		last := ""
		if t.Range.Last >= 0 {
			last = strconv.FormatInt(t.Range.Last, 10)
		}
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%s", t.Range.First, last))
	}
	t.Cond.Visit(func(name, value string) { req.Header.Set(name, value) })
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if failed := (*url.Error)(nil); errors.As(err, &failed) {
			err = failed.Err // without the address, which may hold a signature
		}
		return nil, protocol.ErrCannotVerifyCopySource.Because(err)
	}
	if etag := resp.Header.Get("ETag"); ps.ETag != "" && etag != "" && etag != ps.ETag && resp.StatusCode < 300 {
		_ = resp.Body.Close()
		return nil, protocol.ErrSourceConditionNotMet // of a server that reads no If-Match
	}
	want := http.StatusOK
	if t.Ranged {
		want = http.StatusPartialContent
	}
	if resp.StatusCode == want && (resp.ContentLength >= 0 || t.query != "") {
		if resp.ContentLength > t.Limit {
			_ = resp.Body.Close()
			return nil, protocol.ErrRequestBodyTooLarge
		}
		return resp, nil
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotModified, http.StatusPreconditionFailed:
		return nil, t.unmet(resp.StatusCode)
	case http.StatusRequestedRangeNotSatisfiable:
		return nil, protocol.ErrInvalidRange
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict:
		code := resp.Header.Get("x-ms-error-code")
		return nil, Verified(&protocol.Error{Status: resp.StatusCode, Code: code, Message: protocol.ErrCannotVerifyCopySource.Message})
	}
	return nil, protocol.ErrCannotVerifyCopySource.Because(fmt.Errorf("the source answered %s with %d bytes", resp.Status, resp.ContentLength))
}

// Properties reads a source's properties from its answer. Anything that speaks HTTP is a block blob.
func Properties(resp *http.Response) *record.Blob {
	h := resp.Header
	rec := &record.Blob{Type: record.BlockBlob, HTTP: record.HTTPProperties{ContentType: h.Get("Content-Type"), ContentEncoding: h.Get("Content-Encoding"), ContentLanguage: h.Get("Content-Language"), ContentDisposition: h.Get("Content-Disposition"), CacheControl: h.Get("Cache-Control")}}
	switch h.Get("x-ms-blob-type") {
	case "PageBlob":
		rec.Type = record.PageBlob
		if n, err := strconv.ParseInt(h.Get("x-ms-blob-sequence-number"), 10, 64); err == nil && n > 0 {
			rec.Sequence = n
		}
	case "AppendBlob":
		rec.Type = record.AppendBlob
		rec.Sealed = h.Get("x-ms-blob-sealed") == "true"
		if n, err := strconv.ParseUint(h.Get("x-ms-blob-committed-block-count"), 10, 32); err == nil {
			rec.Blocks = uint32(n)
		}
	}
	if rec.HTTP.ContentType == "" {
		rec.HTTP.ContentType = record.DefaultContentType
	}
	if sum, err := base64.StdEncoding.DecodeString(h.Get("Content-MD5")); err == nil && len(sum) == 16 && resp.StatusCode == http.StatusOK {
		rec.MD5 = string(sum)
	}
	var m protocol.Metadata
	for name, values := range h {
		if key, ok := strings.CutPrefix(strings.ToLower(name), "x-ms-meta-"); ok && m.Add(key, values[0]) == nil {
			rec.Metadata = append(rec.Metadata, protocol.Pair{Name: key, Value: strings.TrimSpace(values[0])})
		}
	}
	return rec
}

// Verified turns what was wrong with a source into the answer of a copy: the status is the source's.
func Verified(err error) error {
	var e *protocol.Error
	if !errors.As(err, &e) || e.Is(protocol.ErrSourceConditionNotMet) || e.Is(protocol.ErrInvalidRange) || e.Code == protocol.ErrCannotVerifyCopySource.Code {
		return err
	}
	out := protocol.ErrCannotVerifyCopySource.Saying(e.Message).Because(err)
	out.Status = e.Status
	status := strconv.Itoa(e.Status)
	return out.With("CopySourceStatusCode", status).With("CopySourceErrorCode", e.Code).With("CopySourceErrorMessage", e.Message).
		WithHeader("x-ms-copy-source-status-code", status).WithHeader("x-ms-copy-source-error-code", e.Code)
}

// StrongETag returns an ETag that If-Match compares, empty for none.
func StrongETag(text string) string {
	if strings.HasPrefix(text, "W/") || strings.ContainsAny(text, "\x00\r\n") {
		return ""
	}
	return text
}
