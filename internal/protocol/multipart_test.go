package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
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

func TestMultipartBoundary(t *testing.T) {
	for contentType, want := range map[string]string{
		"multipart/mixed; boundary=batch_357de4f7": "batch_357de4f7", "Multipart/Mixed;BOUNDARY=b ": "b", "multipart/mixed; charset=utf-8; boundary=b; x=y": "b",
		`multipart/mixed; boundary="a b;c"; x=y`: "a b;c", `multipart/mixed; boundary="a\"b\\c"`: `a"b\c`, `multipart/mixed; x="; boundary=c"; boundary=b`: "b",
		"multipart/mixed; x; boundary=b": "b", "multipart/mixed; boundary================5306085128869334238==": "===============5306085128869334238==",
		"multipart/mixed; boundary=xUKdJCsSP0Gv+UyN2D/kyA==": "xUKdJCsSP0Gv+UyN2D/kyA==", "multipart/mixed; boundary=a:b?c(d),e'f@g[h]": "a:b?c(d),e'f@g[h]",
	} {
		got, err := MultipartBoundary(contentType)
		require.NoError(t, err, contentType)
		require.Equal(t, want, got)
	}
}

// TestPartLongerThanThere: a Content-Length that counts more than what is there takes what is there.
func TestPartLongerThanThere(t *testing.T) {
	parts, err := SplitMultipart([]byte("--b\r\nContent-Type: application/http\r\n\r\nPUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{\"a\":1}\r\n--b--"), "b", 1)
	require.NoError(t, err)
	r, err := parts[0].Request()
	require.NoError(t, err)
	require.Equal(t, `{"a":1}`, string(r.Body))
}

func TestMultipartErrors(t *testing.T) {
	for _, ct := range []string{"", "multipart/mixed", "multipart/form-data; boundary=x", "multipart/mixed; boundary=" + strings.Repeat("x", 71), "multipart/mixed; boundary=", `multipart/mixed; boundary=""`,
		`multipart/mixed; boundary="b`, "multipart/mixed; boundary; x=y", "multipart/mixed; boundary=b\x00"} {
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
		http + "DELETE / HTTP/1.1\r\nContent-Length: five\r\n\r\n", http + "DELETE / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"} {
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

// plainParts cuts a body by the plainest means: a search for the delimiter's text, and a header parsed for each part.
func plainParts(body []byte, boundary string, most int) (parts []Part, err error) {
	text := []byte("\n--" + boundary)
	line := func(b []byte) (content, rest []byte, last, ok bool) {
		b = append([]byte("\n"), b...) // so that a delimiter may be the first line
		for pos := 0; ; {
			i := bytes.Index(b[pos:], text)
			if i < 0 {
				return nil, nil, false, false
			}
			at := pos + i
			pos = at + len(text)
			tail, closing := bytes.CutPrefix(b[pos:], []byte("--"))
			white, after, found := bytes.Cut(tail, []byte("\n"))
			if len(bytes.TrimSpace(white)) == 0 && (found || closing) {
				content = b[min(1, at):at]
				return bytes.TrimSuffix(content, []byte("\r")), after, closing, true
			}
		}
	}
	_, rest, last, ok := line(body)
	for ok && !last {
		var content []byte
		if content, rest, last, ok = line(rest); !ok {
			break
		}
		if len(parts) == most {
			return nil, ErrTooManyParts
		}
		var p Part
		if p.Header, p.Body, err = cutHeader(new(fieldRoom), content); err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	if !ok {
		return nil, ErrMultipart
	}
	return parts, nil
}

func FuzzMultipart(f *testing.F) {
	f.Add([]byte(batchExample), "batch_357de4f7-6d0b-4e02-8cd2-6361411a9525")
	f.Add([]byte("--b\r\n\r\n\r\n--b--"), "b")
	f.Add(transactionExample()[:1500], "changeset_5")
	alike := "--b\r\nContent-Type: application/http\r\n\r\nGET / HTTP/1.1\r\nA: b\r\n\r\nc\r\n"
	f.Add([]byte(alike+strings.Replace(alike, "A: b", "A: c", 1)+alike+"--b\nContent-Type: application/http\r\n\r\n--b--"), "b")
	f.Add([]byte("\n\n--b\n--b\n\n-b\n--b--b\n\n--b \t\n--b--"), "b")
	f.Add([]byte("--ab--a\n--ab--ab\n--\n--ab--ab"), "ab--ab")
	var m MultipartReader
	f.Fuzz(func(t *testing.T, body []byte, boundary string) {
		b, err := MultipartBoundary(fmt.Sprintf("multipart/mixed; boundary=%s", boundary))
		if err != nil {
			return
		}
		defer m.Clear()
		parts, err := m.Split(body, b, 100)
		plain, plainErr := plainParts(body, b, 100)
		if (err == nil) != (plainErr == nil) || errors.Is(err, ErrTooManyParts) != errors.Is(plainErr, ErrTooManyParts) || len(parts) != len(plain) {
			t.Fatalf("%d parts, %v; by plain means %d, %v", len(parts), err, len(plain), plainErr)
		}
		n := 0
		for i := range parts {
			n += len(parts[i].Body)
			if !slices.Equal(parts[i].Header, plain[i].Header) || !bytes.Equal(parts[i].Body, plain[i].Body) {
				t.Fatalf("part %d is %q %q, by plain means %q %q", i, parts[i].Header, parts[i].Body, plain[i].Header, plain[i].Body)
			}
			r, err := parts[i].Request()
			if err == nil && (r.Method == "" || r.Target == "" || len(r.Body) > len(parts[i].Body)) {
				t.Fatalf("%+v", r)
			}
			want, wantErr := plain[i].Request()
			if (err == nil) != (wantErr == nil) || err == nil && (r.Method != want.Method || r.Target != want.Target || !slices.Equal(r.Header, want.Header) || !bytes.Equal(r.Body, want.Body)) {
				t.Fatalf("request %d is %+v %v, by plain means %+v %v", i, r, err, want, wantErr)
			}
		}
		if n > len(body) {
			t.Fatalf("parts of %d bytes in a body of %d", n, len(body))
		}
	})
}

// transactionExample is a change set of a hundred inserts, as SDKs write them.
func transactionExample() []byte {
	var b bytes.Buffer
	b.WriteString("--batch_357de4f7-6d0b-4e02-8cd2-6361411a9525\r\nContent-Type: multipart/mixed; boundary=changeset_5\r\n\r\n")
	for i := range 100 {
		fmt.Fprintf(&b, "--changeset_5\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"+
			"POST http://127.0.0.1:10002/devstoreaccount1/people HTTP/1.1\r\nAccept: application/json;odata=nometadata\r\nContent-Type: application/json\r\n"+
			"Prefer: return-no-content\r\nDataServiceVersion: 3.0\r\n\r\n"+
			`{"PartitionKey":"p","RowKey":"r%08d","Name":"somebody","Address":"Some street 15, Sometown, Somewhere","Age":31,"Active":true,"Amount":255.5,"Id@odata.type":"Edm.Guid","Id":"a455c695-df98-5678-aaaa-81d3367e5a34","When@odata.type":"Edm.DateTime","When":"2008-07-10T00:00:00Z"}`+"\r\n", i)
	}
	b.WriteString("--changeset_5--\r\n--batch_357de4f7-6d0b-4e02-8cd2-6361411a9525--\r\n")
	return b.Bytes()
}

// split cuts transactionExample into its parts.
func split(tb testing.TB, m *MultipartReader, body []byte) []Part {
	outer, err := m.Split(body, "batch_357de4f7-6d0b-4e02-8cd2-6361411a9525", 1)
	require.NoError(tb, err)
	parts, err := m.Split(outer[0].Body, "changeset_5", 100)
	if err != nil || len(parts) != 100 {
		tb.Fatalf("%d parts: %v", len(parts), err)
	}
	return parts
}

func BenchmarkMultipart(b *testing.B) {
	body := transactionExample()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	var m MultipartReader
	for b.Loop() {
		parts := split(b, &m, body)
		for i := range parts {
			if _, err := parts[i].Request(); err != nil {
				b.Fatal(err)
			}
		}
		m.Clear()
	}
}

func TestAlikePartsAllocateNothing(t *testing.T) {
	body := transactionExample()
	var m MultipartReader
	require.Zero(t, testing.AllocsPerRun(10, func() {
		parts := split(t, &m, body)
		for i := range parts {
			if _, err := parts[i].Request(); err != nil {
				t.Fatal(err)
			}
		}
		m.Clear()
	}))
}
