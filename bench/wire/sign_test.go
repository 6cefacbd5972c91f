package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/require"
)

const date = "Fri, 23 Oct 2026 10:00:00 GMT"

func TestStringToSign(t *testing.T) {
	for _, tc := range []struct {
		name string
		req  Request
		want string
	}{
		{"put blob", Request{Method: "PUT", Path: "/c/a%20b", ContentType: "text/plain", Body: []byte("hello"),
			Headers: []Field{{"x-ms-blob-type", "BlockBlob"}, {"x-ms-meta-k", "v"}}},
			"PUT\n\n\n5\n\ntext/plain\n\n\n\n\n\n\nx-ms-blob-type:BlockBlob\nx-ms-date:" + date + "\nx-ms-meta-k:v\nx-ms-version:2023-11-03\n" +
				"/devstoreaccount1/devstoreaccount1/c/a%20b"},
		{"list, values decoded", Request{Method: "GET", Path: "/c", Query: []Field{{"comp", "list"}, {"delimiter", "/"}, {"restype", "container"}}},
			"GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:" + date + "\nx-ms-version:2023-11-03\n" +
				"/devstoreaccount1/devstoreaccount1/c\ncomp:list\ndelimiter:/\nrestype:container"},
		{"entity: lite, no query", Request{Table: true, Method: "GET", Path: "/T()", Query: []Field{{"$top", "5"}}, ContentType: "application/json"},
			date + "\n/devstoreaccount1/devstoreaccount1/T()"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSigner(Emulator)
			got := string(s.append(nil, &tc.req, date))
			require.Equal(t, tc.want, string(s.text))
			mac := hmac.New(sha256.New, Emulator.Key)
			mac.Write([]byte(tc.want))
			scheme := "SharedKey "
			if tc.req.Table {
				scheme = "SharedKeyLite "
			}
			require.Equal(t, scheme+"devstoreaccount1:"+base64.StdEncoding.EncodeToString(mac.Sum(nil)), got)
		})
	}
}

func BenchmarkSign(b *testing.B) {
	s := newSigner(Emulator)
	r := Request{Method: "PUT", Path: "/c/b00000001", Body: make([]byte, 4096), Headers: []Field{{"x-ms-blob-type", "BlockBlob"}}}
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = s.append(out[:0], &r, date)
	}
}
