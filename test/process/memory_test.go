package process

import (
	"context"
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
)

// launchInMemory runs blobd with nothing on a disk, in an empty directory that it returns.
func launchInMemory(t *testing.T, more ...string) *process {
	t.Chdir(t.TempDir())
	return launch(t, append([]string{"--in-memory", "--blob-addr", "127.0.0.1:0", "--table-addr", "127.0.0.1:0", "--management-addr", "127.0.0.1:0"}, more...)...)
}

// TestInMemory: what was put is read, on every way that content is kept, no file is made, and the next start has nothing.
func TestInMemory(t *testing.T) {
	ctx := context.Background()
	p := launchInMemory(t, "--tls-self-signed", "--container", "docs")
	insecure := p.client(&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}})
	for name, size := range map[string]int{"inline": 1 << 10, "packed": 40 << 10, "striped": 5 << 20} {
		content := []byte(strings.Repeat(name, size/len(name)))
		_, err := insecure.UploadBuffer(ctx, "docs", name, content, nil)
		require.NoError(t, err)
		got := make([]byte, len(content))
		_, err = insecure.DownloadBuffer(ctx, "docs", name, got, nil)
		require.NoError(t, err)
		require.Equal(t, content, got)
	}
	p.stop()
	require.Contains(t, p.stdout(), "in memory")
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	require.Empty(t, entries)

	for _, more := range []string{"--existing", "--accept-missing disk-1"} {
		code, _, words := refuse(t, nil, append([]string{"--in-memory"}, strings.Fields(more)...)...)
		require.Equal(t, exitUsage, code, more)
		require.Contains(t, words, "--in-memory keeps nothing on a disk")
	}
}

// TestReset: the emulator's account is as at the start, and no other account is touched.
func TestReset(t *testing.T) {
	ctx := context.Background()
	p := launchInMemory(t, "--account", "other:"+account.DevKey, "--dev-account", "--container", "devstoreaccount1/first=blob", "--table", "devstoreaccount1/First", "--container", "other/kept")
	addr := strings.TrimPrefix(p.Management, "http://")
	reset := func() {
		code, out, words := refuse(t, nil, "reset", "--management-addr", addr)
		require.Zero(t, code, words)
		require.Empty(t, out)
	}
	c := p.client(nil)
	properties := c.ServiceClient()
	before, err := properties.GetProperties(ctx, nil)
	require.NoError(t, err)
	for round := range 3 {
		_, err := c.CreateContainer(ctx, "second", nil)
		require.NoError(t, err, "the name is free at once, round %d", round)
		for _, container := range []string{"first", "second"} {
			_, err = c.UploadBuffer(ctx, container, "a.txt", []byte("hello"), nil)
			require.NoError(t, err)
		}
		_, err = properties.SetProperties(ctx, &service.SetPropertiesOptions{DefaultServiceVersion: to.Ptr("2019-12-12")})
		require.NoError(t, err)
		reset()
		var names []string
		for pager := c.NewListContainersPager(nil); pager.More(); {
			page, err := pager.NextPage(ctx)
			require.NoError(t, err)
			for _, item := range page.ContainerItems {
				names = append(names, *item.Name)
			}
		}
		require.Equal(t, []string{"first"}, names)
		_, err = c.DownloadStream(ctx, "first", "a.txt", nil)
		require.True(t, bloberror.HasCode(err, bloberror.BlobNotFound), "%v", err)
		after, err := properties.GetProperties(ctx, nil)
		require.NoError(t, err)
		require.Equal(t, before.StorageServiceProperties, after.StorageServiceProperties)
	}
	_, err = p.clientFor("other", nil).ServiceClient().NewContainerClient("kept").GetProperties(ctx, nil)
	require.NoError(t, err)
	p.stop()

	// A server without the emulator's account empties nothing, and neither does one whose account of that name has a key of its own.
	for _, a := range []string{"other:" + account.DevKey, "devstoreaccount1:b3RoZXI="} {
		p = launch(t, anyPorts(filepath.Join(t.TempDir(), "data"), "--account", a)...)
		code, _, words := refuse(t, nil, "reset", "--management-addr", strings.TrimPrefix(p.Management, "http://"))
		require.Equal(t, exitFailed, code)
		require.Contains(t, words, "nothing but the emulator's account is ever reset")
		p.stop()
	}
}
