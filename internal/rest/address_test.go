package rest

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/protocol"
)

func newScratch(n int) *scratch {
	s := &scratch{}
	s.reset(n)
	return s
}

func TestParseHost(t *testing.T) {
	for host, want := range map[string]string{
		"acct.blob.core.windows.net":        "acct b",
		"acct.blob.localhost:10000":         "acct b",
		"acct.table.localhost":              "acct t",
		"acct-secondary.blob.x":             "acct-secondary b",
		"ACCT.BLOB.x":                       "ACCT b",
		"acct.blob.":                        "",
		"acct.blob":                         "",
		"acct.blob:80":                      "",
		"acct.blob.:80":                     "",
		"ab.blob.x":                         "",
		"a-b-c.blob.x":                      "",
		strings.Repeat("a", 25) + ".blob.x": "",
		"127.0.0.1":                         "",
		"127.0.0.1:10000":                   "",
		"[::1]:10000":                       "",
		"localhost:10000":                   "",
		"acct.file.x":                       "",
		"acct.blobs.x":                      "",
		"":                                  "",
		".":                                 "",
		"acct..blob.x":                      "",
	} {
		account, service, ok := parseHost(host, nil)
		got := ""
		if ok {
			got = account + " " + string(rune(service))
		}
		require.Equal(t, want, got, host)
	}
}

func FuzzHost(f *testing.F) {
	for _, h := range []string{"acct.blob.core.windows.net:80", "acct-secondary.table.x", "127.0.0.1:10000", "[::1]", "", "a.b.c"} {
		f.Add(h)
	}
	f.Fuzz(func(t *testing.T, host string) {
		name, service, ok := parseHost(host, nil)
		if !ok {
			return
		}
		require.True(t, strings.HasPrefix(host, name+"."))
		require.Contains(t, []auth.Service{auth.Blob, auth.Table}, service)
		require.True(t, isAccountName(strings.TrimSuffix(strings.ToLower(name), secondarySuffix)))
	})
}

func FuzzAddress(f *testing.F) {
	for _, seed := range [][2]string{
		{"127.0.0.1", "/acct/c/b"}, {"acct.blob.x", "/c/a%2Fb//..?comp=list"}, {"h", "http://h/acct"}, {"h", "https://h?x"}, {"h", "*"},
		{"h", "/%"}, {"h", "//"}, {"h", "/acct-secondary/%E2%82%AC"}, {"h", "/acct/c/%ff"}, {"h", "http://H/a?b"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, host, target string) {
		path, query, err := splitTarget(target, host)
		if err != nil {
			require.ErrorIs(t, err, protocol.ErrInvalidUri)
			return
		}
		if strings.HasPrefix(target, "/") {
			joined := path
			if strings.Contains(target, "?") {
				joined += "?" + query
			}
			require.Equal(t, target, joined, "nothing is normalised")
		}
		var a Address
		err = a.parse(host, path, auth.Blob, nil, newScratch(len(host)+3*len(target)))
		require.Equal(t, path, a.RawPath)
		if err != nil {
			require.ErrorIs(t, err, protocol.ErrInvalidUri)
			return
		}
		require.True(t, strings.HasSuffix(path, a.Resource))
		require.True(t, utf8.ValidString(a.Container) && utf8.ValidString(a.Blob))
		// net/url decodes a path likewise.
		container, blob, _ := strings.Cut(a.Resource, "/")
		for encoded, got := range map[string]string{container: a.Container, blob: a.Blob} {
			want, err := url.PathUnescape(encoded)
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
	})
}

// TestTheSecondaryThatNamesTheAccountAgain: so the Python SDK asks for the statistics of an account in path style.
func TestTheSecondaryThatNamesTheAccountAgain(t *testing.T) {
	for path, want := range map[string]string{
		"/acct-secondary/acct/":  "",
		"/acct-secondary/acct":   "acct",
		"/acct-secondary/acct/b": "acct",
		"/acct/acct/":            "acct",
		"/acct-secondary/other/": "other",
	} {
		var a Address
		require.NoError(t, a.parse("127.0.0.1", path, auth.Blob, nil, newScratch(64)))
		require.Equal(t, want, a.Container, path)
	}
}

func FuzzQuery(f *testing.F) {
	for _, q := range []string{"", "comp=list&restype=container", "a=b=c&a=d", "prefix=a%2Fb+c", "&&=&x", "%63omp=list", "a=%zz", "%=1", "SIG=a%2Bb", "a;b=c"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		var got fields
		if err := got.parseQuery(query, newScratch(3*len(query))); err != nil {
			require.Empty(t, got)
			return
		}
		// net/url differs only in that it drops parameters with a semicolon.
		if strings.Contains(query, ";") {
			return
		}
		want, err := url.ParseQuery(query)
		require.NoError(t, err)
		n := 0
		for name, values := range want {
			var mine []string
			for _, f := range got {
				if f.name == name {
					mine = append(mine, f.value)
				}
			}
			require.Equal(t, values, mine)
			n += len(values)
		}
		require.Len(t, got, n)
		for _, f := range got {
			require.Len(t, f.lower, len(f.name))
			v, ok := got.Get(strings.ToUpper(f.lower[:0]) + f.lower)
			require.True(t, ok)
			require.True(t, utf8.ValidString(v))
		}
	})
}

func FuzzHeaders(f *testing.F) {
	f.Add("Host: h\r\nx-ms-meta-A: 1\r\nx-ms-meta-b:\t2 \r\n\r\n")
	f.Add("x-ms-meta-A: 1\r\nX-MS-META-a: 2\r\n\r\n")
	f.Add("A:\r\n\r\n")
	f.Fuzz(func(t *testing.T, block string) {
		var got fields
		err := got.parseHeaders(block, newScratch(len(block)))
		seen := map[string]bool{}
		double := false
		for _, f := range got {
			require.Len(t, f.lower, len(f.name))
			double = double || seen[f.lower] && strings.HasPrefix(f.lower, metadataPrefix)
			seen[f.lower] = true
		}
		require.Equal(t, double, err != nil)
	})
}

func FuzzClientRequestID(f *testing.F) {
	f.Add("abc-123")
	f.Add("a\r\nb")
	f.Add(strings.Repeat("x", 1025))
	f.Fuzz(func(t *testing.T, id string) {
		if !isClientID(id) {
			return
		}
		require.LessOrEqual(t, len(id), 1024)
		require.Equal(t, -1, strings.IndexFunc(id, func(c rune) bool { return c <= ' ' || c >= 0x7f }))
		require.Equal(t, id, clean(id))
	})
}

func FuzzClean(f *testing.F) {
	f.Add("plain")
	f.Add("a\r\nb\x00c")
	f.Fuzz(func(t *testing.T, v string) {
		got := clean(v)
		require.Len(t, got, len(v))
		require.False(t, strings.ContainsAny(got, "\r\n\x00"))
	})
}

func TestRequestIDsAreUnique(t *testing.T) {
	seen := map[string]bool{}
	var text [36]byte
	for range 10_000 {
		id := strings.Clone(newID(&text))
		require.False(t, seen[id])
		seen[id] = true
	}
}
