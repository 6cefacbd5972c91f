package e2e

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/devissuer"
)

// neighbours are servers that differ in their settings, as some errors need, and write down what they are asked.
type neighbours struct {
	main     *target
	secure   *target // wants HTTPS
	versions *target // keeps versions and deleted containers; no public access
	login    *login  // HTTPS, tokens only
	stalling string  // a copy source that tells its length and then nothing more
	logs     []string
}

func startNeighbours(t *testing.T) *neighbours {
	t.Helper()
	dir := t.TempDir()
	n := &neighbours{}
	log := func(name string) string {
		n.logs = append(n.logs, filepath.Join(dir, name))
		return n.logs[len(n.logs)-1]
	}
	source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1048576")
		w.Header().Set("ETag", `"0x1"`)
		w.WriteHeader(http.StatusOK)
		if r.Method == http.MethodGet {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
	}))
	t.Cleanup(source.Close)
	t.Cleanup(source.CloseClientConnections)
	n.stalling = source.URL + "/endless"
	n.main = startBlobd(t, "--access-log-file", log("main"))
	n.secure = startBlobd(t, "--secure-transfer", "--access-log-file", log("secure"))
	n.versions = startBlobd(t, "--versioning", "--container-retention", "7", "--no-public-access", "--access-log-file", log("versions"))
	n.login = startLogin(t, "--no-shared-key", "--access-log-file", log("login"))
	return n
}

// environment tells a suite in another language of them.
func (n *neighbours) environment(t *testing.T) []string {
	return []string{"BLOBD_BLOB_URL=" + n.main.blob, "BLOBD_TABLE_URL=" + n.main.table, "BLOBD_SERVER=" + n.main.name,
		"BLOBD_SECURE_URL=" + n.secure.blob, "BLOBD_VERSIONS_URL=" + n.versions.blob, "BLOBD_STALLING_URL=" + n.stalling,
		"BLOBD_LOGIN_URL=" + n.login.ip + "/" + account.DevName, "BLOBD_TOKEN=" + n.login.token(t), "NODE_EXTRA_CA_CERTS=" + n.login.ca}
}

// token asks the issuer for a token.
func (l *login) token(t *testing.T) string {
	t.Helper()
	r, err := l.options.Transport.(*http.Client).PostForm(l.issuer+"/"+devissuer.Tenant+"/oauth2/v2.0/token", url.Values{"grant_type": {"client_credentials"},
		"client_id": {devissuer.ClientID}, "client_secret": {l.secret}, "scope": {"https://storage.azure.com/.default"}})
	require.NoError(t, err)
	defer r.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
	}
	require.NoError(t, json.NewDecoder(r.Body).Decode(&answer))
	require.NotEmpty(t, answer.Token)
	return answer.Token
}

// stop ends the servers, so that their logs are whole.
func (n *neighbours) stop() {
	n.main.stop()
	n.secure.stop()
	n.versions.stop()
	n.login.stop()
}

// seen is what an SDK, known by its user agent, was answered: the names of operations that were served, and "412 LeaseIdMissing".
func (n *neighbours) seen(t *testing.T, agent string) map[string]bool {
	t.Helper()
	seen := map[string]bool{}
	for _, name := range n.logs {
		f, err := os.Open(name)
		require.NoError(t, err)
		defer f.Close()
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var r struct {
				Service, Operation, Agent, Code string
				Status                          int
			}
			require.NoError(t, json.Unmarshal(lines.Bytes(), &r))
			if r.Service != "blob" || !strings.Contains(r.Agent, agent) {
				continue
			}
			for _, what := range shows(r.Operation, r.Status, r.Code) {
				seen[what] = true
			}
		}
		require.NoError(t, lines.Err())
	}
	return seen
}
