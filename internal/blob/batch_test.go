package blob

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/framing"
	"github.com/blobd/blobd/internal/rest/resttest"
)

func batchBody(lines ...string) string {
	var b strings.Builder
	for i, line := range lines {
		fmt.Fprintf(&b, "--bb\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\nContent-ID: %d\r\n\r\n%s\r\nContent-Length: 0\r\n\r\n\r\n", i, line)
	}
	return b.String() + "--bb--\r\n"
}

func TestBatchOnTheWire(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	h.must(t, 201, "PUT", "/acct/box/b", "x", v, isBlock)
	h.must(t, 201, "PUT", "/acct/other?restype=container", "", v)
	h.must(t, 201, "PUT", "/acct/other/b", "x", v, isBlock)
	kind := "Content-Type: multipart/mixed; boundary=bb"
	del := func(b string) string { return "DELETE /acct/" + b + " HTTP/1.1" }
	r := h.must(t, 202, "POST", "/acct?comp=batch", batchBody(del("box/b"), del("box/none")), v, kind)
	boundary, ok := strings.CutPrefix(r.Header.Get("Content-Type"), "multipart/mixed; boundary=")
	require.True(t, ok)
	require.Regexp(t, "^batchresponse_[0-9a-f-]{36}$", boundary)
	body := string(r.Body)
	require.Regexp(t, "^--"+boundary+"\r\nContent-Type: application/http\r\nContent-ID: 0\r\n\r\nHTTP/1.1 202 Accepted\r\n", body)
	require.Contains(t, body, "x-ms-delete-type-permanent: true\r\n")
	require.Contains(t, body, "\r\nContent-ID: 1\r\n\r\nHTTP/1.1 404 The specified blob does not exist.\r\n")
	require.Contains(t, body, "x-ms-error-code: BlobNotFound\r\n")
	require.Contains(t, body, "Content-Type: application/xml\r\n")
	require.True(t, strings.HasSuffix(body, "</Error>\r\n--"+boundary+"--\r\n"))
	// Without a body one empty line ends a part: SDKs cut parts at two line ends and take a third for content.
	require.Regexp(t, ": [^\r]+\r\n\r\n--"+boundary+"\r\nContent-Type: application/http\r\nContent-ID: 1\r\n", body)
	require.Equal(t, 2, strings.Count(body, "x-ms-version: 2026-02-06\r\n"))

	// A part of another container fails alone.
	r = h.must(t, 202, "POST", "/acct/box?restype=container&comp=batch", batchBody(del("other/b")), v, kind)
	require.Contains(t, string(r.Body), "x-ms-error-code: InvalidInput")
	h.must(t, 200, "HEAD", "/acct/other/b", "", v)
	many := make([]string, 257)
	for i := range many {
		many[i] = del("other/b")
	}
	r = h.must(t, 202, "POST", "/acct?comp=batch", batchBody(many...), v, kind)
	require.Contains(t, string(r.Body), "\r\nx-ms-error-code: ExceedsMaxBatchRequestCount\r\n")
	require.Contains(t, string(r.Body), "HTTP/1.1 400 The batch operation exceeds maximum number of allowed subrequests.\r\n")
	require.NotContains(t, string(r.Body), "Content-ID")

	// What is no batch is refused whole, in a part of an answer that is a success, and does nothing.
	refused := func(code, body, kind string) {
		t.Helper()
		r := h.must(t, 202, "POST", "/acct?comp=batch", body, v, kind)
		require.Equal(t, 1, strings.Count(string(r.Body), "HTTP/1.1 "), r)
		require.Regexp(t, "^--batchresponse_[0-9a-f-]{36}\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 400 ", string(r.Body))
		require.Contains(t, string(r.Body), "\r\nx-ms-error-code: "+code+"\r\n")
		require.Contains(t, string(r.Body), "\r\nx-ms-request-id: "+r.Header.Get("x-ms-request-id")+"\r\n")
	}
	for _, bad := range []string{"", "--bb--\r\n", batchBody("GET /acct/other/b HTTP/1.1"), batchBody("DELETE /acct/other?restype=container HTTP/1.1"),
		batchBody(del("other/b"), "PUT /acct/other/b?comp=tier HTTP/1.1\r\nx-ms-access-tier: Cool"), batchBody("DELETE"), batchBody("DELETE /devstoreaccount1/a/b HTTP/1.1"),
		batchBody("POST /acct?comp=batch HTTP/1.1")} {
		refused("InvalidInput", bad, kind)
	}
	for _, kind := range []string{"multipart/mixed", "text/plain", "multipart/mixed; boundary="} {
		refused("InvalidHeaderValue", batchBody(del("other/b")), "Content-Type: "+kind)
	}
	h.fails(t, 404, "ContainerNotFound", "POST", "/acct/none?restype=container&comp=batch", batchBody(del("none/b")), v, kind)
	h.must(t, 200, "HEAD", "/acct/other/b", "", v)
}

// TestBatchBoundaries: clients send boundaries of all kinds without quotes.
func TestBatchBoundaries(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	for _, b := range []string{"===============5306085128869334238==", "xUKdJCsSP0Gv+UyN2D/kyA==", "a:b", "a?b", "(a,b)"} {
		h.must(t, 201, "PUT", "/acct/box/b", "x", v, isBlock)
		body := strings.ReplaceAll(batchBody("DELETE /acct/box/b HTTP/1.1"), "--bb", "--"+b)
		h.must(t, 202, "POST", "/acct?comp=batch", body, v, "Content-Type: multipart/mixed; boundary="+b)
		h.fails(t, 404, "BlobNotFound", "HEAD", "/acct/box/b", "", v)
	}
}

// TestBatchWithoutAccount: parts may leave the account out of their paths as long as that cannot be mistaken.
func TestBatchWithoutAccount(t *testing.T) {
	h := newHouse(t)
	const kind = "Content-Type: multipart/mixed; boundary=bb"
	for _, box := range []string{"box", "devstoreaccount1"} {
		h.must(t, 201, "PUT", "/acct/"+box+"?restype=container", "", v)
		h.must(t, 201, "PUT", "/acct/"+box+"/a%20b/c", "x", v, isBlock)
	}
	r := h.must(t, 202, "POST", "/acct/box?restype=container&comp=batch", batchBody("DELETE /box/a%20b/c HTTP/1.1"), v, kind)
	require.Contains(t, string(r.Body), "HTTP/1.1 202 Accepted")
	h.fails(t, 404, "BlobNotFound", "HEAD", "/acct/box/a%20b/c", "", v)
	r = h.must(t, 202, "POST", "/acct?comp=batch", batchBody("DELETE /devstoreaccount1/a%20b/c HTTP/1.1"), v, kind)
	require.Contains(t, string(r.Body), "x-ms-error-code: InvalidInput", "the name is another account's")
	h.must(t, 200, "HEAD", "/acct/devstoreaccount1/a%20b/c", "", v)
}

// picky lets only those in who say so.
type picky struct{}

func (picky) Authorize(ctx context.Context, a *account.Account, r *auth.Request, needs *auth.Needs) (auth.Grant, error) {
	if v, _ := r.Headers.Get("x-let-me-in"); v == "" {
		return auth.Grant{}, protocol.ErrAuthenticationFailed
	}
	return resttest.AllowAll{}.Authorize(ctx, a, r, needs)
}

// TestBatchAuthorization: what lets the batch in lets none of its parts in.
func TestBatchAuthorization(t *testing.T) {
	h := build(t, func(auth.Resources) auth.Authorizer { return picky{} })
	const me = "x-let-me-in: please"
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v, me)
	h.must(t, 201, "PUT", "/acct/box/a", "x", v, isBlock, me)
	h.must(t, 201, "PUT", "/acct/box/b", "x", v, isBlock, me)
	r := h.must(t, 202, "POST", "/acct?comp=batch", batchBody("DELETE /acct/box/a HTTP/1.1", "DELETE /acct/box/b HTTP/1.1\r\n"+me), v, me, "Content-Type: multipart/mixed; boundary=bb")
	require.Equal(t, 1, strings.Count(string(r.Body), "x-ms-error-code: AuthenticationFailed"))
	h.must(t, 200, "HEAD", "/acct/box/a", "", v, me)
	h.fails(t, 404, "BlobNotFound", "HEAD", "/acct/box/b", "", v, me)
}

// TestBatchPartsAtOnce: parts run side by side, their answers come in their order, and those on one blob are done in theirs. Each is let in,
// and fails, by itself.
func TestBatchPartsAtOnce(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	var lines, want []string
	for i := range maxBatchParts / 4 {
		h.must(t, 201, "PUT", fmt.Sprintf("/acct/box/b%d", i), "x", v, isBlock)
		del := func(name string) string { return "DELETE /acct/" + name + " HTTP/1.1" }
		lines = append(lines, del(fmt.Sprint("box/b", i)), del(fmt.Sprint("box/none", i)), del(fmt.Sprint("box/b", i)), del(fmt.Sprint("other/b", i)))
		want = append(want, "202", "404", "404", "400")
	}
	r := h.must(t, 202, "POST", "/acct/box?restype=container&comp=batch", batchBody(lines...), v, "Content-Type: multipart/mixed; boundary=bb")
	parts := strings.Split(string(r.Body), "Content-ID: ")[1:]
	require.Len(t, parts, len(want))
	for i, part := range parts {
		require.True(t, strings.HasPrefix(part, fmt.Sprintf("%d\r\n\r\nHTTP/1.1 %s ", i, want[i])), part)
	}
}

// TestABatchThatCannotBeAnsweredIsNotDone: without memory for its answer none of its parts is done.
func TestABatchThatCannotBeAnsweredIsNotDone(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	h.must(t, 201, "PUT", "/acct/box/b", "x", v, isBlock)
	limits := framing.DefaultLimits()
	limits.Answers = framing.NewBudget(100_000)
	s := resttest.StartWith(t, &rest.Front{Accounts: h.registry, Blob: h.svc}, limits)
	lines := make([]string, 100)
	for i := range lines {
		lines[i] = "DELETE /acct/box/b HTTP/1.1"
	}
	submit := func(lines ...string) *resttest.Response {
		return s.Do("POST", "/acct?comp=batch", batchBody(lines...), v, "Content-Type: multipart/mixed; boundary=bb")
	}
	r := submit(lines...)
	require.Equal(t, "503 ServerBusy", fmt.Sprint(r.Status, " ", r.Code()))
	h.must(t, 200, "HEAD", "/acct/box/b", "", v)
	require.Equal(t, 202, submit(lines[:10]...).Status)
	h.fails(t, 404, "BlobNotFound", "HEAD", "/acct/box/b", "", v)
}

// TestPartsHaveTheirOwnTime: each part of a batch may name its timeout, and one that is none fails that part alone.
func TestPartsHaveTheirOwnTime(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	h.must(t, 201, "PUT", "/acct/box/a", "x", v, isBlock)
	h.must(t, 201, "PUT", "/acct/box/b", "x", v, isBlock)
	r := h.must(t, 202, "POST", "/acct?comp=batch", batchBody("DELETE /acct/box/a?timeout=-1 HTTP/1.1", "DELETE /acct/box/b?timeout=30 HTTP/1.1"), v, "Content-Type: multipart/mixed; boundary=bb")
	require.Contains(t, string(r.Body), "<QueryParameterName>timeout</QueryParameterName><QueryParameterValue>-1</QueryParameterValue>")
	require.Contains(t, string(r.Body), "HTTP/1.1 202 Accepted\r\n")
	h.must(t, 200, "HEAD", "/acct/box/a", "", v)
	h.fails(t, 404, "BlobNotFound", "HEAD", "/acct/box/b", "", v)
}
