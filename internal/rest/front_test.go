package rest_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/resttest"
)

// echo is a service with one row for everything that these tests need; its handler is what the test says.
type echo struct {
	router *rest.Router[*echo]
	handle func(*rest.Request) error
}

func newEcho(handle func(*rest.Request) error) *echo {
	e := &echo{handle: handle}
	row := func(s *echo, r *rest.Request) error { return s.handle(r) }
	e.router = rest.NewRouter(rest.Table[*echo]{
		{Name: "Small", Methods: "GET HEAD DELETE POST", Level: rest.Blob, Handle: row},
		{Name: "Put", Methods: "PUT", Level: rest.Blob, Handle: row, Body: rest.BodyRule{Max: rest.AtMost(1 << 20), Length: true}},
		{Name: "New", Methods: "PUT", Level: rest.Blob, Comp: "new", Since: protocol.V20191212, Handle: row},
	})
	return e
}

func (e *echo) Serve(r *rest.Request) { rest.Dispatch(e.router, rest.Blob, e, resttest.AllowAll{}, r) }

func serve(t *testing.T, handle func(*rest.Request) error) *resttest.Server {
	return resttest.Start(t, &rest.Front{Blob: newEcho(handle)})
}

func TestAnswerCarriesTheCommonHeaders(t *testing.T) {
	s := serve(t, func(r *rest.Request) error { r.Reply(201); return nil })
	got := s.Do("GET", "/acct/c/b", "", "x-ms-client-request-id: abc-1", "x-ms-version: 2021-12-02")
	require.Equal(t, 201, got.Status)
	require.Equal(t, "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0", got.Header.Get("Server"))
	require.Equal(t, "abc-1", got.Header.Get("x-ms-client-request-id"))
	require.Equal(t, "2021-12-02", got.Header.Get("x-ms-version"))
	require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`, got.Header.Get("x-ms-request-id"))
	require.Equal(t, "0", got.Header.Get("Content-Length"))
	require.NotEmpty(t, got.Header.Get("Date"))
}

func TestBodyReachesTheHandlerWhole(t *testing.T) {
	s := serve(t, func(r *rest.Request) error {
		b, err := r.ReadBody(1 << 20)
		if err != nil {
			return err
		}
		r.ReplyBytes(200, "text/plain", b)
		return nil
	})
	c := s.Dial()
	for _, size := range []int{0, 1, 2047, 2048, 70_000, 1 << 20} {
		body := strings.Repeat("x", size)
		got := c.Do("PUT", "/acct/c/b", body)
		require.Equal(t, 200, got.Status, got)
		require.Equal(t, body, string(got.Body))
	}
}

func TestStreamedAnswer(t *testing.T) {
	body := strings.Repeat("0123456789", 50_000)
	s := serve(t, func(r *rest.Request) error {
		r.ReplyStream(200, int64(len(body)), io.NopCloser(strings.NewReader(body)))
		return nil
	})
	c := s.Dial()
	for range 2 {
		got := c.Do("GET", "/acct/c/b", "")
		require.Equal(t, body, string(got.Body))
	}
}

func TestErrorsOnTheWire(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		status int
		code   string
	}{
		"protocol error": {protocol.InvalidHeader("x-ms-x", "<1>"), 400, "InvalidHeaderValue"},
		"full":           {engine.ErrNoSpace, 503, "ServerBusy"},
		"disks missing":  {engine.ErrUnavailable, 503, "ServerBusy"},
		"descriptors":    {engine.ErrBusy, 503, "ServerBusy"},
		"too slow":       {context.DeadlineExceeded, 500, "OperationTimedOut"},
		"corrupt":        {engine.ErrCorrupt, 500, "InternalError"},
		"defect":         {errors.New("secret"), 500, "InternalError"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(*rest.Request) error { return c.err })
			got := s.Do("GET", "/acct/c/b", "")
			require.Equal(t, c.status, got.Status)
			require.Equal(t, c.code, got.Code())
			require.Contains(t, string(got.Body), "\xEF\xBB\xBF<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>"+c.code+"</Code>")
			require.NotContains(t, string(got.Body), "secret")
			head := s.Do("HEAD", "/acct/c/b", "")
			require.Equal(t, c.status, head.Status)
			require.Equal(t, c.code, head.Code())
			require.Empty(t, head.Body)
		})
	}
}

// TestReasonIsOneLine: whatever a message has in it, the status line is one line of ASCII, and of bounded length.
func TestReasonIsOneLine(t *testing.T) {
	for text, want := range map[string]string{"a\r\nX-Evil: 1": "a??X-Evil: 1", "gr\u00fcn\x00\x7f": "gr??n??", "": "Bad Request", strings.Repeat("x", 1000): strings.Repeat("x", 512)} {
		s := serve(t, func(*rest.Request) error { return protocol.ErrInvalidInput.Saying(text) })
		line, _, _ := strings.Cut(s.Do("GET", "/acct/c/b", "").Raw, "\r\n")
		require.Equal(t, "HTTP/1.1 400 "+want, line)
	}
}
