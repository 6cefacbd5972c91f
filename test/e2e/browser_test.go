package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"
	"github.com/stretchr/testify/require"
)

// page does in a browser what the JS SDK does with a SAS: upload, list, download. It ends with its outcome in the document.
const page = `<!doctype html><title>t</title><body><pre id="out">running</pre><script>
const container = %q, sas = %q
async function run() {
	const put = await fetch(container + "/b%%20%%C3%%A4?" + sas, {method: "PUT", body: "from a page",
		headers: {"x-ms-blob-type": "BlockBlob", "x-ms-version": "2026-04-06", "x-ms-meta-page": "1", "content-type": "text/plain"}})
	const list = await (await fetch(container + "?restype=container&comp=list&" + sas, {headers: {"x-ms-version": "2026-04-06"}})).text()
	const get = await fetch(container + "/b%%20%%C3%%A4?" + sas, {headers: {"x-ms-version": "2026-04-06"}})
	return [put.status, put.headers.get("etag") !== null, list.includes("<Name>b ä</Name>"), get.headers.get("x-ms-meta-page"), await get.text()].join(",")
}
run().catch(e => "refused: " + e.name).then(s => document.getElementById("out").textContent = "outcome=" + s + ";")
</script></body>`

// chromium is Debian's, which is installed if it is not there.
func chromium(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("chromium"); err == nil {
		return path
	}
	require.NoError(t, command(root, "apt-get", "update", "-qq"))
	require.NoError(t, command(root, "apt-get", "install", "-y", "-qq", "chromium"))
	path, err := exec.LookPath("chromium")
	require.NoError(t, err)
	return path
}

// A page of another origin uses a container by SAS when a CORS rule lets it, and is kept out by the browser when none does.
func TestBrowser(t *testing.T) {
	ctx := context.Background()
	browser := chromium(t)
	s := startBlobd(t)
	client := s.service(t)
	_, err := client.CreateContainer(ctx, "con", nil)
	require.NoError(t, err)
	query, err := sas.BlobSignatureValues{
		ExpiryTime: time.Now().UTC().Add(time.Hour), ContainerName: "con",
		Permissions: (&sas.ContainerPermissions{Read: true, Create: true, Write: true, List: true}).String(),
	}.SignWithSharedKey(credential(t))
	require.NoError(t, err)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, page, s.blob+"/con", query.Encode())
	}))
	defer origin.Close()
	visit := func() string {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
			"--user-data-dir="+t.TempDir(), "--virtual-time-budget=20000", "--dump-dom", origin.URL).Output()
		require.NoError(t, err)
		_, outcome, _ := strings.Cut(string(out), "outcome=")
		outcome, _, _ = strings.Cut(outcome, ";")
		return outcome
	}
	rule := func(allowed string) {
		_, err := client.SetProperties(ctx, &service.SetPropertiesOptions{CORS: []*service.CORSRule{{
			AllowedOrigins: to.Ptr(allowed), AllowedMethods: to.Ptr("GET,PUT"), AllowedHeaders: to.Ptr("x-ms-*,content-type"),
			ExposedHeaders: to.Ptr("*"), MaxAgeInSeconds: to.Ptr[int32](0),
		}}})
		require.NoError(t, err)
	}
	require.Equal(t, "refused: TypeError", visit(), "no rule")
	rule("http://other.example")
	require.Equal(t, "refused: TypeError", visit(), "a rule for another origin")
	rule(origin.URL)
	require.Equal(t, "201,true,true,1,from a page", visit())
}
