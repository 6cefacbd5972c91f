package blob

import (
	"context"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/source"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// source reads x-ms-copy-source, and what is asked of the source.
func (s *Service) source(d *decoder, limit int64) *store.Source {
	r := d.r
	src := &store.Source{Authorization: r.Header("x-ms-copy-source-authorization"), Connected: r.WhileConnected,
		Now: record.StampOf(r.Now), RangeText: r.Header("x-ms-source-range")}
	text := r.Header("x-ms-copy-source")
	if text == "" {
		d.fail(protocol.MissingHeader("x-ms-copy-source"))
		return src
	}
	u, err := s.sourceURL(r, text)
	if err != nil {
		d.fail(err)
		return src
	}
	var claimed bool
	if src.Own, claimed = s.claim(r, u); claimed && (src.Own.Container == "" || src.Own.Name == "") {
		d.fail(protocol.InvalidHeader("x-ms-copy-source", text))
	}
	src.URL, src.Limit, src.Cond, src.Tags = u, limit, d.conditions(&protocol.SourceConditions), d.ifTags("x-ms-source-if-tags")
	if src.RangeText != "" {
		if src.Range, src.Ranged = protocol.ParseRange(src.RangeText); !src.Ranged {
			d.fail(protocol.InvalidHeader("x-ms-source-range", src.RangeText))
		}
	}
	return src
}

// sourceURL reads the address of a source. Before 2012-02-12 it is that of a blob of the same account: /account/container/blob, or
// /account/blob in the root container.
func (s *Service) sourceURL(r *rest.Request, text string) (*source.URL, error) {
	if r.Version >= protocol.V20120212 {
		return source.Parse(text)
	}
	name, path, ok := strings.Cut(strings.TrimPrefix(text, "/"), "/")
	switch {
	case !ok || text[0] != '/':
		return nil, protocol.InvalidHeader("x-ms-copy-source", text)
	case name != r.AccountName:
		return nil, protocol.ErrCopyAcrossAccountsNotSupported
	}
	return source.Parse(string(appendEndpoint(nil, r)) + path)
}

// summedSource is source for what is held to the sums that the request names.
func (s *Service) summedSource(d *decoder, limit int64) *store.Source {
	src := s.source(d, limit)
	src.Want = d.sourceSums()
	return src
}

func (d *decoder) sourceSums() store.Sums {
	return d.sums("x-ms-source-content-md5", "x-ms-source-content-crc64")
}

// claim recognises a source on this server, by host or by path, and finds what it names.
func (s *Service) claim(r *rest.Request, src *source.URL) (own *store.OwnSource, claimed bool) {
	host := src.Parsed.Host
	name, suffix, hosted := strings.Cut(host, ".blob.")
	path := strings.TrimPrefix(src.Path, "/")
	switch {
	case hosted && (s.isOwn(r, suffix) || strings.EqualFold(name, account.DevName)):
		// The emulator's account is nowhere else, and az CLI names it in the public cloud whatever the connection string says.
	case !hosted && s.isOwn(r, host):
		name, path, _ = strings.Cut(path, "/")
	default:
		return nil, false
	}
	q := auth.Request{Service: auth.Blob, Method: "GET", Account: strings.TrimSuffix(strings.ToLower(name), "-secondary"), RawPath: src.Path}
	q.Secondary = len(q.Account) != len(name)
	container, blob, found := strings.Cut(path, "/")
	if !found {
		container, blob = "$root", container
	}
	var err1, err2 error
	if q.Container, err1 = url.PathUnescape(container); err1 == nil {
		q.Blob, err2 = url.PathUnescape(blob)
		q.Blob = rest.BlobName(q.Blob)
	}
	if err1 != nil || err2 != nil {
		return &store.OwnSource{}, true
	}
	return &store.OwnSource{Container: q.Container, Name: q.Blob, Admit: func(ctx context.Context, tags, owner bool) (*account.Account, error) {
		return s.admit(ctx, r, src, &q, tags, owner)
	}}, true
}

// isOwn reports whether a host, or what follows <account>.blob. in one, is this server as the request has reached it: the same
// words, or the same port on an address of this machine that it listens on.
func (s *Service) isOwn(r *rest.Request, host string) bool {
	own := r.Header("host")
	if _, suffix, hosted := strings.Cut(own, ".blob."); hosted {
		if strings.EqualFold(suffix, host) {
			return true
		}
	} else if strings.EqualFold(own, host) {
		return true
	}
	name, port, found := strings.Cut(host, ":")
	local := r.Local()
	if !found || port != strconv.Itoa(int(local.Port())) {
		return false
	}
	if strings.EqualFold(name, "localhost") || strings.HasSuffix(strings.ToLower(name), ".localhost") {
		return local.Addr().IsLoopback()
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && addr == local.Addr()
}

// noHeaders are the headers of a source that is read inside, but for credentials.
type noHeaders struct{ authorization string }

func (h noHeaders) Get(name string) (string, bool) {
	return h.authorization, h.authorization != "" && strings.EqualFold(name, "authorization")
}

func (h noHeaders) All(visit func(name, value string)) {
	if h.authorization != "" {
		visit("Authorization", h.authorization)
	}
}

// admit decides whether a request may read a source on this server, and with tags its tags: by the source's own SAS, by the token
// that is sent for it, because it is public or, with owner, by the request's own key or token if that is for the same account. Only
// Copy Blob is let in by the last; the synchronous forms read a source as a stranger would. A SAS of the destination opens no
// source: a user delegation SAS has its maker's roles, but is for what was signed.
func (s *Service) admit(ctx context.Context, r *rest.Request, src *source.URL, q *auth.Request, tags, owner bool) (*account.Account, error) {
	acct := s.accounts.Lookup(q.Account)
	if acct == nil {
		return nil, protocol.ErrResourceNotFound
	}
	_, signed := src.Query.Get("sig")
	token := r.Header("x-ms-copy-source-authorization")
	if owner && !signed && token == "" && acct.Name == r.AccountName {
		allowed := func(a auth.Action) bool {
			return r.Grant.Scheme == auth.SharedKey || r.Grant.Scheme == auth.Bearer && r.Grant.Roles(a, q.Container)
		}
		if allowed(auth.ActionRead) && (!tags || allowed(auth.ActionTags)) {
			return acct, nil
		}
	}
	q.Version = r.Version
	if text, ok := src.Query.Get("sv"); ok {
		if v, ok := protocol.ParseVersion(text, false); ok {
			q.Version = v
		}
	}
	q.Account, q.Headers, q.Query, q.ContentLength = acct.Name, noHeaders{token}, src.Query, -1
	q.Client, q.HTTPS, q.TLS, q.Now = r.Client, r.HTTPS, r.TLSFor(acct), r.Now
	grant, err := s.authorizer.Authorize(ctx, acct, q, &readsBlob)
	if err == nil && tags {
		err = grant.Permits(&besideTags, q.Container)
	}
	return acct, err
}
