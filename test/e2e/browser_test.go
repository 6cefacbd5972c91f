package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
)

// chromium finds the browser.
func chromium(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("chromium")
	require.NoError(t, err, "a browser is needed: make tools installs it")
	return path
}

// site serves the page of test/js/browser, tells it what to do and hears how it went.
type site struct {
	*httptest.Server
	outcome chan string // of one visit
}

func newSite(t *testing.T, task any) *site {
	script := filepath.Join(t.TempDir(), "page.js")
	require.NoError(t, command(js, "node_modules/.bin/esbuild", "browser/page.mjs", "--bundle", "--format=esm", "--log-level=warning", "--outfile="+script))
	s := &site{outcome: make(chan string, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, `<!doctype html><title>page</title><script type="module" src="page.js"></script>`)
	})
	mux.HandleFunc("GET /page.js", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, script) })
	mux.HandleFunc("GET /task", func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(task) })
	mux.HandleFunc("POST /outcome", func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			s.outcome <- string(body)
		}
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// visit opens the page in a browser of its own, which remembers nothing of visits before, and returns what it reports.
func (s *site) visit(t *testing.T, browser string) string {
	t.Helper()
	// Not t.TempDir: the browser's processes may outlive the first of them by a moment, and write there.
	profile, err := os.MkdirTemp(filepath.Dir(blobdBinary), "browser-")
	require.NoError(t, err)
	c := exec.Command(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--user-data-dir="+profile, s.URL)
	var log bytes.Buffer
	c.Stdout, c.Stderr = &log, &log
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, c.Start())
	ended := make(chan struct{})
	go func() { c.Wait(); close(ended) }()
	defer func() {
		syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		<-ended
	}()
	select {
	case outcome := <-s.outcome:
		return outcome
	case <-ended:
	case <-time.After(2 * time.Minute):
		syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		<-ended
	}
	t.Fatalf("the browser said nothing of the page:\n%s", log.String())
	return ""
}

// A page of another origin uses a container and a table by SAS with the JS SDKs when a CORS rule of the service lets it, and is
// kept out when none does: a browser sends nothing but preflights then.
func TestBrowser(t *testing.T) {
	ctx := context.Background()
	browser := chromium(t)
	s := startBlobd(t)
	blobs := s.service(t)
	_, err := blobs.CreateContainer(ctx, "con", nil)
	require.NoError(t, err)
	key, err := aztables.NewSharedKeyCredential(account.DevName, account.DevKey)
	require.NoError(t, err)
	tables, err := aztables.NewServiceClientWithSharedKey(s.table, key, nil)
	require.NoError(t, err)
	_, err = tables.CreateTable(ctx, "Tab", nil)
	require.NoError(t, err)

	expiry := time.Now().UTC().Add(time.Hour)
	ofContainer, err := sas.BlobSignatureValues{
		ExpiryTime: expiry, ContainerName: "con",
		Permissions: (&sas.ContainerPermissions{Read: true, Create: true, Write: true, List: true, Delete: true}).String(),
	}.SignWithSharedKey(credential(t))
	require.NoError(t, err)
	ofTable, err := aztables.SASSignatureValues{TableName: "Tab", Permissions: "raud", ExpiryTime: expiry}.Sign(key)
	require.NoError(t, err)
	page := newSite(t, map[string]string{"container": s.blob + "/con?" + ofContainer.Encode(), "table": s.table + "?" + ofTable, "tableName": "Tab"})

	// allow sets one rule for both services.
	allow := func(origin, methods string) {
		t.Helper()
		headers := to.Ptr("x-ms-*,content-type,accept,dataserviceversion,maxdataserviceversion,if-match,prefer,accept-charset")
		_, err := blobs.SetProperties(ctx, &service.SetPropertiesOptions{CORS: []*service.CORSRule{{
			AllowedOrigins: &origin, AllowedMethods: &methods, AllowedHeaders: headers, ExposedHeaders: to.Ptr("*"), MaxAgeInSeconds: to.Ptr[int32](0),
		}}})
		require.NoError(t, err)
		_, err = tables.SetProperties(ctx, aztables.ServiceProperties{Cors: []*aztables.CorsRule{{
			AllowedOrigins: &origin, AllowedMethods: &methods, AllowedHeaders: headers, ExposedHeaders: to.Ptr("*"), MaxAgeInSeconds: to.Ptr[int32](0),
		}}}, nil)
		require.NoError(t, err)
	}
	const (
		every   = "GET,HEAD,PUT,POST,DELETE,MERGE,PATCH,OPTIONS"
		refused = `{"blobs":{"refused":"RestError REQUEST_SEND_ERROR: Error sending request: Failed to fetch"},"table":{"refused":"RestError REQUEST_SEND_ERROR: Error sending request: Failed to fetch"}}`
		done    = `{
			"blobs": {
				"list": [], "upload": true, "blocks": [300000, 300000, 300000, 100000], "list after": ["dir/b ä+%?#.txt", "large"],
				"download": ["from a page", "text/x-page", "1"], "range": true, "list at the end": [], "missing": "404 BlobNotFound"
			},
			"table": {"entity": ["1", "x"], "query": ["2"]}
		}`
	)
	require.JSONEq(t, refused, page.visit(t, browser), "no rule")
	allow("http://other.example", every)
	require.JSONEq(t, refused, page.visit(t, browser), "a rule for another origin")
	allow(page.URL, "GET")
	require.JSONEq(t, `{"blobs":{"list":[],"refused":"RestError REQUEST_SEND_ERROR: Error sending request: Failed to fetch"},"table":{"refused":"RestError REQUEST_SEND_ERROR: Error sending request: Failed to fetch"}}`,
		page.visit(t, browser), "a rule for reading")
	allow(page.URL, every)
	require.JSONEq(t, done, page.visit(t, browser))
	allow("http://other.example", every) // aztables cannot say "no rules"
	_, err = blobs.SetProperties(ctx, &service.SetPropertiesOptions{CORS: []*service.CORSRule{}})
	require.NoError(t, err)
	require.JSONEq(t, refused, page.visit(t, browser), "the rule taken away")
}
