package protocol

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const batchExample = "--batch_357de4f7-6d0b-4e02-8cd2-6361411a9525\r\n" +
	"Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\nContent-ID: 0\r\n\r\n" +
	"DELETE /container0/blob%200?snapshot=x HTTP/1.1\r\nx-ms-date: Thu, 14 Jun 2018 16:46:54 GMT\r\n" +
	"Authorization: SharedKey account:abc=\r\nContent-Length: 0\r\n\r\n\r\n" +
	"--batch_357de4f7-6d0b-4e02-8cd2-6361411a9525\r\n" +
	"Content-Type: application/http\r\nContent-ID: 1\r\n\r\n" +
	"PUT /t HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{\"a\":1}\r\n" +
	"--batch_357de4f7-6d0b-4e02-8cd2-6361411a9525--\r\n"

func TestMultipart(t *testing.T) {
	for name, text := range map[string]string{
		"CRLF": batchExample, "LF": strings.ReplaceAll(batchExample, "\r\n", "\n"),
		"preamble and epilogue": "a preamble\r\n" + batchExample + "an epilogue", "no last line end": strings.TrimRight(batchExample, "\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			boundary, err := MultipartBoundary("multipart/mixed; boundary=batch_357de4f7-6d0b-4e02-8cd2-6361411a9525")
			require.NoError(t, err)
			parts, err := SplitMultipart([]byte(text), boundary, 2)
			require.NoError(t, err)
			require.Len(t, parts, 2)
			id, ok := parts[0].Header.Get("content-id")
			require.True(t, ok)
			require.Equal(t, "0", id)
			r, err := parts[0].Request()
			require.NoError(t, err)
			require.Equal(t, "DELETE", r.Method)
			require.Equal(t, "/container0/blob%200?snapshot=x", r.Target)
			require.Equal(t, Fields{{"x-ms-date", "Thu, 14 Jun 2018 16:46:54 GMT"}, {"Authorization", "SharedKey account:abc="}, {"Content-Length", "0"}}, r.Header)
			require.Empty(t, r.Body)
			r, err = parts[1].Request()
			require.NoError(t, err)
			require.Equal(t, `{"a":1}`, string(r.Body))
			_, err = SplitMultipart([]byte(text), boundary, 1)
			require.ErrorIs(t, err, ErrTooManyParts)
		})
	}
}

func TestMultipartWritten(t *testing.T) {
	b := AppendPart(nil, "batchresponse_1", "7")
	b = append(b, "HTTP/1.1 202 Accepted\r\nx-ms-version: 2026-12-06\r\n\r\n"...)
	b = AppendClose(b, "batchresponse_1")
	require.Equal(t, "--batchresponse_1\r\nContent-Type: application/http\r\nContent-ID: 7\r\n\r\n"+
		"HTTP/1.1 202 Accepted\r\nx-ms-version: 2026-12-06\r\n\r\n--batchresponse_1--\r\n", string(b))
}

func TestMultipartErrors(t *testing.T) {
	for _, ct := range []string{"", "multipart/mixed", "multipart/form-data; boundary=x", "multipart/mixed; boundary=" + strings.Repeat("x", 71), "multipart/mixed; boundary="} {
		_, err := MultipartBoundary(ct)
		require.ErrorIs(t, err, ErrMultipart, ct)
	}
	part := func(inner string) string { return "--b\r\n" + inner + "\r\n--b--\r\n" }
	http := "Content-Type: application/http\r\n\r\n"
	for _, body := range []string{"", "--b", "--b\r\n", "--c\r\n--c--", "--b\r\nnot a header\r\n\r\n--b--",
		"--b\r\n" + strings.Repeat("a: b\r\n", 65) + "\r\n--b--", "--bb\r\n\r\n--bb--"} {
		_, err := SplitMultipart([]byte(body), "b", 10)
		require.ErrorIs(t, err, ErrMultipart, "%q", body)
	}
	for _, inner := range []string{"Content-Type: text/plain\r\n\r\nDELETE / HTTP/1.1\r\n", "\r\nDELETE / HTTP/1.1\r\n", http, http + "DELETE /\r\n",
		http + "DELETE / a HTTP/1.1\r\n\r\n", http + " / HTTP/1.1\r\n\r\n", http + "DELETE / FTP/1.1\r\n\r\n", http + "DELETE / HTTP/1.1\r\na b\r\n\r\n",
		http + "DELETE / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", http + "DELETE / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"} {
		parts, err := SplitMultipart([]byte(part(inner)), "b", 10)
		require.NoError(t, err)
		_, err = parts[0].Request()
		require.ErrorIs(t, err, ErrMultipart, "%q", inner)
	}
}

// TestMultipartBomb: a body of nothing but delimiters costs no more than the parts allowed.
func TestMultipartBomb(t *testing.T) {
	bomb := bytes.Repeat([]byte("--b\n"), 1<<20)
	_, err := SplitMultipart(bomb, "b", 256)
	require.ErrorIs(t, err, ErrTooManyParts)
	bomb = bytes.Repeat([]byte("b"), 4<<20)
	_, err = SplitMultipart(bomb, "b", 256)
	require.ErrorIs(t, err, ErrMultipart)
}

func FuzzMultipart(f *testing.F) {
	f.Add([]byte(batchExample), "batch_357de4f7-6d0b-4e02-8cd2-6361411a9525")
	f.Add([]byte("--b\r\n\r\n\r\n--b--"), "b")
	f.Fuzz(func(t *testing.T, body []byte, boundary string) {
		b, err := MultipartBoundary(fmt.Sprintf("multipart/mixed; boundary=%s", boundary))
		if err != nil {
			return
		}
		parts, err := SplitMultipart(body, b, 100)
		if err != nil {
			return
		}
		n := 0
		for i := range parts {
			n += len(parts[i].Body)
			r, err := parts[i].Request()
			if err == nil && (r.Method == "" || r.Target == "" || len(r.Body) > len(parts[i].Body)) {
				t.Fatalf("%+v", r)
			}
		}
		if n > len(body) {
			t.Fatalf("parts of %d bytes in a body of %d", n, len(body))
		}
	})
}
