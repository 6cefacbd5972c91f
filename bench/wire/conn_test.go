package wire

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// serve answers every request of one connection after another with the given bytes and hands out what was asked.
func serve(t *testing.T, answers ...string) (addr string, asked chan *http.Request) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	asked = make(chan *http.Request, len(answers))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for len(answers) > 0 {
			c, err := l.Accept()
			if err != nil {
				return
			}
			in := bufio.NewReader(c)
			for len(answers) > 0 {
				r, err := http.ReadRequest(in)
				if err != nil {
					break
				}
				body, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(bytes.NewReader(body))
				asked <- r
				_, _ = io.WriteString(c, answers[0])
				answers = answers[1:]
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String(), asked
}

func TestAnswers(t *testing.T) {
	for _, tc := range []struct {
		name, method, answer string
		status               int
		body, err            string
	}{
		{"length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", ""},
		{"chunked with extension and trailer", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\nA\r\nlo world!!\r\n0\r\nT: v\r\n\r\n", 200, "hello world!!", ""},
		{"continue first", "PUT", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", 201, "", ""},
		{"head has no body", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n", 200, "", ""},
		{"no content", "DELETE", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", ""},
		{"short body", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", 0, "", "unexpected EOF"},
		{"short chunk", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello", 0, "", "unexpected EOF"},
		{"bad chunk size", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 0, "", "chunk size"},
		{"bad length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", 0, "", "Content-Length"},
		{"not HTTP", "GET", "SSH-2.0-OpenSSH_9.9\r\n\r\n", 0, "", "status line"},
		{"closed", "GET", "", 0, "", "unexpected EOF"},
		{"endless head", "GET", "HTTP/1.1 200 OK\r\n" + strings.Repeat("a: b\r\n", 20000), 0, "", "too long"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			addr, _ := serve(t, tc.answer)
			c := NewConn(addr, Emulator)
			defer c.Close()
			var body bytes.Buffer
			resp, err := c.Do(&Request{Method: tc.method, Path: "/c/b"}, &body)
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.status, resp.Status)
			require.Equal(t, tc.body, body.String())
		})
	}
}

func TestRequestOnTheWire(t *testing.T) {
	addr, asked := serve(t, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 404 Nope\r\nConnection: close\r\nx-ms-error-code: BlobNotFound\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	c := NewConn(addr, Emulator)
	defer c.Close()
	for _, size := range []int{10, 1 << 20} {
		body := bytes.Repeat([]byte("x"), size)
		resp, err := c.Do(&Request{Method: "PUT", Path: "/c/b", Query: []Field{{"blockid", "a+/="}, {"comp", "block"}},
			Headers: []Field{{"x-ms-blob-type", "BlockBlob"}}, Plain: []Field{{"If-Match", "*"}}, Body: body}, nil)
		require.NoError(t, err)
		r := <-asked
		got, _ := io.ReadAll(r.Body)
		require.Equal(t, body, got)
		require.Equal(t, "/devstoreaccount1/c/b?blockid=a%2B%2F%3D&comp=block", r.RequestURI)
		require.Equal(t, "BlockBlob", r.Header.Get("x-ms-blob-type"))
		require.Equal(t, "*", r.Header.Get("If-Match"))
		require.Equal(t, BlobVersion, r.Header.Get("x-ms-version"))
		require.True(t, strings.HasPrefix(r.Header.Get("Authorization"), "SharedKey devstoreaccount1:"))
		if size > 10 {
			require.Equal(t, "BlobNotFound", resp.Code)
			require.Equal(t, "close", resp.Value("connection"))
		}
	}
	// The second answer closed the connection: the third request dials again.
	resp, err := c.Do(&Request{Table: true, Method: "GET", Path: "/T()"}, nil)
	require.NoError(t, err)
	require.Equal(t, 200, resp.Status)
	require.Equal(t, 2, c.Dials)
	r := <-asked
	require.Equal(t, TableVersion, r.Header.Get("x-ms-version"))
	require.True(t, strings.HasPrefix(r.Header.Get("Authorization"), "SharedKeyLite devstoreaccount1:"))
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		near, far := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			go func() { _, _ = io.Copy(io.Discard, far) }()
			_, _ = far.Write(answer)
			_ = far.Close()
		}()
		c := NewConn("pipe", Emulator)
		c.c = near
		var body bytes.Buffer
		if resp, err := c.Do(&Request{Method: "GET", Path: "/c/b"}, &body); err == nil && resp.Length > 0 && resp.Status != 204 && resp.Status != 304 {
			require.EqualValues(t, resp.Length, body.Len())
		}
		c.Close()
		<-done
	})
}
