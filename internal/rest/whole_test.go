package rest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/rest/framing"
)

// taken is a request as a service saw it.
type taken struct{ method, target, host, body string }

// recorder takes every request, whatever it is.
type recorder struct{ all []taken }

func (s *recorder) Serve(r *Request) {
	b, err := io.ReadAll(r.Body())
	if err != nil {
		r.Fail(err, nil)
		return
	}
	s.all = append(s.all, taken{strings.Clone(r.Method), strings.Clone(r.Target()), strings.Clone(r.Header("host")), string(b)})
	r.Reply(200)
}

// feed is a peer that has sent everything and then closed its side.
type feed struct {
	net.Conn
	in  *bytes.Reader
	out bytes.Buffer
}

func (f *feed) Read(p []byte) (int, error)  { return f.in.Read(p) }
func (f *feed) Write(p []byte) (int, error) { return f.out.Write(p) }

// through sends raw bytes through the whole front and returns what a service saw and what came back.
func through(t testing.TB, raw []byte) ([]taken, string) {
	a, b := net.Pipe()
	defer b.Close()
	peer := &feed{Conn: a, in: bytes.NewReader(raw)}
	s := &recorder{}
	front := &Front{Accounts: account.NewRegistry(&account.Account{Name: "acct"}), Blob: s, Panicked: func(_ *Request, v any, stack []byte) {
		t.Errorf("panic: %v\n%s", v, stack)
	}}
	l := framing.Listen(&one{conn: peer}, framing.DefaultLimits(), nil)
	c, err := l.Accept()
	require.NoError(t, err)
	_ = front.Server(auth.Blob, framing.DefaultLimits()).ServeConn(c) // its error is the answer
	require.NoError(t, c.Close())
	return s.all, peer.out.String()
}

// FuzzFront holds what services see of a connection to what net/http sees of it: a request that one of them does not see, or
// sees with another body, could be smuggled.
func FuzzFront(f *testing.F) {
	const get, put = "GET /acct/c/b HTTP/1.1\r\nHost: h\r\n\r\n", "PUT /acct/c/b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
	for _, seed := range []string{
		get, put, get + put + get, "\r\n" + put + "\r\n" + get,
		strings.Replace(put, "5", "41", 1) + get, strings.Replace(put, "5", "4", 1) + get,
		strings.Replace(put, "Content-Length: 5", "Content-Length: 5\r\nTransfer-Encoding: chunked", 1) + get,
		strings.Replace(put, "Content-Length: 5", "Transfer-Encoding: chunked", 1) + "5\r\nhello\r\n0\r\n\r\n" + get,
		strings.Replace(put, "Content-Length", "Expect: 100-continue\r\nCONTENT-LENGTH", 1) + get,
		strings.Replace(get, "1.1", "1.0", 1) + get,
		strings.Replace(get, "Host: h", "Host: h\r\nConnection: close", 1) + get,
		strings.Replace(get, "/acct", "http://h/acct", 1) + get,
		strings.Replace(get, "Host: h", "Host: acct.blob.x\r\nTrailer: Content-Length\r\nUpgrade: h2c", 1) + get,
		strings.Replace(get, "Host: h", "Host: h\r\nCookie: a=b; c\r\nUser-Agent: \r\nContent-Type: multipart/form-data; boundary=x", 1) + put,
		strings.Replace(put, "PUT", "POST", 1) + "\n" + get, strings.Replace(put, "\r\n\r\n", "\n\n", 1) + get,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, answers := through(t, raw)
		require.NotContains(t, answers, "\x00")
		rest := bufio.NewReaderSize(bytes.NewReader(raw), 128<<10)
		for _, r := range got {
			for {
				if p, err := rest.Peek(2); err != nil || string(p) != "\r\n" {
					break
				}
				_, _ = rest.Discard(2)
			}
			var body []byte
			var req *http.Request
			for { // what net/http sees and we have refused on its way, as an unknown account, is not in the list
				var err error
				if req, err = http.ReadRequest(rest); err != nil {
					return // stricter than we are
				}
				body, err = io.ReadAll(req.Body)
				if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
					return
				}
				if req.RequestURI == r.target && req.Method == r.method {
					break
				}
			}
			require.Equal(t, r.body, string(body), "%q", raw)
			if !strings.Contains(r.target, "://") {
				require.Equal(t, r.host, req.Host)
			}
		}
	})
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	const body = "GET /acct/c/evil HTTP/1.1\r\nHost: h\r\n\r\n"
	var raw strings.Builder
	for _, target := range []string{"/acct/c/1", "/nobody/c", "/acct/c/2", "/acct/%", "/acct/c/3"} {
		fmt.Fprintf(&raw, "PUT %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", target, len(body), body)
	}
	got, answers := through(t, []byte(raw.String()))
	var targets []string
	for _, r := range got {
		targets = append(targets, r.target)
	}
	require.Equal(t, []string{"/acct/c/1", "/acct/c/2", "/acct/c/3"}, targets)
	var codes []string
	for _, m := range regexp.MustCompile(`HTTP/1\.1 (\d{3}) `).FindAllStringSubmatch(answers, -1) {
		codes = append(codes, m[1])
	}
	require.Equal(t, []string{"200", "404", "200", "400", "200"}, codes)
}
