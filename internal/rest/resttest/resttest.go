// Package resttest runs a service behind the real HTTP front on a loopback port, for tests that speak to it in bytes.
package resttest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"testing"
	"time"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/framing"
)

// Account is the account that Start serves unless the Front has others: "acct", with one key.
func Account() *account.Account {
	return &account.Account{Name: "acct", Keys: []account.Key{account.NewKey([]byte("0123456789abcdef0123456789abcdef"))}, Kind: "StorageV2", SKU: "Standard_LRS",
		Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
}

// AllowAll lets everybody do everything.
type AllowAll struct{}

// Authorize implements auth.Authorizer.
func (AllowAll) Authorize(_ context.Context, a *account.Account, _ *auth.Request, _ *auth.Needs) (auth.Grant, error) {
	return auth.Grant{Scheme: auth.SharedKey, Letters: auth.AllLetters, Principal: a.Name}, nil
}

// Server is a front on a loopback port.
type Server struct {
	// Addr is host:port, to which Do and Send connect.
	Addr     string
	Listener *framing.Listener
	t        testing.TB
}

// Start serves a front until the test ends. The service of path-style requests is Table if the front has no Blob.
func Start(t testing.TB, f *rest.Front) *Server {
	return StartWith(t, f, framing.DefaultLimits())
}

// StartWith is Start with other limits.
func StartWith(t testing.TB, f *rest.Front, limits framing.Limits) *Server {
	t.Helper()
	if f.Accounts == nil {
		f.Accounts = account.NewRegistry(Account())
	}
	service := auth.Blob
	if f.Blob == nil {
		service = auth.Table
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := framing.Listen(ln, limits, nil)
	served := make(chan error, 1)
	go func() { served <- f.Server(service, limits).Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := l.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return &Server{Addr: ln.Addr().String(), Listener: l, t: t}
}

// Response is an answer. Raw is its status line and header as sent, so that the case of names can be seen.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
	Raw    string
}

// Code is the error code of the answer.
func (r *Response) Code() string { return r.Header.Get("x-ms-error-code") }

// String is status, code and body, for failures.
func (r *Response) String() string { return fmt.Sprintf("%d %s\n%s", r.Status, r.Code(), r.Body) }

// Do sends one request on a connection of its own and returns the answer. target is written as it is ("/acct/c?comp=list"),
// header lines ("x-ms-meta-A: 1") too; Host, the newest x-ms-version and Content-Length are added unless given.
func (s *Server) Do(method, target, body string, header ...string) *Response {
	s.t.Helper()
	c := s.Dial()
	defer c.Close()
	return c.Do(method, target, body, header...)
}

// Send writes raw bytes on a connection of its own and returns everything that comes back until the server closes it.
func (s *Server) Send(raw string) string {
	s.t.Helper()
	c := s.Dial()
	defer c.Close()
	c.Write(raw)
	b, err := io.ReadAll(c.r)
	if err != nil && len(b) == 0 && !strings.Contains(err.Error(), "reset") {
		s.t.Fatalf("read: %v", err)
	}
	return string(b)
}

// Conn is a client's connection.
type Conn struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

// Dial connects until the test ends. The connection fails after half a minute, so that no test hangs.
func (s *Server) Dial() *Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.Addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return &Conn{Conn: c, t: s.t, r: bufio.NewReader(c)}
}

// Write sends raw bytes.
func (c *Conn) Write(raw string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, raw); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// Do is Server.Do on this connection, which stays open.
func (c *Conn) Do(method, target, body string, header ...string) *Response {
	c.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", method, target)
	has := func(name string) bool {
		for _, h := range header {
			if n, _, _ := strings.Cut(h, ":"); strings.EqualFold(n, name) {
				return true
			}
		}
		return false
	}
	if !has("host") {
		b.WriteString("Host: 127.0.0.1\r\n")
	}
	if !has("x-ms-version") {
		fmt.Fprintf(&b, "x-ms-version: %s\r\n", protocol.Newest)
	}
	if !has("content-length") && (body != "" || method == "PUT" || method == "POST" || method == "MERGE" || method == "PATCH") {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	for _, h := range header {
		b.WriteString(h + "\r\n")
	}
	b.WriteString("\r\n" + body)
	c.Write(b.String())
	return c.Response(method)
}

// CloseWrite tells the server that nothing more comes.
func (c *Conn) CloseWrite() error { return c.Conn.(*net.TCPConn).CloseWrite() }

// Response reads one answer to a request of the given method.
func (c *Conn) Response(method string) *Response {
	c.t.Helper()
	var raw bytes.Buffer
	for {
		line, err := c.r.ReadString('\n')
		raw.WriteString(line)
		if err != nil {
			c.t.Fatalf("read header: %v after %q", err, raw.String())
		}
		if line == "\r\n" {
			break
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw.Bytes())), &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("parse %q: %v", raw.String(), err)
	}
	out := &Response{Status: resp.StatusCode, Header: resp.Header, Raw: raw.String()}
	switch {
	case method == http.MethodHead || resp.StatusCode == 304 || resp.StatusCode == 204 || resp.StatusCode < 200:
	case len(resp.TransferEncoding) > 0:
		out.Body, err = io.ReadAll(httputil.NewChunkedReader(c.r))
	default:
		out.Body, err = io.ReadAll(io.LimitReader(c.r, resp.ContentLength))
		if err == nil && int64(len(out.Body)) < resp.ContentLength {
			err = io.ErrUnexpectedEOF
		}
	}
	if err != nil {
		c.t.Fatalf("read body of %q: %v", raw.String(), err)
	}
	return out
}
