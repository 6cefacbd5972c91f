package blob

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/rest/resttest"
)

// prescribing lets everybody in, by a signature whose ses is the header x-ses.
type prescribing struct{}

func (prescribing) Authorize(ctx context.Context, a *account.Account, r *auth.Request, needs *auth.Needs) (auth.Grant, error) {
	g, err := resttest.AllowAll{}.Authorize(ctx, a, r, needs)
	g.EncryptionScope, _ = r.Headers.Get("x-ses")
	return g, err
}

// The encryption scope of a new blob is that of its request or of its signature, which agree, or else the container's, which may
// insist on it.
func TestEncryptionScopes(t *testing.T) {
	h := build(t, func(auth.Resources) auth.Authorizer { return prescribing{} })
	const header, ses = "x-ms-encryption-scope: ", "x-ses: "
	h.must(t, 201, "PUT", "/acct/plain?restype=container", "", v)
	h.must(t, 201, "PUT", "/acct/default?restype=container", "", v, "x-ms-default-encryption-scope: one")
	h.must(t, 201, "PUT", "/acct/strict?restype=container", "", v, "x-ms-default-encryption-scope: one", "x-ms-deny-encryption-scope-override: true")
	h.must(t, 201, "PUT", "/acct/keyed?restype=container", "", v, "x-ms-default-encryption-scope: "+record.AccountScope, "x-ms-deny-encryption-scope-override: true")
	h.must(t, 201, "PUT", "/acct/plain/source", "x", v, isBlock)
	from := "x-ms-copy-source: http://" + h.Addr + "/acct/plain/source"
	ways := map[string]func(target string, headers ...string) (status int, code string){
		"Put Blob": func(target string, headers ...string) (int, string) {
			answer := h.Do("PUT", target, "x", append(headers, v, isBlock)...)
			return answer.Status, answer.Code()
		},
		"Put Append Blob": func(target string, headers ...string) (int, string) {
			answer := h.Do("PUT", target, "", append(headers, v, "x-ms-blob-type: AppendBlob")...)
			return answer.Status, answer.Code()
		},
		"Put Block List": func(target string, headers ...string) (int, string) {
			answer := h.Do("PUT", target+"?comp=blocklist", "<BlockList></BlockList>", append(headers, v)...)
			return answer.Status, answer.Code()
		},
		"Put Blob From URL": func(target string, headers ...string) (int, string) {
			answer := h.Do("PUT", target, "", append(headers, v, isBlock, from)...)
			return answer.Status, answer.Code()
		},
		"Copy Blob": func(target string, headers ...string) (int, string) {
			answer := h.Do("PUT", target, "", append(headers, v, from)...)
			return answer.Status - 1, answer.Code() // 202
		},
		"Copy Blob From URL": func(target string, headers ...string) (int, string) {
			answer := h.Do("PUT", target, "", append(headers, v, from, "x-ms-requires-sync: true")...)
			return answer.Status - 1, answer.Code()
		},
	}
	for _, c := range []struct {
		container string
		headers   []string
		want      string // the scope, or the code of the refusal
	}{
		{"plain", nil, ""},
		{"plain", []string{header + "one"}, "one"},
		{"plain", []string{ses + "one"}, "one"},
		{"plain", []string{ses + "one", header + "one"}, "one"},
		{"plain", []string{ses + "one", header + "two"}, "InvalidHeaderValue"},
		{"default", nil, "one"},
		{"default", []string{header + "two"}, "two"},
		{"default", []string{ses + "two"}, "two"},
		{"default", []string{header + record.AccountScope}, ""},
		{"strict", nil, "one"},
		{"strict", []string{header + "one"}, "one"},
		{"strict", []string{ses + "one"}, "one"},
		{"strict", []string{header + "two"}, "RequestForbiddenByContainerEncryptionPolicy"},
		{"strict", []string{ses + "two"}, "RequestForbiddenByContainerEncryptionPolicy"},
		{"strict", []string{header + record.AccountScope}, "RequestForbiddenByContainerEncryptionPolicy"},
		{"keyed", []string{header + record.AccountScope}, ""},
		{"keyed", []string{ses + "two"}, "RequestForbiddenByContainerEncryptionPolicy"},
	} {
		for name, way := range ways {
			target := "/acct/" + c.container + "/b"
			status, code := way(target, c.headers...)
			if code != "" {
				require.Equal(t, c.want, code, "%s %s %v", name, c.container, c.headers)
				h.fails(t, 404, "BlobNotFound", "HEAD", target, "", v)
				continue
			}
			require.Equal(t, 201, status)
			answer := h.must(t, 200, "HEAD", target, "", v)
			require.Equal(t, c.want, answer.Header.Get("x-ms-encryption-scope"), "%s %s %v", name, c.container, c.headers)
			h.must(t, 202, "DELETE", target, "", v)
		}
	}
}
