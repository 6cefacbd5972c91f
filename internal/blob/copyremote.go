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

	"github.com/blobd/blobd/internal/engine"
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
func newRemote(private bool) *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		a, err := netip.ParseAddrPort(address)
		if err != nil || !reachable(a.Addr(), private) {
			return errForbiddenSource
		}
		return nil
	}}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, ResponseHeaderTimeout: 30 * time.Second, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 30 * time.Second,
			MaxIdleConnsPerHost: 8, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// getRemote asks a source elsewhere for its content, or the wanted range of it.
func (s *Service) getRemote(ctx context.Context, src *sourceURL, authorization string, t *fetchTerms) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, src.text, nil)
	if err != nil {
		return nil, protocol.InvalidHeader("x-ms-copy-source", src.text).Because(err)
	}
	req.Header.Set("x-ms-version", string(protocol.Newest))
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
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
	want := http.StatusOK
	if t.ranged {
		want = http.StatusPartialContent
	}
	if resp.StatusCode == want && resp.ContentLength >= 0 {
		if resp.ContentLength > t.limit {
			_ = resp.Body.Close()
			return nil, protocol.ErrRequestBodyTooLarge
		}
		return resp, nil
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotModified, http.StatusPreconditionFailed:
		return nil, protocol.ErrSourceConditionNotMet
	case http.StatusRequestedRangeNotSatisfiable:
		return nil, protocol.ErrInvalidRange
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict:
		code := resp.Header.Get("x-ms-error-code")
		return nil, verified(&protocol.Error{Status: resp.StatusCode, Code: code, Message: protocol.ErrCannotVerifyCopySource.Message})
	}
	return nil, protocol.ErrCannotVerifyCopySource.Because(fmt.Errorf("the source answered %s with %d bytes", resp.Status, resp.ContentLength))
}

// fetchRemote reads a source elsewhere into chunks of this server. progress, if set, is told the bytes so far.
func (s *Service) fetchRemote(ctx context.Context, src *sourceURL, authorization string, t *fetchTerms, progress func(done, total int64) error) (*fetched, error) {
	resp, err := s.getRemote(ctx, src, authorization, t)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	f := &fetched{store: s.store, rec: remoteRecord(resp), size: resp.ContentLength}
	if f.size <= engine.MaxInline {
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
	var digest *digest
	if t.wantMD5 {
		digest = newDigest(f.size)
		defer digest.stop()
		body = io.TeeReader(body, digest)
	}
	for done := int64(0); done < f.size; {
		c, err := s.store.Put(ctx, body, min(f.size-done, engine.MaxChunk))
		if err == nil {
			f.made = append(f.made, c.Ref)
			f.add(piece{Chunk: c})
			done += c.Size
			if progress != nil {
				err = progress(done, f.size)
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
		f.md5 = digest.sum()
	}
	return f, nil
}

func isStoreError(err error) bool {
	for _, kind := range [...]error{engine.ErrNoSpace, engine.ErrUnavailable, engine.ErrClosed, engine.ErrCorrupt} {
		if errors.Is(err, kind) {
			return true
		}
	}
	var e *protocol.Error
	return errors.As(err, &e)
}

// remoteRecord reads a source's properties from its answer. Anything that speaks HTTP is a block blob.
func remoteRecord(resp *http.Response) *Record {
	h := resp.Header
	rec := &Record{Type: BlockBlob, HTTP: HTTPProperties{h.Get("Content-Type"), h.Get("Content-Encoding"), h.Get("Content-Language"), h.Get("Content-Disposition"), h.Get("Cache-Control")}}
	switch h.Get("x-ms-blob-type") {
	case "PageBlob":
		rec.Type = PageBlob
	case "AppendBlob":
		rec.Type = AppendBlob
	}
	if rec.HTTP.ContentType == "" {
		rec.HTTP.ContentType = DefaultContentType
	}
	if sum, err := base64.StdEncoding.DecodeString(h.Get("Content-MD5")); err == nil && len(sum) == 16 && resp.StatusCode == http.StatusOK {
		rec.MD5 = string(sum)
	}
	var m protocol.Metadata
	for name, values := range h {
		if key, ok := strings.CutPrefix(strings.ToLower(name), "x-ms-meta-"); ok && m.Add(key, values[0]) == nil {
			rec.Metadata = append(rec.Metadata, Pair{key, strings.TrimSpace(values[0])})
		}
	}
	return rec
}
