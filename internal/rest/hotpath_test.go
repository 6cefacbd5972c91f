package rest

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/rest/framing"
)

// nothing is a service whose answer costs nothing.
type nothing struct{ router *Router[*nothing] }

func newNothing() *nothing {
	return &nothing{NewRouter(Table[*nothing]{{Name: "GetBlob", Methods: "GET HEAD", Level: Blob, Handle: func(_ *nothing, r *Request) error {
		r.SetHeader("ETag", `"0x8DB00B42101E88C"`)
		r.SetHeader("Last-Modified", "Fri, 31 Jan 2020 12:28:37 GMT")
		r.SetHeader("x-ms-blob-type", "BlockBlob")
		r.ReplyBytes(200, "application/octet-stream", content)
		return nil
	}}})}
}

var content = make([]byte, 1024)

func (n *nothing) Serve(r *Request) { Dispatch(n.router, Blob, n, n, r) }

// Authorize implements auth.Authorizer.
func (n *nothing) Authorize(context.Context, *account.Account, *auth.Request, *auth.Needs) (auth.Grant, error) {
	return auth.Grant{}, nil
}

// wire is a client that sends the same request again and again and throws the answers away.
type wire struct {
	net.Conn
	request []byte
	answers []byte
	left    int
}

func (w *wire) Read(p []byte) (int, error) {
	if w.left == 0 {
		return 0, io.EOF
	}
	w.left--
	return copy(p, w.request), nil
}

func (w *wire) Write(p []byte) (int, error) {
	if len(w.answers) < 64<<10 {
		w.answers = append(w.answers, p...)
	}
	return len(p), nil
}

// one is a listener with one connection.
type one struct {
	net.Listener
	conn net.Conn
}

func (o *one) Accept() (net.Conn, error) {
	if o.conn == nil {
		return nil, net.ErrClosed
	}
	c := o.conn
	o.conn = nil
	return c, nil
}

// typical is what the Go SDK sends for a small download.
const typical = "GET /acct/container/folder/blob-0001 HTTP/1.1\r\nHost: 127.0.0.1:10000\r\n" +
	"User-Agent: azsdk-go-azblob/v1.8.3 (go1.26.8; linux)\r\nAccept: application/xml\r\n" +
	"Authorization: SharedKey acct:mHgvVw1Xz5v0zxVZ5x0l5uQ1l0GJ6bIo8Y3c9Q2m1oM=\r\nX-Ms-Client-Request-Id: 0b5e5a61-5d0a-4e55-7bb3-1b3b3d1d3b3b\r\n" +
	"X-Ms-Date: Mon, 23 Nov 2026 21:00:00 GMT\r\nX-Ms-Version: 2026-12-06\r\nAccept-Encoding: gzip\r\n\r\n"

// serveMany answers n requests on one connection, without a kernel in between.
func serveMany(tb testing.TB, n int) *wire {
	a, b := net.Pipe()
	defer b.Close()
	w := &wire{Conn: a, request: []byte(typical), left: n}
	front := &Front{Accounts: account.NewRegistry(&account.Account{Name: "acct"}), Blob: newNothing()}
	l := framing.Listen(&one{conn: w}, framing.DefaultLimits(), nil)
	c, err := l.Accept()
	require.NoError(tb, err)
	require.NoError(tb, front.Server(auth.Blob, framing.DefaultLimits()).ServeConn(c))
	require.NoError(tb, c.Close())
	return w
}

// BenchmarkFront is what the front costs a request: framing, parsing, address, version, ids, dispatch, answer.
func BenchmarkFront(b *testing.B) {
	b.ReportAllocs()
	w := serveMany(b, b.N)
	require.True(b, bytes.HasPrefix(w.answers, []byte("HTTP/1.1 200 OK\r\n")))
}

func TestTheFrontHardlyAllocates(t *testing.T) {
	serveMany(t, 100) // warm the pools
	few := testing.AllocsPerRun(3, func() { serveMany(t, 100) })
	many := testing.AllocsPerRun(3, func() { serveMany(t, 1100) })
	require.Less(t, (many-few)/1000, allocationsAllowed, "allocations for each request")
}
