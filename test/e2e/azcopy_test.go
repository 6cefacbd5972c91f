package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/stretchr/testify/require"
)

// azcopy runs the real azcopy with a home of its own and returns what it printed; proxy may be empty.
func azcopy(t *testing.T, proxy string, args ...string) string {
	t.Helper()
	out, err := azcopyErr(t, proxy, args...)
	require.NoErrorf(t, err, "azcopy %s\n%s", args[0], out)
	return out
}

func azcopyErr(t *testing.T, proxy string, args ...string) (string, error) {
	t.Helper()
	home := t.TempDir()
	c := exec.Command(azcopyPath(), args...)
	c.Env = append(os.Environ(), "AZCOPY_LOG_LOCATION="+home, "AZCOPY_JOB_PLAN_LOCATION="+home, "AZCOPY_CONCURRENCY_VALUE=16", "AZCOPY_BUFFER_GB=0.5", "HOME="+home,
		"AZCOPY_DISABLE_SYSLOG=true")
	if proxy != "" {
		c.Env = append(c.Env, "HTTP_PROXY="+proxy, "http_proxy="+proxy)
	}
	out, err := c.CombinedOutput()
	return string(out), err
}

// accountSAS lets its bearer do everything with blobs for an hour.
func accountSAS(t *testing.T) string {
	t.Helper()
	return signAccountSAS(t, credential(t))
}

func signAccountSAS(t *testing.T, cred *sas.SharedKeyCredential) string {
	t.Helper()
	q, err := sas.AccountSignatureValues{
		Protocol:      sas.ProtocolHTTPSandHTTP,
		StartTime:     time.Now().Add(-time.Minute),
		ExpiryTime:    time.Now().Add(time.Hour),
		Permissions:   (&sas.AccountPermissions{Read: true, Write: true, Delete: true, List: true, Add: true, Create: true, Tag: true, FilterByTags: true, PermanentDelete: true, DeletePreviousVersion: true}).String(),
		ResourceTypes: (&sas.AccountResourceTypes{Service: true, Container: true, Object: true}).String(),
	}.SignWithSharedKey(cred)
	require.NoError(t, err)
	return q.Encode()
}

// hashes returns the SHA-256 of every file below dir by its relative path.
func hashes(t *testing.T, dir string) map[string]string {
	t.Helper()
	sums := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		sums[rel] = hex.EncodeToString(h.Sum(nil))
		return nil
	}))
	return sums
}

// tree makes a folder of files: small ones, empty ones, odd names, and one of the given size.
func tree(t *testing.T, files int, big int64) string {
	t.Helper()
	dir := t.TempDir()
	rnd := rand.NewChaCha8([32]byte{1})
	r := rand.New(rnd)
	write := func(name string, n int64) {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		f, err := os.Create(path)
		require.NoError(t, err)
		_, err = io.CopyN(f, rnd, n)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	for i, name := range []string{"a b.txt", "plus+and%percent", "ümläut.bin", "日本語/ファイル", "quote'and\"double", "semi;colon,comma", "hash#tag", "deep/er/and/deeper/still", "dots...", ".hidden", "emoji-😀", "(brackets) [x] {y}", "a&b=c", "~tilde", "empty1", "dir/empty2"} {
		n := int64(i * 97)
		if strings.Contains(name, "empty") {
			n = 0
		}
		write(name, n)
	}
	for i := range files - 17 {
		write(fmt.Sprintf("d%02d/s%d/file-%04d.dat", i%40, i%3, i), r.Int64N(9000))
	}
	write("big.bin", big)
	return dir
}

func TestAzcopyTree(t *testing.T) {
	s := startBlobd(t)
	hosts := hostProxy(t, s)
	defer hosts.Close()
	for _, way := range []struct{ name, base, proxy, up, down string }{
		{"by address", s.blob, "", "LocalBlob", "BlobLocal"},
		{"by host name", "http://devstoreaccount1.blob.storage.test", hosts.URL, "LocalBlob", "BlobLocal"},
	} {
		t.Run(way.name, func(t *testing.T) {
			container := newContainer(t, s)
			remote := way.base + "/" + container + "?" + accountSAS(t)
			files, big := 3000, int64(300<<20)
			if way.proxy != "" {
				files, big = 300, 20<<20
			}
			src := tree(t, files, big)
			want := hashes(t, src)
			args := []string{"--from-to=" + way.up}
			if way.proxy != "" {
				args = nil // azcopy knows the service by the ".blob." of the host
			}
			azcopy(t, way.proxy, append([]string{"copy", src + "/*", remote, "--recursive", "--put-md5", "--output-level=essential"}, args...)...)
			dst := t.TempDir()
			if way.proxy == "" {
				args = []string{"--from-to=" + way.down}
			}
			azcopy(t, way.proxy, append([]string{"copy", strings.Replace(remote, "?", "/*?", 1), dst, "--recursive", "--check-md5=FailIfDifferent", "--output-level=essential"}, args...)...)
			require.Equal(t, want, hashes(t, dst))

			listing := azcopy(t, way.proxy, append([]string{"list", remote}, locationArg(way.proxy)...)...)
			require.Equal(t, len(want), strings.Count(listing, "Content Length"))
		})
	}
}

func locationArg(proxy string) []string {
	if proxy == "" {
		return []string{"--location=Blob"}
	}
	return nil
}

func TestAzcopySyncAndRemove(t *testing.T) {
	s := startBlobd(t)
	container := newContainer(t, s)
	remote := s.blob + "/" + container + "?" + accountSAS(t)
	src := tree(t, 200, 9<<20)
	azcopy(t, "", "sync", src, remote, "--recursive", "--delete-destination=true", "--from-to=LocalBlob", "--put-md5")

	require.NoError(t, os.Remove(filepath.Join(src, "big.bin")))
	require.NoError(t, os.WriteFile(filepath.Join(src, "a b.txt"), []byte("changed"), 0o644))
	require.NoError(t, os.Chtimes(filepath.Join(src, "a b.txt"), time.Time{}, time.Now().Add(2*time.Second)))
	require.NoError(t, os.WriteFile(filepath.Join(src, "new"), []byte("new"), 0o644))
	azcopy(t, "", "sync", src, remote, "--recursive", "--delete-destination=true", "--from-to=LocalBlob", "--put-md5")

	dst := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dst, "stray"), []byte("x"), 0o644))
	azcopy(t, "", "sync", remote, dst, "--recursive", "--delete-destination=true", "--from-to=BlobLocal", "--check-md5=FailIfDifferent")
	require.Equal(t, hashes(t, src), hashes(t, dst))

	azcopy(t, "", "remove", strings.Replace(remote, "?", "/d01?", 1), "--recursive", "--from-to=BlobTrash")
	azcopy(t, "", "remove", remote, "--recursive", "--from-to=BlobTrash")
	page, err := s.client(t).NewListBlobsFlatPager(container, nil).NextPage(ctx)
	require.NoError(t, err)
	require.Empty(t, page.Segment.BlobItems)
}

func TestAzcopyRefusesWrongBytes(t *testing.T) {
	s := startBlobd(t)
	container := newContainer(t, s)
	file := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(file, bytes.Repeat([]byte("x"), 100), 0o644))
	remote := s.blob + "/" + container + "/f?" + accountSAS(t)
	azcopy(t, "", "copy", file, remote, "--put-md5", "--from-to=LocalBlob")
	out, err := azcopyErr(t, "", "copy", file, strings.Replace(remote, "sig=", "sig=A", 1), "--from-to=LocalBlob")
	require.Error(t, err)
	require.Contains(t, out, "403")
}

// hostProxy forwards what is addressed to any host name to the server, Host header included, as a name service would.
func hostProxy(t *testing.T, s *target) *httptest.Server {
	t.Helper()
	target, err := url.Parse(s.blob)
	require.NoError(t, err)
	return httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host
			r.Out.URL.RawPath, r.Out.URL.Path, r.Out.URL.Opaque = r.In.URL.RawPath, r.In.URL.Path, ""
			r.Out.Host = r.In.Host
		},
		Transport: &http.Transport{DialContext: (&net.Dialer{}).DialContext, MaxIdleConnsPerHost: 64},
	})
}
