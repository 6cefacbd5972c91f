package rest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/resttest"
)

// writer is a body that writes itself, which the HTTP library prefers.
type writer struct {
	source
	write func(w io.Writer) error
}

func (s *writer) WriteTo(w io.Writer) (int64, error) {
	c := counter{w: w}
	err := s.write(&c)
	return c.n, err
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// TestABrokenStreamNeverLooksComplete: whatever becomes of a body once its answer has begun, a client that counts never takes what it got
// for the whole, and nothing follows on the connection that could be taken for more of it.
func TestABrokenStreamNeverLooksComplete(t *testing.T) {
	for _, length := range []int{1000, 40_000, 1 << 20} { // within the library's buffer, beyond it, beyond that of a socket
		ends := map[string]func() error{
			"fails":  func() error { return errors.New("disk gone") },
			"ends":   func() error { return io.EOF },
			"breaks": func() error { return io.ErrUnexpectedEOF },
			"panics": func() error { panic("defect") },
		}
		bodies := map[string]func() io.ReadCloser{}
		for name, end := range ends {
			for part, n := range map[string]int{"at once": 0, "midway": length / 2, "before the last byte": length - 1} {
				bodies[name+" "+part] = func() io.ReadCloser { return &source{n, end, make(chan struct{})} }
				bodies[name+" "+part+", written"] = func() io.ReadCloser {
					return &writer{source{closed: make(chan struct{})}, func(w io.Writer) error {
						_, _ = w.Write(make([]byte, n))
						if err := end(); err != io.EOF {
							return err
						}
						return nil
					}}
				}
			}
		}
		for name, body := range bodies {
			done, panics := make(chan error, 2), make(chan any, 1)
			var sent io.ReadCloser
			s := resttest.Start(t, &rest.Front{
				Blob: newEcho(func(r *rest.Request) error {
					if r.Blob == "next" {
						r.ReplyBytes(200, "text/plain", []byte("next"))
						return nil
					}
					r.ReplyStream(200, int64(length), sent)
					return nil
				}),
				Done: func(r *rest.Request) {
					require.Equal(t, "/acct/c/b", r.Target())
					done <- r.Cause()
				},
				Panicked: func(_ *rest.Request, v any, _ []byte) { panics <- v },
			})
			sent = body()
			answer := s.Send("GET /acct/c/b HTTP/1.1\r\nHost: h\r\n\r\nGET /acct/c/next HTTP/1.1\r\nHost: h\r\n\r\n")
			cause := <-done
			switch {
			case strings.HasPrefix(name, "fails"):
				require.EqualError(t, cause, "disk gone", name)
			case strings.HasPrefix(name, "panics"):
				require.EqualError(t, cause, "panic: defect", name)
				require.Equal(t, "defect", <-panics)
			}
			require.Empty(t, done, "%s of %d: another request was served", name, length)
			head, content, _ := strings.Cut(answer, "\r\n\r\n")
			if head != "" {
				require.Contains(t, head+"\r\n", fmt.Sprintf("\r\nContent-Length: %d\r\n", length), name)
			}
			require.Less(t, len(content), length, "%s of %d", name, length)
			require.False(t, strings.Contains(content, "HTTP/1.1"), "%s of %d: %q follows", name, length, strings.Trim(content, "\x00"))
		}
	}
}

// A body that is longer than announced is cut where it was announced to end, and the connection with it.
func TestAStreamThatIsTooLong(t *testing.T) {
	const length = 1000
	for name, body := range map[string]func() io.ReadCloser{
		"read": func() io.ReadCloser { return io.NopCloser(struct{ io.Reader }{bytes.NewReader(make([]byte, 100_000))}) },
		"written": func() io.ReadCloser {
			return &writer{source{closed: make(chan struct{})}, func(w io.Writer) error {
				_, err := w.Write(append(make([]byte, length), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"...))
				return err
			}}
		},
	} {
		s := serve(t, func(r *rest.Request) error { r.ReplyStream(200, length, body()); return nil })
		answer := s.Send("GET /acct/c/b HTTP/1.1\r\nHost: h\r\n\r\nGET /acct/c/b HTTP/1.1\r\nHost: h\r\n\r\n")
		_, content, _ := strings.Cut(answer, "\r\n\r\n")
		require.LessOrEqual(t, len(content), length, name)
		require.NotContains(t, content, "HTTP/1.1", name)
	}
}
