package e2e

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
)

// withPath puts a path before the query of a URL that carries a SAS.
func withPath(remote, path string) string { return strings.Replace(remote, "?", "/"+path+"?", 1) }

func TestAzcopyBlobTypes(t *testing.T) {
	s := startBlobd(t)
	container := newContainer(t, s)
	remote := s.blob + "/" + container + "?" + accountSAS(t)
	for _, kind := range []blob.BlobType{blob.BlobTypeBlockBlob, blob.BlobTypePageBlob, blob.BlobTypeAppendBlob} {
		t.Run(string(kind), func(t *testing.T) {
			data := random(9<<20 + 512)
			clear(data[1<<20 : 5<<20]) // a page blob has a hole there
			file := filepath.Join(t.TempDir(), "f.vhd")
			require.NoError(t, os.WriteFile(file, data, 0o644))
			name := string(kind) + ".vhd"
			azcopy(t, "", "copy", file, withPath(remote, name), "--blob-type="+string(kind), "--from-to=LocalBlob", "--put-md5")
			p, err := s.service(t).NewContainerClient(container).NewBlobClient(name).GetProperties(ctx, nil)
			require.NoError(t, err)
			require.Equal(t, kind, *p.BlobType)
			back := filepath.Join(t.TempDir(), "back")
			azcopy(t, "", "copy", withPath(remote, name), back, "--from-to=BlobLocal", "--check-md5=FailIfDifferent")
			got, err := os.ReadFile(back)
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, got))
		})
	}
}

// TestAzcopyBetweenAccounts copies from one account of the server to another: the server reads the source itself.
func TestAzcopyBetweenAccounts(t *testing.T) {
	other := base64.StdEncoding.EncodeToString(random(64))
	s := startBlobd(t, "--dev-account", "--account", "second:"+other)
	container := newContainer(t, s)
	c := s.service(t).NewContainerClient(container)
	big := random(20 << 20)
	for name, data := range map[string][]byte{"a/small": []byte("small"), "a/big": big, "empty": nil} {
		_, err := azblobUpload(c.NewBlockBlobClient(name), data, &blockblob.UploadOptions{
			Metadata: map[string]*string{"colour": to.Ptr("blue")}, Tags: map[string]string{"k": "v"}, Tier: to.Ptr(blob.AccessTierCool),
			HTTPHeaders: &blob.HTTPHeaders{BlobContentType: to.Ptr("x/y")}})
		require.NoError(t, err)
	}
	cred, err := azblob.NewSharedKeyCredential("second", other)
	require.NoError(t, err)
	base := strings.Replace(s.blob, account.DevName, "second", 1)
	second, err := azblob.NewClientWithSharedKeyCredential(base, cred, nil)
	require.NoError(t, err)
	_, err = second.CreateContainer(ctx, "dst", nil)
	require.NoError(t, err)

	from := s.blob + "/" + container + "?" + accountSAS(t)
	sas := signAccountSAS(t, cred)
	azcopy(t, "", "copy", from, base+"/dst?"+sas, "--recursive", "--as-subdir=false", "--from-to=BlobBlob", "--s2s-preserve-access-tier=true", "--s2s-preserve-blob-tags=true", "--s2s-preserve-properties=true")
	d := second.ServiceClient().NewContainerClient("dst")
	for name, data := range map[string][]byte{"a/small": []byte("small"), "a/big": big, "empty": nil} {
		b := d.NewBlockBlobClient(name)
		require.Equal(t, string(data), text(t, b), name)
		p, err := b.GetProperties(ctx, nil)
		require.NoError(t, err)
		require.Equal(t, "x/y", *p.ContentType)
		require.Equal(t, "Cool", *p.AccessTier)
		require.Equal(t, "blue", *p.Metadata["Colour"])
		tags, err := b.GetTags(ctx, nil)
		require.NoError(t, err)
		require.Len(t, tags.BlobTagSet, 1)
	}

	_, err = second.CreateContainer(ctx, "plain", nil)
	require.NoError(t, err)
	azcopy(t, "", "copy", from, base+"/plain?"+sas, "--recursive", "--as-subdir=false", "--from-to=BlobBlob", "--s2s-preserve-access-tier=false", "--s2s-preserve-properties=false")
	p, err := second.ServiceClient().NewContainerClient("plain").NewBlobClient("a/small").GetProperties(ctx, nil)
	require.NoError(t, err)
	require.Equal(t, "Hot", *p.AccessTier)
}

func azblobUpload(b *blockblob.Client, data []byte, o *blockblob.UploadOptions) (blockblob.UploadResponse, error) {
	return b.Upload(ctx, nopCloser{bytes.NewReader(data)}, o)
}

func TestAzcopySetProperties(t *testing.T) {
	s := startBlobd(t)
	container := newContainer(t, s)
	remote := s.blob + "/" + container + "?" + accountSAS(t)
	b := s.service(t).NewContainerClient(container).NewBlockBlobClient("b")
	_, err := b.Upload(ctx, body("x"), nil)
	require.NoError(t, err)
	azcopy(t, "", "set-properties", withPath(remote, "b"), "--block-blob-tier=cool", "--metadata=k=v", "--blob-tags=t=1", "--from-to=BlobNone")
	p, err := b.GetProperties(ctx, nil)
	require.NoError(t, err)
	require.Equal(t, "Cool", *p.AccessTier)
	require.Equal(t, "v", *p.Metadata["K"])
	require.EqualValues(t, 1, *p.TagCount)
}

func TestAzcopyBench(t *testing.T) {
	s := startBlobd(t)
	hosts := hostProxy(t, s) // bench has no --from-to: it knows the service by the host's name
	defer hosts.Close()
	remote := "http://devstoreaccount1.blob.storage.test/" + newContainer(t, s) + "?" + accountSAS(t)
	out := azcopy(t, hosts.URL, "bench", remote, "--file-count=40", "--size-per-file=1M")
	require.Contains(t, out, "Final Job Status: Completed")
}

// TestAzcopyResumes kills azcopy in the middle of an upload and resumes the job.
func TestAzcopyResumes(t *testing.T) {
	s := startBlobd(t)
	container := newContainer(t, s)
	// The gate lets the first blocks pass and then holds, so that the kill always comes in the middle.
	var blocks atomic.Int32
	middle, open := make(chan struct{}), make(chan struct{})
	var once sync.Once
	backend, err := url.Parse(strings.TrimSuffix(s.blob, "/"+account.DevName))
	require.NoError(t, err)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = backend.Scheme, backend.Host
		r.Out.Host = r.In.Host
	}}
	gate := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("comp") == "block" && blocks.Add(1) > 5 {
			once.Do(func() { close(middle) })
			select {
			case <-open:
			case <-r.Context().Done():
				return
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	defer gate.Close()

	data := random(24 << 20)
	file := filepath.Join(t.TempDir(), "big")
	require.NoError(t, os.WriteFile(file, data, 0o644))
	sas := accountSAS(t)
	remote := gate.URL + "/" + account.DevName + "/" + container + "/big"
	home := t.TempDir()
	run := func(args ...string) *exec.Cmd {
		c := exec.Command(azcopyPath(), args...)
		c.Env = append(os.Environ(), "AZCOPY_LOG_LOCATION="+home, "AZCOPY_JOB_PLAN_LOCATION="+home, "AZCOPY_CONCURRENCY_VALUE=4", "HOME="+home)
		return c
	}
	var log bytes.Buffer
	first := run("copy", file, remote+"?"+sas, "--from-to=LocalBlob", "--block-size-mb=1", "--put-blob-size-mb=1")
	first.Stdout, first.Stderr = &log, &log
	require.NoError(t, first.Start())
	<-middle
	require.NoError(t, first.Process.Kill())
	first.Wait()
	close(open)

	plans, err := filepath.Glob(filepath.Join(home, "*.steV*"))
	require.NoError(t, err)
	require.NotEmptyf(t, plans, "%s", log.String())
	job := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`).FindString(plans[0])
	out, err := run("jobs", "resume", job, "--destination-sas="+sas).CombinedOutput()
	require.NoErrorf(t, err, "%s", out)
	got, err := s.service(t).NewContainerClient(container).NewBlobClient("big").DownloadStream(ctx, nil)
	require.NoError(t, err)
	var back bytes.Buffer
	_, err = back.ReadFrom(got.Body)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, back.Bytes()))
}
