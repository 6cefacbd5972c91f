package server_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
)

// TestPartsOfABatchReachNoFurther: whatever credentials a batch came with, each part is let in by its own alone, for what its own address
// names, however that is written.
func TestPartsOfABatchReachNoFurther(t *testing.T) {
	p := newPrison(t)
	sign := func(resource string, q ...string) string {
		values := url.Values{}
		signFor(t, auth.Blob, resource, pairs(append([]string{"sv", "2026-02-06", "se", "2099-01-01"}, q...)...)).All(func(name, value string) { values.Set(name, value) })
		return values.Encode()
	}
	mine, dir, secret := sign("mine", "sr", "c", "sp", "rd"), sign("mine/dir", "sr", "b", "sp", "rd"), sign("secret", "sr", "c", "sp", "r")
	all := sign("mine", "ss", "b", "srt", "sco", "sp", "rdl")
	const refused, missing = "4", "404"
	parts := []struct {
		target string
		header string
		want   string // how the status begins
	}{
		{"/mine/other", "", refused},
		{"/mine/other?" + dir, "", refused},
		{"/mine/other?" + secret, "", refused},
		{"/mine/other?" + mine, "Authorization: SharedKey " + account.DevName + ":c2ln", refused},
		{"/mine/other?" + mine, "Authorization: Bearer x", refused},
		{"/mine/other?" + mine, "Authorization: Basic x", refused},
		{"/mine/other?" + mine, "Authorization: ", refused},
		{"/mine/other?" + mine + "&sp=rd", "", refused},
		{"/secret/b?" + mine, "", refused},
		{"/secret/b?" + secret, "", refused}, // it reads only
		{"/mine/../secret/b?" + mine, "", missing},
		{"/mine/%2e%2e/secret/b?" + mine, "", missing},
		{`/mine\..\secret\b?` + mine, "", missing},
		{"/mine%2F..%2Fsecret/b?" + mine, "", refused},
		{"/mine%2Fother?" + mine, "", refused},
		{"/mine%5C..%5Csecret/b?" + mine, "", missing},
		{"//secret/b?" + mine, "", refused},
		{"/" + account.DevName + "/secret/b?" + mine, "", refused},
		{"/mine/other?restype=container&comp=batch&" + all, "", refused},
		{"/mine?restype=container&" + all, "", refused},
		{"/?" + all, "", refused},
		{"/mine/other?snapshot=2026-01-01T00:00:00.0000000Z&" + mine, "", missing},
	}
	before := p.list()
	for name, outer := range map[string]struct{ target, header string }{
		"container by its signature": {"/mine?restype=container&comp=batch&" + mine, "x-owner: nobody"},
		"account by its signature":   {"?comp=batch&" + all, "x-owner: nobody"},
		"container by the owner":     {"/mine?restype=container&comp=batch", "x-owner: " + p.word},
		"account by the owner":       {"?comp=batch", "x-owner: " + p.word},
	} {
		t.Run(name, func(t *testing.T) {
			p.t = t
			submit := func(target, header string) (int, string) {
				body := "--b\r\nContent-Type: application/http\r\n\r\nDELETE " + target + " HTTP/1.1\r\n"
				if header != "" {
					body += header + "\r\n"
				}
				body += "\r\n--b--\r\n"
				raw := "POST " + home + outer.target + " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nx-ms-version: 2026-02-06\r\nContent-Type: multipart/mixed; boundary=b\r\n" + outer.header
				status, _, text, err := send(p.blob, raw+fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n%s", len(body), body), "POST")
				require.NoError(t, err)
				_, part, _ := strings.Cut(text, "\r\n\r\nHTTP/1.1 ")
				return status, part
			}
			for _, part := range parts {
				for _, absolute := range []string{"", "http://127.0.0.1", "http://elsewhere"} {
					status, answer := submit(absolute+home+part.target, part.header)
					require.Equal(t, 202, status)
					if absolute == "http://elsewhere" {
						require.True(t, strings.HasPrefix(answer, refused), "%s: %s", part.target, answer)
						continue
					}
					require.True(t, strings.HasPrefix(answer, part.want), "%s: %s", part.target, answer)
				}
			}
			require.Equal(t, before, p.list())
			status, answer := submit(home+"/mine/other?"+mine, "")
			require.Equal(t, 202, status)
			require.True(t, strings.HasPrefix(answer, "202 "), answer)
			p.owner(p.blob, "PUT", "/mine/other", "again", "x-ms-blob-type: BlockBlob")
			before = p.list()
		})
	}
}
