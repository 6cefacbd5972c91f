package devissuer

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/directory/issuer"
)

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

// post sends a form and returns the answer's fields.
func post(t *testing.T, i *Issuer, path string, form url.Values) map[string]any {
	r := httptest.NewRequest("POST", path, strings.NewReader(form.Encode()))
	r.Host = "127.0.0.1:1"
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	i.ServeHTTP(w, r)
	var answer map[string]any
	if strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
	}
	return answer
}

func TestClientCredentials(t *testing.T) {
	i, err := New("https://127.0.0.1:1", "secret", time.Now)
	require.NoError(t, err)
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {ClientID}, "client_secret": {"secret"}, "scope": {"https://storage.azure.com/.default"}}
	require.NotEmpty(t, post(t, i, "/"+Tenant+"/oauth2/v2.0/token", form)["access_token"])
	for name, value := range map[string]string{"client_secret": "other", "client_id": "other", "grant_type": "password"} {
		bad := url.Values{}
		for n, v := range form {
			bad[n] = v
		}
		bad.Set(name, value)
		answer := post(t, i, "/"+Tenant+"/oauth2/v2.0/token", bad)
		require.NotEmpty(t, answer["error"])
		require.Empty(t, answer["access_token"])
	}
}

// A page of another origin in this machine's browser gets nothing, under whatever name it reaches the issuer.
func TestStrangersPages(t *testing.T) {
	i, err := New("http://127.0.0.1:1", "secret", time.Now)
	require.NoError(t, err)
	for _, c := range []struct {
		host, origin string
		status       int
	}{
		{"127.0.0.1:1", "", 200}, {"localhost:1", "", 200}, {"127.0.0.1:1", "http://127.0.0.1:1", 200}, {"localhost:1", "https://localhost:1", 200},
		{"evil.example:1", "", 421}, {"evil.example:1", "http://evil.example:1", 421}, {"127.0.0.1:1", "http://evil.example", 403},
		{"127.0.0.1:1", "null", 403}, {"127.0.0.1:1", "http://127.0.0.1:2", 403},
	} {
		for _, r := range []*http.Request{
			httptest.NewRequest("GET", "/"+Tenant+"/v2.0/.well-known/openid-configuration", nil),
			httptest.NewRequest("POST", "/"+Tenant+"/oauth2/v2.0/devicecode", strings.NewReader("scope=x")),
		} {
			r.Host = c.host
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if c.origin != "" {
				r.Header.Set("Origin", c.origin)
			}
			w := httptest.NewRecorder()
			i.ServeHTTP(w, r)
			require.Equal(t, c.status, w.Code, "%s %v", r.Method, c)
		}
	}
}

func TestDeviceCode(t *testing.T) {
	c := &clock{time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	i, err := New("https://127.0.0.1:1", "secret", c.Now)
	require.NoError(t, err)
	start := func() (device, user string) {
		answer := post(t, i, "/t/oauth2/v2.0/devicecode", url.Values{"client_id": {ClientID}, "scope": {"https://storage.azure.com/.default offline_access"}})
		return answer["device_code"].(string), answer["user_code"].(string)
	}
	redeem := func(device string) map[string]any {
		return post(t, i, "/t/oauth2/v2.0/token", url.Values{"grant_type": {issuer.DeviceGrant}, "device_code": {device}})
	}
	device, user := start()
	require.Equal(t, "authorization_pending", redeem(device)["error"])
	post(t, i, "/device", url.Values{"user_code": {"WRONGONE"}})
	require.Equal(t, "authorization_pending", redeem(device)["error"])
	post(t, i, "/device", url.Values{"user_code": {" " + strings.ToLower(user)}})
	answer := redeem(device)
	require.NotEmpty(t, answer["access_token"])
	require.Equal(t, "bad_verification_code", redeem(device)["error"], "a code is good once")
	refreshed := post(t, i, "/t/oauth2/v2.0/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {answer["refresh_token"].(string)}})
	require.NotEmpty(t, refreshed["access_token"])
	notRefresh := post(t, i, "/t/oauth2/v2.0/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {answer["access_token"].(string)}})
	require.Equal(t, "invalid_grant", notRefresh["error"])

	late, user := start()
	c.now = c.now.Add(15 * time.Minute)
	post(t, i, "/device", url.Values{"user_code": {user}})
	require.Equal(t, "expired_token", redeem(late)["error"])
	for range 1000 {
		start()
	}
	require.Equal(t, "temporarily_unavailable", post(t, i, "/t/oauth2/v2.0/devicecode", url.Values{})["error"])
}

// TestNoTokenIsTakenForAnother: whatever a caller asks for as scope, only what was made to be a refresh token is one.
func TestNoTokenIsTakenForAnother(t *testing.T) {
	i, err := New("https://127.0.0.1:1", "secret", time.Now)
	require.NoError(t, err)
	token := func(form url.Values) map[string]any { return post(t, i, "/t/oauth2/v2.0/token", form) }
	login := func(scope string) map[string]any {
		start := post(t, i, "/t/oauth2/v2.0/devicecode", url.Values{"client_id": {ClientID}, "scope": {scope}})
		post(t, i, "/device", url.Values{"user_code": {start["user_code"].(string)}})
		return token(url.Values{"grant_type": {issuer.DeviceGrant}, "device_code": {start["device_code"].(string)}})
	}
	uses := map[string]int{}
	for _, scope := range []string{"https://storage.azure.com", refreshAudience, ClientID} {
		if scope != "https://storage.azure.com" {
			scope += "/.default"
		}
		client := token(url.Values{"grant_type": {"client_credentials"}, "client_id": {ClientID}, "client_secret": {"secret"}, "scope": {scope}})
		user := login(scope)
		for _, c := range []struct {
			use   string
			token any
		}{{"client's access", client["access_token"]}, {"access", user["access_token"]}, {"identity", user["id_token"]}, {"refresh", user["refresh_token"]}} {
			uses[c.use]++
			again := token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {c.token.(string)}, "scope": {scope}})
			require.Equal(t, c.use == "refresh", again["access_token"] != nil, "%s token of scope %s as a refresh token", c.use, scope)
		}
	}
	require.Len(t, uses, 4)
}

func TestRotate(t *testing.T) {
	i, err := New("https://127.0.0.1:1", "secret", time.Now)
	require.NoError(t, err)
	keys := func() (ids []string) {
		answer, err := i.Client().Get(i.base + "/" + Tenant + "/discovery/v2.0/keys")
		require.NoError(t, err)
		defer answer.Body.Close()
		var set struct {
			Keys []map[string]string `json:"keys"`
		}
		require.NoError(t, json.NewDecoder(answer.Body).Decode(&set))
		for _, k := range set.Keys {
			require.Empty(t, k["d"], "a private key")
			ids = append(ids, k["kid"])
		}
		return ids
	}
	first := keys()
	require.NoError(t, i.Rotate())
	second := keys()
	require.Equal(t, first[0], second[0])
	require.NoError(t, i.Rotate())
	require.NotContains(t, keys(), first[0])
}

func TestListenOnLoopbackOnly(t *testing.T) {
	_, err := Listen("0.0.0.0:0", "secret", nil)
	require.ErrorContains(t, err, "is not a loopback address")
	s, err := Listen("127.0.0.1:0", "secret", nil)
	require.NoError(t, err)
	answer, err := http.Get(s.URL() + "/.well-known/openid-configuration")
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusOK, answer.StatusCode)
	require.NoError(t, s.Close(t.Context()))
}
