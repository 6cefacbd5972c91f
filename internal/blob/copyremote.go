package blob

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/minio/crc64nvme"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/md5lanes"
	"github.com/blobd/blobd/internal/protocol"
)

// errForbiddenSource is the refusal to read from an address that a copy must not reach.
var errForbiddenSource = errors.New("a copy may not read from this address")

// CGNAT, where providers and clouds have services of their own (RFC 6598).
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

// reachable tells which addresses a copy may read from. What answers on link-local addresses (a cloud's metadata service) is
// never a blob; private networks and this machine are open only to a server that asked for it.
func reachable(a netip.Addr, private bool) bool {
	a = a.Unmap()
	switch {
	case !a.IsValid(), a.IsUnspecified(), a.IsMulticast(), a.IsLinkLocalUnicast(), a == netip.MustParseAddr("168.63.129.16"):
		return false
	case a.IsLoopback(), a.IsPrivate(), sharedSpace.Contains(a):
		return private
	}
	return true
}

// newRemote returns the client by which sources elsewhere are read. Addresses are checked when they are dialled, after the name
// was resolved, so a name cannot mean one address to the check and another to the connection. Redirects are not followed.
func newRemote(private bool, stall time.Duration) *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		a, err := netip.ParseAddrPort(address)
		if err != nil || !reachable(a.Addr(), private) {
			return errForbiddenSource
		}
		return nil
	}}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return stalling{c, stall}, nil
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dial, ResponseHeaderTimeout: 30 * time.Second, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 30 * time.Second,
			MaxIdleConnsPerHost: 8, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// maxStall is how long a source may send nothing.
const maxStall = time.Minute

// stalling is a connection that fails when its peer stalls, so that a copy does not hang for ever.
type stalling struct {
	net.Conn
	after time.Duration
}

func (c stalling) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.after)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// remoteVersion is the x-ms-version by which sources are read: one that has all that is asked of them and that older servers and
// emulators know too.
const remoteVersion = "2021-12-02"

// getRemote asks a source elsewhere for its content, or the wanted range of it.
func (s *Service) getRemote(ctx context.Context, ps *pullSource, t *fetchTerms) (*http.Response, error) {
	text, _, _ := strings.Cut(ps.src.text, "#")
	if t.query != "" {
		sep := "?"
		if strings.Contains(text, "?") {
			sep = "&"
		}
		text += sep + t.query
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, text, nil)
	if err != nil {
		return nil, protocol.InvalidHeader("x-ms-copy-source", ps.src.text).Because(err)
	}
	req.Header.Set("x-ms-version", remoteVersion)
	if ps.authorization != "" {
		req.Header.Set("Authorization", ps.authorization)
	}
	if ps.etag != "" {
		req.Header.Set("If-Match", ps.etag)
	}
	if t.ranged {
		last := ""
		if t.rng.Last >= 0 {
			last = strconv.FormatInt(t.rng.Last, 10)
		}
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%s", t.rng.First, last))
	}
	t.cond.Visit(func(name, value string) { req.Header.Set(name, value) })
	resp, err := s.remote.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, protocol.ErrCannotVerifyCopySource.Because(err)
	}
	if etag := resp.Header.Get("ETag"); ps.etag != "" && etag != "" && etag != ps.etag && resp.StatusCode < 300 {
		_ = resp.Body.Close()
		return nil, protocol.ErrSourceConditionNotMet // of a server that reads no If-Match
	}
	want := http.StatusOK
	if t.ranged {
		want = http.StatusPartialContent
	}
	if resp.StatusCode == want && (resp.ContentLength >= 0 || t.query != "") {
		if resp.ContentLength > t.limit {
			_ = resp.Body.Close()
			return nil, protocol.ErrRequestBodyTooLarge
		}
		return resp, nil
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotModified, http.StatusPreconditionFailed:
		return nil, t.unmet(resp.StatusCode == http.StatusNotModified)
	case http.StatusRequestedRangeNotSatisfiable:
		return nil, protocol.ErrInvalidRange
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict:
		code := resp.Header.Get("x-ms-error-code")
		return nil, verified(&protocol.Error{Status: resp.StatusCode, Code: code, Message: protocol.ErrCannotVerifyCopySource.Message})
	}
	return nil, protocol.ErrCannotVerifyCopySource.Because(fmt.Errorf("the source answered %s with %d bytes", resp.Status, resp.ContentLength))
}

// fetchRemote reads a source elsewhere into chunks of this server. progress, if set, is told the bytes so far, and may take the
// pieces over.
func (s *Service) fetchRemote(ctx context.Context, ps *pullSource, t *fetchTerms, progress func(f *fetched, done int64) error) (*fetched, error) {
	resp, err := s.getRemote(ctx, ps, t)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	f := &fetched{store: s.store, rec: remoteRecord(resp), size: resp.ContentLength}
	if f.size <= engine.MaxInline && !t.listed {
		f.inline = make([]byte, f.size)
		if _, err := io.ReadFull(resp.Body, f.inline); err != nil {
			return nil, protocol.ErrCannotVerifyCopySource.Because(err)
		}
		f.crc64 = crc64nvme.Checksum(f.inline)
		if t.wantMD5 {
			f.md5 = sumBytes(f.inline, true).md5
		}
		return f, nil
	}
	body := io.Reader(resp.Body)
	var digest *md5lanes.Digest
	if t.wantMD5 {
		digest = md5lanes.New(f.size)
		defer digest.Close()
		body = io.TeeReader(body, digest)
	}
	for done := int64(0); done < f.size; {
		c, err := s.store.Put(ctx, body, min(f.size-done, engine.MaxChunk))
		if err == nil {
			f.made = append(f.made, c.Ref)
			f.add(record.Piece{Chunk: c, First: t.listed && done == 0})
			done += c.Size
			if progress != nil {
				err = progress(f, done)
			}
		}
		if err != nil {
			f.done()
			if isStoreError(err) || ctx.Err() != nil {
				return nil, err
			}
			return nil, protocol.ErrCannotVerifyCopySource.Because(err)
		}
	}
	if t.wantMD5 {
		f.md5 = digest.Sum()
	}
	return f, nil
}

func isStoreError(err error) bool {
	for _, kind := range [...]error{engine.ErrNoSpace, engine.ErrUnavailable, engine.ErrBusy, engine.ErrClosed, engine.ErrCorrupt} {
		if errors.Is(err, kind) {
			return true
		}
	}
	var e *protocol.Error
	return errors.As(err, &e)
}

// remoteRecord reads a source's properties from its answer. Anything that speaks HTTP is a block blob.
func remoteRecord(resp *http.Response) *record.Blob {
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
