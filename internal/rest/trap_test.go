package rest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/framing"
	"github.com/blobd/blobd/internal/rest/resttest"
)

// Each test here closes one trap of the HTTP library (see docs/design) as a client meets it.

func TestHeaderNamesKeepTheirCaseAndLookUpsIgnoreIt(t *testing.T) {
	s := serve(t, func(r *rest.Request) error {
		var names []string
		r.Headers("x-ms-meta-", func(name, lower, value string) { names = append(names, name+"="+lower+"="+value) })
		r.SetHeader("X-Seen", strings.Join(names, " "))
		r.SetHeader("x-ms-meta-MixedCase", "1")
		r.SetHeader("X-Type", r.Header("x-ms-blob-type"))
		r.Reply(200)
		return nil
	})
	got := s.Do("GET", "/acct/c/b", "", "X-mS-mEtA-fooBar: 1", "x-ms-meta-B_c:  2 ", "X-Ms-Blob-Type: BlockBlob")
	require.Equal(t, "X-mS-mEtA-fooBar=x-ms-meta-foobar=1 x-ms-meta-B_c=x-ms-meta-b_c=2", got.Header.Get("X-Seen"))
	require.Equal(t, "BlockBlob", got.Header.Get("X-Type"))
	require.Contains(t, got.Raw, "\r\nx-ms-meta-MixedCase: 1\r\n")
}

func TestMetadataNamesThatDifferOnlyInCaseAreRefused(t *testing.T) {
	s := serve(t, func(r *rest.Request) error { r.Reply(200); return nil })
	for _, headers := range [][]string{{"x-ms-meta-a: 1", "x-ms-meta-A: 2"}, {"x-ms-meta-a: 1", "X-MS-META-a: 1"}, {"x-ms-meta-a: 1", "x-ms-meta-b: 1", "x-ms-meta-a: 1"}} {
		got := s.Do("GET", "/acct/c/b", "", headers...)
		require.Equal(t, "400 InvalidMetadata", fmt.Sprint(got.Status, " ", got.Code()))
	}
}

func TestThePathIsTakenAsSent(t *testing.T) {
	s := serve(t, func(r *rest.Request) error {
		r.ReplyBytes(200, "text/plain", []byte(r.RawPath+"|"+r.Container+"|"+r.Blob))
		return nil
	})
	for target, want := range map[string]string{
		"/acct/c/a//../b%2Fc":       "/acct/c/a//../b%2Fc|c|a//../b/c",
		"/acct/c/../../etc/passwd":  "/acct/c/../../etc/passwd|c|../../etc/passwd",
		"/acct/c//":                 "/acct/c//|c|/",
		"/acct/c/%2e%2e/x":          "/acct/c/%2e%2e/x|c|../x",
		"/acct/c/a+b%20c%25":        "/acct/c/a+b%20c%25|c|a+b c%",
		"/acct/c/x...":              "/acct/c/x...|c|x...",
		"/acct/c/a\\b;c=d":          "/acct/c/a\\b;c=d|c|a/b;c=d", // a backslash is a slash, however it is written
		"/acct/c/%5Ca%5cb/%255C":    "/acct/c/%5Ca%5cb/%255C|c|/a/b/%5C",
		"/acct/c%5Cb":               "/acct/c%5Cb|c|b",
		"/acct/c/%C3%A9\xc3\xa9":    "/acct/c/%C3%A9\xc3\xa9|c|éé",
		"/acct/c/a?comp=":           "/acct/c/a|c|a",
		"/acct/c/b?x=/../&y=http:/": "/acct/c/b|c|b",
	} {
		got := s.Do("GET", target, "")
		require.Equal(t, want, string(got.Body), target)
	}
	for _, target := range []string{"/acct/c/%", "/acct/c/%2", "/acct/c/%zz", "/acct/c/%ff", "/acct/c%80/b", "/acct/c/b?comp=%f", "/", "//acct/c/b"} {
		require.Equal(t, 400, s.Do("GET", target, "").Status, target)
	}
}

func TestHostDecidesAndNotTheRequestLine(t *testing.T) {
	other := account.New("other", time.Now())
	who := newEcho(func(r *rest.Request) error {
		r.ReplyBytes(200, "text/plain", []byte(fmt.Sprint(r.Account.Name, " ", r.Secondary, " ", r.PathStyle, " ", r.Container, "/", r.Blob)))
		return nil
	})
	s := resttest.Start(t, &rest.Front{Blob: who, Accounts: account.NewRegistry(resttest.Account(), other)})
	for _, c := range []struct{ target, host, want string }{
		{"/acct/c/b", "127.0.0.1:10000", "acct false true c/b"},
		{"/acct-secondary/c/b", "127.0.0.1", "acct true true c/b"},
		{"/c/b", "acct.blob.core.windows.net", "acct false false c/b"},
		{"/acct/c/b", "acct.blob.localhost:10000", "acct false false acct/c/b"},
		{"/c/b", "Other-Secondary.Blob.example", "other true false c/b"},
		{"/acct/c/b", "storage.example", "acct false true c/b"},
		{"/acct/c/b", "blob.example", "acct false true c/b"},
		{"/acct/c/b", "[::1]:10000", "acct false true c/b"},
		{"http://other.blob.x/c/b", "other.blob.x", "other false false c/b"},
		{"http://acct.blob.x/c/b", "other.blob.x", ""},
		{"http://evil/acct/c/b", "127.0.0.1", ""},
		{"http://127.0.0.1/acct/c/b", "127.0.0.1", "acct false true c/b"},
		{"/c/b", "acct.table.x", ""}, // no table service here
		{"/c/b", "acct.queue.x", ""},
		{"/nobody/c/b", "127.0.0.1", ""},
	} {
		got := s.Do("GET", c.target, "", "Host: "+c.host)
		if c.want == "" {
			require.GreaterOrEqual(t, got.Status, 400, "%+v: %s", c, got.Body)
			continue
		}
		require.Equal(t, c.want, string(got.Body), "%+v", c)
	}
}

func TestDomainsBoundHostNames(t *testing.T) {
	s := resttest.Start(t, &rest.Front{Domains: []string{"stack.local"}, Blob: newEcho(func(r *rest.Request) error { r.Reply(200); return nil })})
	require.Equal(t, 200, s.Do("GET", "/c/b", "", "Host: acct.blob.Stack.local:443").Status)
	require.Equal(t, 404, s.Do("GET", "/c/b", "", "Host: acct.blob.other.local").Status)
}

// refuser lets nobody in.
type refuser struct{ *echo }

func (refuser) Authorize(context.Context, *account.Account, *auth.Request, *auth.Needs) (auth.Grant, error) {
	return auth.Grant{}, protocol.ErrAuthenticationFailed
}

func (s refuser) Serve(r *rest.Request) { rest.Dispatch(s.router, rest.Blob, s.echo, s, r) }

func TestAuthorizationAndLimitsComeBeforeTheBody(t *testing.T) {
	handler := func(r *rest.Request) error { t.Error("the handler ran"); return nil }
	for name, c := range map[string]struct {
		service rest.Service
		header  string
		status  int
		code    string
	}{
		"refused":   {refuser{newEcho(handler)}, "Content-Length: 1000", 403, "AuthenticationFailed"},
		"too large": {newEcho(handler), "Content-Length: 1048577", 413, "RequestBodyTooLarge"},
		"no length": {newEcho(handler), "X: y", 411, "MissingContentLengthHeader"},
		"chunked":   {newEcho(handler), "Transfer-Encoding: chunked", 411, "MissingContentLengthHeader"},
	} {
		t.Run(name, func(t *testing.T) {
			s := resttest.Start(t, &rest.Front{Blob: c.service})
			conn := s.Dial()
			conn.Write("PUT /acct/c/b HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n" + c.header + "\r\n\r\n")
			got := conn.Response("PUT") // the first answer: no 100 Continue goes before
			require.Equal(t, c.status, got.Status)
			require.Equal(t, c.code, got.Code())
			if name != "no length" {
				require.Contains(t, got.Raw, "\r\nConnection: close\r\n")
				rest, err := io.ReadAll(conn)
				require.NoError(t, err)
				require.Empty(t, rest)
			}
		})
	}
}

func TestContinueComesWhenTheHandlerReads(t *testing.T) {
	s := serve(t, func(r *rest.Request) error {
		b, err := r.ReadBody(1 << 20)
		r.ReplyBytes(201, "text/plain", b)
		return err
	})
	for _, name := range []string{"Expect", "expect", "EXPECT"} {
		c := s.Dial()
		c.Write("PUT /acct/c/b HTTP/1.1\r\nHost: h\r\n" + name + ": 100-Continue\r\nContent-Length: 5\r\n\r\n")
		require.Equal(t, 100, c.Response("PUT").Status)
		c.Write("hello")
		got := c.Response("PUT")
		require.Equal(t, "hello", string(got.Body))
		require.Equal(t, "hello", string(c.Do("PUT", "/acct/c/b", "hello").Body), "the connection goes on")
	}
}

func TestABodyCutOffIsNeverABody(t *testing.T) {
	seen := make(chan error, 1)
	s := serve(t, func(r *rest.Request) error {
		_, err := r.ReadBody(1 << 20)
		seen <- err
		r.Reply(201) // even if a handler forgets the error, nothing is said
		return err
	})
	c := s.Dial()
	c.Write("PUT /acct/c/b HTTP/1.1\r\nHost: h\r\nContent-Length: 500000\r\n\r\npart of it")
	require.NoError(t, c.CloseWrite())
	require.ErrorIs(t, <-seen, io.ErrUnexpectedEOF)
	answer, _ := io.ReadAll(c)
	require.Empty(t, answer)
}

func TestUnreadBodyEndsTheConnection(t *testing.T) {
	s := serve(t, func(r *rest.Request) error { return protocol.ErrConditionNotMet })
	c := s.Dial()
	body := strings.Repeat("GET /admin HTTP/1.1\r\n", 10)
	for range 3 { // a short one is read away and the connection goes on
		got := c.Do("PUT", "/acct/c/b", body)
		require.Equal(t, 412, got.Status)
		require.NotContains(t, got.Raw, "\r\nConnection:")
	}
	got := c.Do("PUT", "/acct/c/b", strings.Repeat(body, 1000))
	require.Equal(t, 412, got.Status)
	require.Contains(t, got.Raw, "\r\nConnection: close\r\n")
}

func TestNothingStoredSplitsAnAnswer(t *testing.T) {
	s := serve(t, func(r *rest.Request) error {
		r.SetHeader("x-ms-meta-a", "1\r\nSet-Cookie: evil\r\n\r\n<html>")
		r.SetHeader("x-ms-meta-b\r\nX-Evil", "2\x00")
		r.ReplyBytes(200, "text/plain\r\nX-Evil: 1", []byte("body"))
		return nil
	})
	got := s.Do("GET", "/acct/c/b", "")
	require.Equal(t, "body", string(got.Body))
	require.Empty(t, got.Header.Get("Set-Cookie"))
	require.Empty(t, got.Header.Get("X-Evil"))
	require.NotContains(t, got.Raw, "\r\n\r\n<")
}

func TestClientRequestIDIsEchoedIfHarmless(t *testing.T) {
	s := serve(t, func(r *rest.Request) error { r.Reply(200); return nil })
	for id, want := range map[string]string{
		"abc": "abc", strings.Repeat("x", 1024): strings.Repeat("x", 1024), strings.Repeat("x", 1025): "", "a b": "", "a\tb": "", "caf\xe9": "", "": "",
	} {
		require.Equal(t, want, s.Do("GET", "/acct/c/b", "", "X-MS-Client-Request-ID: "+id).Header.Get("x-ms-client-request-id"))
	}
}

func TestHeadCarriesTheLengthOfTheEntity(t *testing.T) {
	s := serve(t, func(r *rest.Request) error { r.ReplyHead(200, 12345); return nil })
	c := s.Dial()
	for range 2 {
		got := c.Do("HEAD", "/acct/c/b", "")
		require.Equal(t, "12345", got.Header.Get("Content-Length"))
	}
}

func TestVersionRules(t *testing.T) {
	handler := func(r *rest.Request) error {
		r.ReplyBytes(200, "text/plain", []byte(fmt.Sprint(r.Version, " ", r.Explicit)))
		return nil
	}
	s := serve(t, handler)
	strict := resttest.Start(t, &rest.Front{Strict: true, Blob: newEcho(handler)})
	for _, c := range []struct {
		target, version string
		want, strict    string
	}{
		{"/acct/c/b", "2021-12-02", "2021-12-02 true", "2021-12-02 true"},
		{"/acct/c/b", "2026-12-06", "2026-12-06 true", "2026-12-06 true"},
		{"/acct/c/b", "2031-01-31", "2031-01-31 true", "InvalidHeaderValue"},
		{"/acct/c/b", "2021-12-03", "InvalidHeaderValue", "InvalidHeaderValue"},
		{"/acct/c/b", "2031-02-30", "InvalidHeaderValue", "InvalidHeaderValue"},
		{"/acct/c/b", "latest", "InvalidHeaderValue", "InvalidHeaderValue"},
		{"/acct/c/b", "", "InvalidHeaderValue", "InvalidHeaderValue"},
		{"/acct/c/b?sv=2019-02-02", "2021-12-02", "2021-12-02 true", "2021-12-02 true"},
	} {
		for server, want := range map[*resttest.Server]string{s: c.want, strict: c.strict} {
			got := server.Do("GET", c.target, "", "x-ms-version: "+c.version)
			if got.Code() != "" {
				require.Equal(t, want, got.Code(), c)
				require.Contains(t, string(got.Body), string(protocol.AppendElement([]byte("<HeaderName>x-ms-version</HeaderName>"), "HeaderValue", c.version)))
				continue
			}
			require.Equal(t, want, string(got.Body), c)
			require.Equal(t, c.version, got.Header.Get("x-ms-version"), "echoed as asked")
		}
	}
	for target, want := range map[string]string{
		"/acct/c/b?sv=2019-02-02":                        "2019-02-02 true",
		"/acct/c/b?sv=2019-02-02&api-version=2020-04-08": "2020-04-08 true",
		"/acct/c/b": "2026-12-06 false",
	} {
		require.Contains(t, s.Send("GET "+target+" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), "\r\n\r\n"+want)
	}
	require.Contains(t, s.Send("GET /acct/c/b HTTP/1.1\r\nHost: h\r\nAuthorization: SharedKey acct:x\r\nConnection: close\r\n\r\n"), "\r\n\r\n2009-09-19 false")
}

func TestRoutingErrors(t *testing.T) {
	s := serve(t, func(r *rest.Request) error { r.Reply(200); return nil })
	for _, c := range []struct{ method, target, version, code string }{
		{"GET", "/acct/c/b", "2026-12-06", ""},
		{"BREW", "/acct/c/b", "2026-12-06", "UnsupportedHttpVerb"},
		{"GET", "/acct/c/b?comp=nonsense", "2026-12-06", "InvalidQueryParameterValue"},
		{"PUT", "/acct/c/b?comp=new", "2019-12-12", ""},
		{"PUT", "/acct/c/b?COMP=new", "2019-12-12", ""},
		{"PUT", "/acct/c/b?comp=new", "2019-07-07", "InvalidQueryParameterValue"},
		{"GET", "/acct/c/b?timeout=30", "2026-12-06", ""},
		{"GET", "/acct/c/b?timeout=soon", "2026-12-06", "InvalidQueryParameterValue"},
		{"GET", "/acct/c/b?prefix=%ff", "2026-12-06", "InvalidQueryParameterValue"},
	} {
		require.Equal(t, c.code, s.Do(c.method, c.target, "", "x-ms-version: "+c.version).Code(), c)
	}
}

func TestAPanicIsAnInternalErrorAndTheServerGoesOn(t *testing.T) {
	panics := make(chan any, 1)
	s := resttest.Start(t, &rest.Front{
		Blob:     newEcho(func(*rest.Request) error { panic("defect: secret") }),
		Panicked: func(_ *rest.Request, v any, _ []byte) { panics <- v },
	})
	for range 2 {
		got := s.Do("GET", "/acct/c/b", "")
		require.Equal(t, "500 InternalError", fmt.Sprint(got.Status, " ", got.Code()))
		require.NotContains(t, string(got.Body), "secret")
		require.Equal(t, "defect: secret", <-panics)
	}
}

// TestAFailureAfterTheAnswerIsBegun: a handler that panics or fails once it has given its body away is answered like any other, its body is
// closed once, and what was counted for the answer goes back.
func TestAFailureAfterTheAnswerIsBegun(t *testing.T) {
	limits := framing.DefaultLimits()
	limits.Answers = framing.NewBudget(1 << 20)
	done := make(chan int, 1)
	var closed chan struct{}
	s := resttest.StartWith(t, &rest.Front{
		Blob: newEcho(func(r *rest.Request) error {
			if r.Blob == "well" {
				r.ReplyBytes(200, "text/plain", []byte("ok"))
				return nil
			}
			body := &source{100_000, nil, closed}
			if strings.HasPrefix(r.Blob, "stream") {
				r.ReplyStream(206, 100_000, body)
			} else if err := r.ReplyWhole(200, 100_000, body); err != nil {
				return err
			}
			if strings.HasSuffix(r.Blob, "panics") {
				panic("defect")
			}
			return errors.New("defect")
		}),
		Done: func(r *rest.Request) { done <- r.Status() },
	}, limits)
	for _, blob := range []string{"panics", "fails", "stream-panics", "stream-fails"} {
		closed = make(chan struct{}) // a second close of it panics
		got := s.Do("GET", "/acct/c/"+blob, "")
		require.Equal(t, "500 InternalError", fmt.Sprint(got.Status, " ", got.Code()))
		<-closed
		require.Equal(t, 500, <-done)
		require.Equal(t, 200, s.Do("GET", "/acct/c/well", "").Status)
		require.Equal(t, 200, <-done)
		until(t, func() bool { return limits.Answers.Used() == 0 })
	}
}

// source is a body that fails or panics on its way.
type source struct {
	left   int
	end    func() error
	closed chan struct{}
}

func (s *source) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, s.end()
	}
	n := min(len(p), s.left)
	s.left -= n
	clear(p[:n])
	return n, nil
}

func (s *source) Close() error { close(s.closed); return nil }

func TestAFailingSourceCutsTheAnswer(t *testing.T) {
	for name, end := range map[string]func() error{
		"error": func() error { return errors.New("disk gone") },
		"short": func() error { return io.EOF },
		"panic": func() error { panic("defect") },
	} {
		t.Run(name, func(t *testing.T) {
			closed := make(chan struct{})
			done := make(chan error, 1)
			s := resttest.Start(t, &rest.Front{
				Blob: newEcho(func(r *rest.Request) error {
					r.ReplyStream(200, 1<<20, &source{1000, end, closed})
					return nil
				}),
				Done: func(r *rest.Request) { done <- r.Cause() },
			})
			answer := s.Send("GET /acct/c/b HTTP/1.1\r\nHost: h\r\n\r\n")
			<-closed
			cause := <-done
			if name == "error" {
				require.EqualError(t, cause, "disk gone")
			}
			require.Less(t, len(answer), 2000, "the client sees fewer bytes than were announced")
		})
	}
}

func TestRequestsAreObservedOnceTheirAnswerIsSent(t *testing.T) {
	type seen struct {
		operation, code string
		status          int
		in, out         int64
	}
	done := make(chan seen, 1)
	f := &rest.Front{Done: func(r *rest.Request) { done <- seen{r.Operation, r.Code(), r.Status(), r.Received(), r.Sent()} }}
	f.Blob = newEcho(func(r *rest.Request) error {
		if r.Method == "GET" {
			r.ReplyStream(200, 100_000, &source{100_000, func() error { return io.EOF }, make(chan struct{})})
			return nil
		}
		_, err := r.ReadBody(1000)
		if err == nil {
			r.ReplyBytes(201, "text/plain", []byte("ok"))
		}
		return err
	})
	s := resttest.Start(t, f)
	s.Do("PUT", "/acct/c/b", "hello")
	require.Equal(t, seen{"Put", "", 201, 5, 2}, <-done)
	s.Do("PUT", "/acct/c/b", strings.Repeat("x", 2000))
	require.Equal(t, "RequestBodyTooLarge", (<-done).code)
	s.Do("GET", "/acct/c/b", "")
	require.Equal(t, seen{"Small", "", 200, 0, 100_000}, <-done)
}

// TestAPanicInAPart is the part's own failure.
func TestAPanicInAPart(t *testing.T) {
	s := serve(t, func(r *rest.Request) error {
		part, err := r.Part(&protocol.PartRequest{Method: "DELETE", Target: "/acct/c/b"})
		if err != nil {
			return err
		}
		part.AnswerPart(func() { panic("a defect") })
		r.ReplyBytes(202, "text/plain", part.AppendAnswer(nil))
		return nil
	})
	got := s.Do("GET", "/acct/c/b", "")
	require.Equal(t, 202, got.Status)
	require.Contains(t, string(got.Body), "HTTP/1.1 500 ")
	require.Contains(t, string(got.Body), "x-ms-error-code: InternalError\r\n")
	require.NotContains(t, string(got.Body), "a defect")
}
