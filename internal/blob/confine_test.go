package blob

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// granting lets in whoever says by what: a header x-by, or of a copy's source the query parameter by, that is "sas LETTERS",
// "delegation LETTERS" with an owner's roles behind it, "contributor" or "nobody", who has the container's public access. Without
// one it is the account's key.
type granting struct{}

func (granting) Authorize(_ context.Context, a *account.Account, r *auth.Request, needs *auth.Needs) (auth.Grant, error) {
	by, ok := r.Query.Get("by")
	if !ok {
		by, _ = r.Headers.Get("x-by")
	}
	how, letters, _ := strings.Cut(by, " ")
	g := auth.Grant{Principal: a.Name, Letters: auth.AllLetters}
	switch how {
	case "":
		g.Scheme = auth.SharedKey
	case "sas", "delegation":
		g.Scheme, g.ResourceTypes = auth.ServiceSAS, auth.AllLetters
		g.Letters, _ = auth.ParseLetters(letters)
		if how == "delegation" {
			g.Scheme, g.Roles = auth.UserDelegationSAS, func(auth.Action, string) bool { return true }
		}
	case "https":
		if !r.HTTPS {
			return g, protocol.ErrAuthorizationProtocolMismatch
		}
	case "contributor":
		g.Scheme, g.Roles = auth.Bearer, func(a auth.Action, _ string) bool {
			return a == auth.ActionRead || a == auth.ActionWrite || a == auth.ActionDelete
		}
	case "nobody":
		if needs.Public == auth.PublicNever {
			return g, protocol.ErrResourceNotFound
		}
		g.Scheme = auth.Anonymous
		return g, nil
	}
	return g, g.Permits(needs, r.Container)
}

func newGranting(t *testing.T) *house {
	h := build(t, func(auth.Resources) auth.Authorizer { return granting{} })
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	h.must(t, 201, "PUT", "/acct/box/b", "content", v, isBlock, "x-ms-tags: k=secret")
	return h
}

// request makes a request that finds the row: its target and headers.
func rowRequest(op *rest.Operation[*Service], path string) (method, target string, header []string) {
	q := url.Values{}
	if op.Comp != "" {
		q.Set("comp", op.Comp)
	}
	if op.Restype != "" {
		q.Set("restype", op.Restype)
	}
	header = []string{"x-ms-version: " + string(protocol.Newest)}
	for _, s := range op.When {
		if s.Value == "" && s.Name == "x-ms-copy-source" {
			s.Value = "http://127.0.0.1/acct/box/b"
		}
		header = append(header, s.Name+": "+s.Value)
	}
	return strings.Fields(op.Methods)[0], path + "?" + q.Encode(), header
}

// An operation works on a snapshot or version, or it refuses a request that names one: never on the base blob instead.
func TestOnlySlotsAreNamed(t *testing.T) {
	h := newGranting(t)
	snapshot := h.must(t, 201, "PUT", "/acct/box/b?comp=snapshot", "", v).Header.Get("x-ms-snapshot")
	etag := h.must(t, 200, "HEAD", "/acct/box/b", "", v).Header.Get("ETag")
	named := map[string]bool{}
	for i := range Operations {
		op := &Operations[i]
		if op.Level != rest.Blob {
			continue
		}
		if op.Slots {
			named[op.Name] = true
			continue
		}
		for _, slot := range []string{"snapshot=" + snapshot, "versionid=" + snapshot, "snapshot="} {
			for _, by := range []string{"x-by:", "x-by: sas racwdxyltmeopi"} {
				method, target, header := rowRequest(op, "/acct/box/b")
				r := h.Do(method, target+"&"+slot, "", append(header, by)...)
				require.Equal(t, "400 InvalidQueryParameterValue", strings.TrimSpace(strings.SplitN(r.String(), "\n", 2)[0]), "%s with %s", op.Name, slot)
			}
		}
	}
	require.Equal(t, etag, h.must(t, 200, "HEAD", "/acct/box/b", "", v).Header.Get("ETag"))
	require.Equal(t, "content", h.text(t, "/acct/box/b"))
	// What changes what it names: these alone.
	for _, write := range []string{"DeleteBlob", "SetBlobTier", "SetBlobTags", "SetImmutabilityPolicy", "DeleteImmutabilityPolicy", "SetLegalHold"} {
		require.True(t, named[write], write)
		delete(named, write)
	}
	for name := range named {
		require.Regexp(t, "^(Get|Query)", name, "an operation that works on snapshots and versions")
	}
}

// Tags are read, tested and written with the permission for tags only, whatever the operation.
func TestTagsNeedTheirPermission(t *testing.T) {
	h := newGranting(t)
	uses := []string{"x-ms-if-tags: k='secret'", "x-ms-if-tags: k<>'secret'", "x-ms-tags: k=other", "x-ms-copy-source-tag-option: COPY", "x-ms-copy-source-tag-option: copy"}
	with := func(op *rest.Operation[*Service], by, use string) (status int, code string) {
		path := map[rest.Level]string{rest.Account: "/acct", rest.Container: "/acct/box", rest.Blob: "/acct/box/b"}[op.Level]
		method, target, header := rowRequest(op, path)
		r := h.Do(method, target, "", append(header, "x-by: "+by, use)...)
		return r.Status, r.Header.Get("x-ms-error-code")
	}
	for i := range Operations {
		op := &Operations[i]
		if op.Needs.Open || op.Needs.BearerOnly {
			continue
		}
		for _, use := range uses {
			for _, by := range []string{"sas racwdxylfmeopi", "delegation racwdxylfmeopi", "contributor"} {
				status, code := with(op, by, use)
				require.Equal(t, 403, status, "%s with %s by %s: %s", op.Name, use, by, code)
			}
			if op.Needs.Public != auth.PublicNever {
				status, code := with(op, "nobody", use)
				require.Equal(t, 404, status, "%s with %s by nobody", op.Name, use)
				require.Contains(t, []string{"ResourceNotFound", ""}, code)
			}
		}
	}
	for _, include := range []string{"tags", "metadata,tags", "metadata, TAGS"} {
		list := "/acct/box?restype=container&comp=list&include=" + url.QueryEscape(include)
		for _, by := range []string{"sas l", "delegation l", "contributor"} {
			h.fails(t, 403, "AuthorizationPermissionMismatch", "GET", list, "", v, "x-by: "+by)
		}
		h.fails(t, 404, "ResourceNotFound", "GET", list, "", v, "x-by: nobody")
		require.Contains(t, string(h.must(t, 200, "GET", list, "", v, "x-by: sas lt").Body), "secret")
	}
	h.must(t, 200, "GET", "/acct/box/b", "", v, "x-by: sas rt", uses[0])
	h.must(t, 412, "GET", "/acct/box/b", "", v, "x-by: sas rt", uses[1])
	h.must(t, 201, "PUT", "/acct/box/new", "x", v, isBlock, "x-by: sas ct", uses[2])
	// In a batch each part needs it.
	r := h.must(t, 202, "POST", "/acct?comp=batch", batchBody("DELETE /acct/box/b HTTP/1.1\r\nx-by: sas d\r\nx-ms-if-tags: k='secret'"), v, "Content-Type: multipart/mixed; boundary=bb")
	require.Contains(t, string(r.Body), "AuthorizationPermissionMismatch")
}

// The tags of a copy's source need the source's own permission for tags.
func TestTagsOfASource(t *testing.T) {
	h := newGranting(t)
	const copied = "x-ms-copy-source-tag-option: COPY"
	copy := func(status int, sourceBy, by string, header ...string) {
		t.Helper()
		source := "x-ms-copy-source: http://127.0.0.1/acct/box/b?sig=x&by=" + url.QueryEscape(sourceBy)
		r := h.Do("PUT", "/acct/box/copy", "", append(header, v, source, "x-ms-requires-sync: true", "x-by: "+by)...)
		require.Equal(t, status, r.Status, "%s %s %v: %s", sourceBy, by, header, r)
	}
	for _, tested := range []string{copied, "x-ms-source-if-tags: k='secret'"} {
		for source, status := range map[string]int{"sas r": 403, "delegation r": 403, "contributor": 403, "nobody": 404, "sas rt": 202, "": 202} {
			copy(status, source, "sas wt", tested)
			copy(202, source, "sas wt")
		}
	}
	copy(403, "sas rt", "sas w", copied)
	require.Contains(t, h.text(t, "/acct/box/copy?comp=tags"), "<TagSet></TagSet>", "the last copy had none")
	// Without credentials for the source, the request's own key or token reads it for Copy Blob, and no SAS of the destination.
	for by, status := range map[string]int{"": 202, "contributor": 202, "delegation rwt": 404, "sas rwt": 404} {
		h.must(t, 201, "PUT", "/acct/private?restype=container", "", v)
		h.must(t, 201, "PUT", "/acct/private/b", "x", v, isBlock)
		source := "x-ms-copy-source: http://127.0.0.1/acct/private/b?by=nobody-else"
		r := h.Do("PUT", "/acct/box/copy", "", v, source, "x-by: "+by)
		require.Equal(t, status, r.Status, "%s: %s", by, r)
		r = h.Do("PUT", "/acct/box/copy", "", v, source, "x-ms-requires-sync: true", "x-by: "+by)
		require.Equal(t, 404, r.Status, "%s: %s", by, r)
		h.must(t, 202, "DELETE", "/acct/private?restype=container", "", v)
	}
}

// A source is as safe as the transport that its credentials came by, whatever its address says.
func TestTheTransportOfASource(t *testing.T) {
	h := newGranting(t)
	for _, scheme := range []string{"http", "https"} {
		h.fails(t, 403, "CannotVerifyCopySource", "PUT", "/acct/box/copy", "", v, "x-ms-requires-sync: true",
			"x-ms-copy-source: "+scheme+"://127.0.0.1/acct/box/b?sig=x&by=https")
	}
}

// What a role is on is what the operation works on: a container in the path opens no operation on the account, nor a blob one on
// the container.
func TestLevels(t *testing.T) {
	h := newGranting(t)
	for i := range Operations {
		op := &Operations[i]
		path := map[rest.Level]string{rest.Account: "/acct/box", rest.Container: "/acct/box/b"}[op.Level]
		if path == "" || op.Needs.Open || op.Name == "GetAccountInformation" || op.Name == "BlobBatch" { // which containers have too
			continue
		}
		method, target, header := rowRequest(op, path)
		r := h.Do(method, target, "", header...)
		require.Equal(t, "400 InvalidQueryParameterValue", strings.TrimSpace(strings.SplitN(r.String(), "\n", 2)[0]), "%s on %s", op.Name, target)
	}
}
