package issuer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/directory"
	"github.com/blobd/blobd/internal/directory/issuer"
	"github.com/blobd/blobd/internal/engine/enginetest"
)

var ctx = context.Background()

const (
	secret   = "correct horse battery"
	client   = "04b07795-8ddb-461a-bbee-02f9e1bf7b46" // az
	resource = "https://management.example/"
)

type world struct {
	t         *testing.T
	directory *directory.Directory
	issuer    *issuer.Issuer
	http      *http.Client
	now       time.Time
	user, app *directory.Principal
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, now: time.Now()}
	e := enginetest.New(t)
	sealer, err := account.OpenStore(ctx, e, account.NewRegistry(), nil)
	require.NoError(t, err)
	now := func() time.Time { return w.now }
	w.directory, err = directory.Open(ctx, e, sealer, now)
	require.NoError(t, err)
	w.user, err = w.directory.AddPrincipal(ctx, directory.User, "ann@example", secret)
	require.NoError(t, err)
	w.app, err = w.directory.AddPrincipal(ctx, directory.ServicePrincipal, "robot", secret)
	require.NoError(t, err)
	w.issuer = issuer.New("https://management.example", w.directory, now)
	w.http = issuer.Client(w.issuer)
	return w
}

func (w *world) post(path string, form ...string) (int, map[string]any) {
	w.t.Helper()
	v := url.Values{}
	for i := 0; i < len(form); i += 2 {
		v.Set(form[i], form[i+1])
	}
	resp, err := w.http.PostForm("https://management.example"+path, v)
	require.NoError(w.t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	var body map[string]any
	_ = json.Unmarshal(text, &body) // a page is none
	return resp.StatusCode, body
}

func (w *world) get(path string) map[string]any {
	w.t.Helper()
	resp, err := w.http.Get("https://management.example" + path)
	require.NoError(w.t, err)
	require.Equal(w.t, 200, resp.StatusCode, path)
	var body map[string]any
	require.NoError(w.t, json.NewDecoder(resp.Body).Decode(&body))
	return body
}

// Both families, as their clients ask: discovery, then the endpoint that it names.
func TestFamilies(t *testing.T) {
	w := newWorld(t)
	for path, token := range map[string]string{
		"/adfs/.well-known/openid-configuration":                              "/adfs/oauth2/token",
		"/organizations/v2.0/.well-known/openid-configuration":                "/" + w.directory.Tenant() + "/oauth2/v2.0/token",
		"/" + w.directory.Tenant() + "/v2.0/.well-known/openid-configuration": "/" + w.directory.Tenant() + "/oauth2/v2.0/token",
	} {
		require.True(t, issuer.Serves(path))
		doc := w.get(path)
		require.Equal(t, "https://management.example"+token, doc["token_endpoint"])
		require.True(t, strings.HasSuffix(doc["issuer"].(string), "/"+w.directory.Tenant()))
		require.Len(t, w.get(strings.TrimPrefix(doc["jwks_uri"].(string), "https://management.example"))["keys"], 1)
	}
	for _, path := range []string{"/adfs/oauth2/token", "/adfs/" + w.directory.Tenant() + "/oauth2/token", "/" + w.directory.Tenant() + "/oauth2/v2.0/token", "/adfs/oauth2/token?api-version=1.0"} {
		status, body := w.post(path, "grant_type", "client_credentials", "client_id", w.app.AppID, "client_secret", secret, "scope", resource+"/.default openid offline_access profile")
		require.Equal(t, 200, status, body)
		require.NotContains(t, body, "refresh_token")
		p, audience, err := w.issuer.Verify(body["access_token"].(string))
		require.NoError(t, err)
		require.Equal(t, w.app.ObjectID, p.ObjectID)
		require.Equal(t, resource, audience)
	}
	status, body := w.post("/"+uuid.NewString()+"/oauth2/token", "grant_type", "client_credentials")
	require.Equal(t, 400, status)
	require.Equal(t, "invalid_tenant", body["error"])
	require.False(t, issuer.Serves("/subscriptions/x/oauth2/"))
}

func TestUserSignsIn(t *testing.T) {
	w := newWorld(t)
	status, body := w.post("/adfs/oauth2/token", "grant_type", "password", "client_id", client, "username", "Ann@example", "password", secret, "scope", resource+"/.default offline_access openid profile")
	require.Equal(t, 200, status, body)
	for _, member := range []string{"access_token", "id_token", "refresh_token", "client_info"} {
		require.Contains(t, body, member)
	}
	renew := func(token, as string) (int, map[string]any) {
		return w.post("/adfs/oauth2/token", "grant_type", "refresh_token", "client_id", as, "refresh_token", token, "scope", "https://storage.azure.com/.default")
	}
	status, next := renew(body["refresh_token"].(string), client)
	require.Equal(t, 200, status, next)
	_, audience, err := w.issuer.Verify(next["access_token"].(string))
	require.NoError(t, err)
	require.Equal(t, "https://storage.azure.com", audience)

	// No kind of token is good in the place of another, nor for another client.
	for _, other := range []string{"id_token", "refresh_token"} {
		_, _, err := w.issuer.Verify(body[other].(string))
		require.ErrorIs(t, err, issuer.ErrToken, other)
	}
	_, forged := w.post("/adfs/oauth2/token", "grant_type", "password", "client_id", client, "username", "ann@example", "password", secret, "scope", "urn:blobd:refresh/.default")
	for _, token := range []string{body["access_token"].(string), body["id_token"].(string), forged["access_token"].(string)} {
		status, _ = renew(token, client)
		require.Equal(t, 400, status)
	}
	status, _ = renew(body["refresh_token"].(string), uuid.NewString())
	require.Equal(t, 400, status)

	// A new password ends what was signed in with the old one; a principal that is disabled is out at once.
	require.NoError(t, w.directory.SetDisabled(ctx, w.user.ObjectID, true))
	_, _, err = w.issuer.Verify(body["access_token"].(string))
	require.ErrorIs(t, err, issuer.ErrToken)
	status, _ = renew(body["refresh_token"].(string), client)
	require.Equal(t, 400, status)
	require.NoError(t, w.directory.SetDisabled(ctx, w.user.ObjectID, false))
	status, _ = renew(body["refresh_token"].(string), client)
	require.Equal(t, 200, status)
	w.now = w.now.Add(time.Second)
	require.NoError(t, w.directory.SetSecret(ctx, w.user.ObjectID, "another password"))
	status, _ = renew(body["refresh_token"].(string), client)
	require.Equal(t, 400, status)
	w.now = w.now.Add(2 * time.Hour)
	_, _, err = w.issuer.Verify(body["access_token"].(string))
	require.ErrorIs(t, err, issuer.ErrExpired)
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		status int
		code   string
		form   []string
	}{
		"secret":    {401, "invalid_client", []string{"grant_type", "client_credentials", "client_id", w.app.AppID, "client_secret", "x", "scope", resource}},
		"no client": {401, "invalid_client", []string{"grant_type", "client_credentials", "client_id", "x", "client_secret", secret, "scope", resource}},
		"password":  {400, "invalid_grant", []string{"grant_type", "password", "client_id", client, "username", "ann@example", "password", "x", "scope", resource}},
		"client":    {400, "invalid_client", []string{"grant_type", "password", "client_id", resource, "username", "ann@example", "password", secret, "scope", resource}},
		"storage":   {400, "invalid_client", []string{"grant_type", "password", "client_id", "E406A681-f3d4-42a8-90b6-c2b029497af1", "username", "ann@example", "password", secret, "scope", resource}},
		"scope":     {400, "invalid_scope", []string{"grant_type", "password", "client_id", client, "username", "ann@example", "password", secret, "scope", "openid"}},
		"grant":     {400, "unsupported_grant_type", []string{"grant_type", "implicit", "client_id", client}},
	} {
		status, body := w.post("/adfs/oauth2/token", c.form...)
		require.Equal(t, c.status, status, name)
		require.Equal(t, c.code, body["error"], name)
		require.Contains(t, body["error_description"], "AADSTS")
	}
}

// Whoever begins logins without end keeps nobody out but those at the same address.
func TestDeviceCodesOfStrangers(t *testing.T) {
	w := newWorld(t)
	begin := func(from string) int {
		form := url.Values{"client_id": {client}, "scope": {resource}}
		r := httptest.NewRequest("POST", "https://management.example/adfs/oauth2/devicecode", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.RemoteAddr = from
		answer := httptest.NewRecorder()
		w.issuer.ServeHTTP(answer, r)
		return answer.Code
	}
	for k := range 1100 {
		status := begin(fmt.Sprintf("192.0.2.1:%d", 1+k))
		require.Equal(t, map[bool]int{true: 200, false: 503}[k < 20], status)
		status = begin(fmt.Sprintf("[2001:db8:0:1:%x::1]:99", k))
		require.Equal(t, map[bool]int{true: 200, false: 503}[k < 20], status)
	}
	require.Equal(t, 200, begin("192.0.2.2:1"))
	require.Equal(t, 200, begin("[2001:db8:0:2::1]:1"))
}

// A device is signed in by whoever approves it with a password, once.
func TestDeviceCode(t *testing.T) {
	w := newWorld(t)
	for _, form := range [][]string{{"scope", resource}, {"client_id", "me", "scope", resource}, {"client_id", client, "scope", strings.Repeat("s", 60_000)}} {
		status, _ := w.post("/adfs/oauth2/devicecode", form...)
		require.Equal(t, 400, status, "what strangers have kept is short")
	}
	status, d := w.post("/adfs/oauth2/devicecode", "client_id", client, "scope", resource+"/.default offline_access")
	require.Equal(t, 200, status)
	poll := func(as string) (int, map[string]any) {
		return w.post("/adfs/oauth2/token", "grant_type", "urn:ietf:params:oauth:grant-type:device_code", "client_id", as, "device_code", d["device_code"].(string))
	}
	_, body := poll(client)
	require.Equal(t, "authorization_pending", body["error"])
	code := d["user_code"].(string)
	for _, form := range [][]string{{"user_code", code}, {"user_code", code, "username", "ann@example", "password", "x"}, {"user_code", "WRONGONE", "username", "ann@example", "password", secret}} {
		status, _ := w.post("/adfs/device", form...)
		require.NotEqual(t, 200, status)
	}
	_, body = poll(client)
	require.Equal(t, "authorization_pending", body["error"])
	status, _ = w.post("/adfs/device", "user_code", strings.ToLower(code), "username", "ann@example", "password", secret)
	require.Equal(t, 200, status)
	_, body = poll(uuid.NewString())
	require.Equal(t, "bad_verification_code", body["error"])
	status, body = poll(client)
	require.Equal(t, 200, status, body)
	p, _, err := w.issuer.Verify(body["access_token"].(string))
	require.NoError(t, err)
	require.Equal(t, w.user.ObjectID, p.ObjectID)
	_, body = poll(client)
	require.Equal(t, "bad_verification_code", body["error"])
}
