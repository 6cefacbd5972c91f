package gate_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/auth/authtest"
	"github.com/blobd/blobd/internal/auth/bearer"
	"github.com/blobd/blobd/internal/auth/gate"
	"github.com/blobd/blobd/internal/auth/sas"
	"github.com/blobd/blobd/internal/protocol"
)

var (
	ctx = context.Background()
	now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	dev = account.Development(now)
)

// testIssuer is an issuer on loopback whose keys and documents a test chooses.
type testIssuer struct {
	*httptest.Server
	mu      sync.Mutex
	keys    []jose.JSONWebKey
	fetches int
	down    bool
}

func newTestIssuer(t *testing.T) *testIssuer {
	i := &testIssuer{}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.fetches++
		if i.down {
			http.Error(w, "", http.StatusServiceUnavailable)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL + "/tenant-1/oauth2/authorize"})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		var public jose.JSONWebKeySet
		for _, k := range i.keys {
			public.Keys = append(public.Keys, k.Public())
		}
		_ = json.NewEncoder(w).Encode(public)
	})
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	return i
}

func (i *testIssuer) set(keys ...jose.JSONWebKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = keys
}

func rsaKey(t *testing.T, id string) jose.JSONWebKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return jose.JSONWebKey{Key: k, KeyID: id, Algorithm: "RS256", Use: "sig"}
}

// sign makes a token; claims replace the good ones, nil takes one out.
func (i *testIssuer) sign(t *testing.T, key jose.JSONWebKey, alg jose.SignatureAlgorithm, claims map[string]any) string {
	return i.signAs(t, "JWT", key, alg, claims)
}

func (i *testIssuer) signAs(t *testing.T, typ jose.ContentType, key jose.JSONWebKey, alg jose.SignatureAlgorithm, claims map[string]any) string {
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key.Key}, (&jose.SignerOptions{}).WithType(typ).WithHeader("kid", key.KeyID))
	require.NoError(t, err)
	all := map[string]any{
		"iss": i.URL, "aud": "https://storage.azure.com", "oid": "user-1", "tid": "tenant-1", "sub": "s",
		"nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	for name, value := range claims {
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	token, err := jwt.Signed(s).Claims(all).Serialize()
	require.NoError(t, err)
	return token
}

// clock is set by tests.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }

func (c *clock) advance(d time.Duration) { c.mu.Lock(); c.now = c.now.Add(d); c.mu.Unlock() }

func newGate(t *testing.T, config bearer.Config, resources auth.Resources) *gate.Gate {
	if config.Now == nil {
		config.Now = func() time.Time { return now }
	}
	v, err := bearer.New(config, nil)
	require.NoError(t, err)
	return gate.New(gate.Options{Blob: resources, Table: resources, Bearer: v})
}

// request is a GET of a blob.
func request(headers ...string) *auth.Request {
	r := &auth.Request{
		Service: auth.Blob, Method: "GET", Account: account.DevName, RawPath: "/c/b", Container: "c", Blob: "b", Version: protocol.Newest,
		Query: authtest.Pairs{}, ContentLength: -1, HTTPS: true, Now: now,
	}
	h := authtest.Pairs{{Name: "x-ms-version", Value: string(protocol.Newest)}}
	for i := 0; i < len(headers); i += 2 {
		h = append(h, authtest.Pair{Name: headers[i], Value: headers[i+1]})
	}
	r.Headers = h
	return r
}

var read = &auth.Needs{SAS: "r", AccountSAS: "r", ResourceTypes: "o", Role: auth.ActionRead, Public: auth.PublicBlob}

func TestTokens(t *testing.T) {
	issuer := newTestIssuer(t)
	k1, k2 := rsaKey(t, "k1"), rsaKey(t, "k2")
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	k3 := jose.JSONWebKey{Key: ec, KeyID: "k3", Algorithm: "ES256", Use: "sig"}
	encryption := rsaKey(t, "k4")
	encryption.Use = "enc"
	issuer.set(k1, k3, encryption)
	g := newGate(t, bearer.Config{Issuer: issuer.URL, Audiences: []string{"api://mine"}, Roles: []bearer.Assignment{{Kind: bearer.Everyone, Role: bearer.BlobReader}}}, nil)
	good := issuer.sign(t, k1, jose.RS256, nil)
	claim := func(claims map[string]any) string { return issuer.sign(t, k1, jose.RS256, claims) }

	for _, c := range []struct{ name, token, detail string }{
		{"good", good, ""},
		{"good, ES256", issuer.sign(t, k3, jose.ES256, nil), ""},
		{"audience with a slash", claim(map[string]any{"aud": "https://storage.azure.com/"}), ""},
		{"audience of the account", claim(map[string]any{"aud": "https://devstoreaccount1.blob.core.windows.net"}), ""},
		{"audience by application", claim(map[string]any{"aud": "e406a681-f3d4-42a8-90b6-c2b029497af1"}), ""},
		{"audience configured, one of several", claim(map[string]any{"aud": []string{"x", "api://mine"}}), ""},
		{"no oid, but sub", claim(map[string]any{"oid": nil}), ""},
		{"nbf within the leeway", claim(map[string]any{"nbf": now.Add(4 * time.Minute).Unix()}), ""},
		{"expired", claim(map[string]any{"exp": now.Unix()}), "Lifetime validation failed. The token is expired."},
		{"without expiry", claim(map[string]any{"exp": nil}), "Lifetime validation failed. The token is expired."},
		{"not yet valid", claim(map[string]any{"nbf": now.Add(6 * time.Minute).Unix()}), "Lifetime validation failed. The token is not yet valid."},
		{"wrong audience", claim(map[string]any{"aud": "https://graph.microsoft.com"}), "Audience validation failed. Audience did not match."},
		{"audience of another account", claim(map[string]any{"aud": "https://other.blob.core.windows.net"}), "Audience validation failed. Audience did not match."},
		{"audience of the other service", claim(map[string]any{"aud": "https://devstoreaccount1.table.core.windows.net"}), "Audience validation failed. Audience did not match."},
		{"audience elsewhere", claim(map[string]any{"aud": "https://devstoreaccount1.blob.evil.example"}), "Audience validation failed. Audience did not match."},
		{"without audience", claim(map[string]any{"aud": nil}), "Audience validation failed. Audience did not match."},
		{"wrong issuer", claim(map[string]any{"iss": issuer.URL + "/"}), "Issuer validation failed. Issuer did not match."},
		{"no holder", claim(map[string]any{"oid": nil, "sub": nil}), "The token names no holder."},
		{"unknown kid", issuer.sign(t, k2, jose.RS256, nil), "Signature validation failed. Signature key not found."},
		{"no kid", issuer.sign(t, jose.JSONWebKey{Key: k1.Key}, jose.RS256, nil), "Signature validation failed. Signature key not found."},
		{"another key under a known kid", issuer.sign(t, jose.JSONWebKey{Key: k2.Key, KeyID: "k1"}, jose.RS256, nil), "Signature validation failed. Signature verification failed."},
		{"a key that is not for signing", issuer.sign(t, encryption, jose.RS256, nil), "Signature validation failed. Signature key not found."},
		{"another algorithm of the same key", issuer.sign(t, k1, jose.PS256, nil), "Signature validation failed. The token is malformed."},
		{"an identity token", issuer.signAs(t, "id+jwt", k1, jose.RS256, nil), "Signature validation failed. The token is malformed."},
		{"a refresh token", issuer.signAs(t, "application/refresh+jwt", k1, jose.RS256, nil), "Signature validation failed. The token is malformed."},
		{"alg none", unsignedToken(good, `{"alg":"none","kid":"k1"}`), "Signature validation failed. The token is malformed."},
		{"alg None", unsignedToken(good, `{"alg":"None","kid":"k1"}`) + "AA", "Signature validation failed. The token is malformed."},
		{"HS256 with the public key as DER", publicKeyHMAC(t, good, k1, false), "Signature validation failed. The token is malformed."},
		{"HS256 with the public key as PEM", publicKeyHMAC(t, good, k1, true), "Signature validation failed. The token is malformed."},
		{"a key of its own in the header", embeddedKey(t, issuer, k2), "Signature validation failed. Signature key not found."},
		{"empty", "", "Signature validation failed. The token is malformed."},
		{"words", "a.b.c", "Signature validation failed. The token is malformed."},
		{"too long", good + strings.Repeat("A", 16<<10), "Signature validation failed. The token is malformed."},
	} {
		t.Run(c.name, func(t *testing.T) {
			grant, err := g.Authorize(ctx, dev, request("Authorization", "Bearer "+c.token), read)
			if c.detail == "" {
				require.NoError(t, err)
				require.Equal(t, auth.Bearer, grant.Scheme)
				return
			}
			require.ErrorIs(t, err, protocol.ErrInvalidBearerToken)
			e := err.(*protocol.Error)
			require.Equal(t, []protocol.Detail{{Name: "AuthenticationErrorDetail", Value: c.detail}}, e.Details)
			require.Equal(t, []protocol.Detail{{Name: "WWW-Authenticate", Value: "Bearer authorization_uri=" + issuer.URL + "/tenant-1/oauth2/authorize resource_id=https://storage.azure.com"}}, e.Headers)
		})
	}

	t.Run("any altered character", func(t *testing.T) {
		for i := range good {
			c := byte('A')
			if good[i] == 'A' {
				c = 'B'
			}
			_, err := g.Authorize(ctx, dev, request("Authorization", "Bearer "+good[:i]+string(c)+good[i+1:]), read)
			if err == nil {
				// The last character of a part has bits that are not data; only if it decodes alike may it pass.
				require.True(t, i == len(good)-1, "character %d altered", i)
			}
		}
	})
	t.Run("over HTTP", func(t *testing.T) {
		r := request("Authorization", "Bearer "+good)
		r.HTTPS = false
		_, err := g.Authorize(ctx, dev, r, read)
		require.ErrorIs(t, err, protocol.ErrAuthenticationFailed)
	})
	t.Run("before the version that has it", func(t *testing.T) {
		r := request("Authorization", "Bearer "+good)
		r.Version = protocol.V20170729
		_, err := g.Authorize(ctx, dev, r, read)
		require.Equal(t, "Authentication scheme Bearer is not supported in this version.", err.(*protocol.Error).Details[0].Value)
	})
	t.Run("no issuer", func(t *testing.T) {
		_, err := gate.New(gate.Options{}).Authorize(ctx, dev, request("Authorization", "Bearer "+good), read)
		require.ErrorIs(t, err, protocol.ErrAuthenticationFailed)
	})
	t.Run("the insecure switch looks at claims only", func(t *testing.T) {
		g := newGate(t, bearer.Config{Issuer: issuer.URL, AuthorizationURI: "https://x/t/a", InsecureSkipSignature: true, Roles: []bearer.Assignment{{Kind: bearer.Everyone}}}, nil)
		_, err := g.Authorize(ctx, dev, request("Authorization", "Bearer "+unsignedToken(good, `{"alg":"none"}`)), read)
		require.NoError(t, err)
		_, err = g.Authorize(ctx, dev, request("Authorization", "Bearer "+unsignedToken(claim(map[string]any{"exp": 1}), `{"alg":"none"}`)), read)
		require.ErrorIs(t, err, protocol.ErrInvalidBearerToken)
	})
}

// unsignedToken has another header and no signature.
func unsignedToken(token, header string) string {
	parts := strings.Split(token, ".")
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + parts[1] + "."
}

// publicKeyHMAC is signed by the public key as if it were a secret.
func publicKeyHMAC(t *testing.T, token string, key jose.JSONWebKey, asPEM bool) string {
	der, err := x509.MarshalPKIXPublicKey(key.Public().Key.(crypto.PublicKey))
	require.NoError(t, err)
	if asPEM {
		der = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	head := strings.TrimSuffix(unsignedToken(token, `{"alg":"HS256","kid":"k1"}`), ".")
	mac := hmac.New(sha256.New, der)
	mac.Write([]byte(head))
	return head + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// embeddedKey brings its own key along.
func embeddedKey(t *testing.T, issuer *testIssuer, key jose.JSONWebKey) string {
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key.Key}, &jose.SignerOptions{EmbedJWK: true})
	require.NoError(t, err)
	token, err := jwt.Signed(s).Claims(map[string]any{"iss": issuer.URL, "aud": bearer.Resource, "oid": "user-1", "exp": now.Add(time.Hour).Unix()}).Serialize()
	require.NoError(t, err)
	return token
}

// Keys are fetched when a token names one that is not there, but not at every such token; a key that is gone is good no more.
func TestKeyRotation(t *testing.T) {
	issuer := newTestIssuer(t)
	k1, k2, k3 := rsaKey(t, "k1"), rsaKey(t, "k2"), rsaKey(t, "k3")
	issuer.set(k1)
	c := &clock{now: now}
	g := newGate(t, bearer.Config{Issuer: issuer.URL, Now: c.Now, Roles: []bearer.Assignment{{Kind: bearer.Everyone, Role: bearer.BlobReader}}}, nil)
	try := func(key jose.JSONWebKey) error {
		_, err := g.Authorize(ctx, dev, request("Authorization", "Bearer "+issuer.sign(t, key, jose.RS256, nil)), read)
		return err
	}
	old := issuer.sign(t, k1, jose.RS256, nil)
	require.NoError(t, try(k1))
	require.Equal(t, 1, issuer.fetches)
	for range 20 {
		require.ErrorIs(t, try(k3), protocol.ErrInvalidBearerToken)
	}
	require.Equal(t, 1, issuer.fetches, "an invented key makes no fetch a moment after the last")
	issuer.set(k1, k2)
	c.advance(time.Minute)
	require.NoError(t, try(k2))
	require.Equal(t, 2, issuer.fetches)
	_, err := g.Authorize(ctx, dev, request("Authorization", "Bearer "+old), read)
	require.NoError(t, err)
	issuer.set(k2)
	c.advance(2 * time.Hour)
	require.NoError(t, try(k2))
	_, err = g.Authorize(ctx, dev, request("Authorization", "Bearer "+old), read)
	require.ErrorIs(t, err, protocol.ErrInvalidBearerToken, "remembered tokens of a withdrawn key")

	// While the issuer is down, known keys serve; without any, it is not the token's fault.
	issuer.down = true
	c.advance(2 * time.Hour)
	require.NoError(t, try(k2))
	fresh := newGate(t, bearer.Config{Issuer: issuer.URL}, nil)
	_, err = fresh.Authorize(ctx, dev, request("Authorization", "Bearer "+old), read)
	require.ErrorIs(t, err, protocol.ErrServerBusy)
}

func TestRoles(t *testing.T) {
	issuer := newTestIssuer(t)
	k1 := rsaKey(t, "k1")
	issuer.set(k1)
	var assignments []bearer.Assignment
	for _, text := range []string{
		"owner=Storage Blob Data Owner", "contributor=blob-contributor", "reader=blob-reader", "delegator=blob-delegator",
		"scoped=blob-contributor@devstoreaccount1/c", "elsewhere=blob-owner@other", "group:g1=blob-reader", "approle:Writers=blob-contributor",
		"tables=table-contributor", "tablereader=Storage Table Data Reader", "onetable=table-contributor@devstoreaccount1/c",
		"admin=Storage Account Contributor", "scopedadmin=account-contributor@devstoreaccount1/c",
	} {
		a, err := bearer.ParseAssignment(text)
		require.NoError(t, err)
		assignments = append(assignments, a)
	}
	g := newGate(t, bearer.Config{Issuer: issuer.URL, Roles: assignments}, nil)
	const all, service = "c", ""
	for _, c := range []struct {
		claims    map[string]any
		service   auth.Service
		container string
		want      string // the actions allowed: read, write, delete, tags, own, acl, key, service, manage, batch
	}{
		{map[string]any{"oid": "owner"}, auth.Blob, all, "rwdtoaks"},
		{map[string]any{"oid": "OWNER"}, auth.Blob, all, "rwdtoaks"},
		{map[string]any{"oid": "contributor"}, auth.Blob, all, "rwdks"},
		{map[string]any{"oid": "reader"}, auth.Blob, all, "rks"},
		{map[string]any{"oid": "delegator"}, auth.Blob, all, "k"},
		{map[string]any{"oid": "scoped"}, auth.Blob, "c", "rwdks"},
		{map[string]any{"oid": "scoped"}, auth.Blob, "d", ""},
		{map[string]any{"oid": "scoped"}, auth.Blob, service, ""},
		{map[string]any{"oid": "elsewhere"}, auth.Blob, all, ""},
		{map[string]any{"oid": "nobody"}, auth.Blob, all, ""},
		{map[string]any{"oid": "g1"}, auth.Blob, all, ""},
		{map[string]any{"oid": "x", "groups": []string{"g0", "g1"}}, auth.Blob, all, "rks"},
		{map[string]any{"oid": "x", "roles": []string{"Writers"}}, auth.Blob, all, "rwdks"},
		{map[string]any{"oid": "owner"}, auth.Table, all, ""},
		{map[string]any{"oid": "tables"}, auth.Table, all, "rwdb"},
		{map[string]any{"oid": "tablereader"}, auth.Table, all, "rb"},
		{map[string]any{"oid": "onetable"}, auth.Table, "c", "rwdb"},
		{map[string]any{"oid": "onetable"}, auth.Table, "d", "b"},
		{map[string]any{"oid": "onetable"}, auth.Table, service, "b"},
		{map[string]any{"oid": "onetable"}, auth.Blob, "c", ""},
		{map[string]any{"oid": "admin"}, auth.Blob, service, "aksm"},
		{map[string]any{"oid": "admin"}, auth.Blob, all, "aksm"},
		{map[string]any{"oid": "admin"}, auth.Table, service, "asm"},
		{map[string]any{"oid": "admin"}, auth.Table, all, "asm"},
		{map[string]any{"oid": "scopedadmin"}, auth.Blob, service, ""},
		{map[string]any{"oid": "scopedadmin"}, auth.Table, service, ""},
		{map[string]any{"oid": "scopedadmin"}, auth.Blob, "c", "aksm"},
		{map[string]any{"oid": "tables"}, auth.Blob, all, ""},
	} {
		token := issuer.sign(t, k1, jose.RS256, c.claims)
		got := ""
		for action, letter := range map[auth.Action]string{
			auth.ActionNone: "-", auth.ActionRead: "r", auth.ActionWrite: "w", auth.ActionDelete: "d", auth.ActionTags: "t",
			auth.ActionOwn: "o", auth.ActionACL: "a", auth.ActionKey: "k", auth.ActionService: "s", auth.ActionManage: "m", auth.ActionBatch: "b",
		} {
			r := request("Authorization", "Bearer "+token)
			r.Service, r.Container, r.Blob = c.service, c.container, ""
			_, err := g.Authorize(ctx, dev, r, &auth.Needs{Role: action})
			if err == nil {
				got += letter
				continue
			}
			require.ErrorIs(t, err, protocol.ErrAuthorizationPermissionMismatch)
		}
		sorted := ""
		for _, letter := range "-rwdtoaksmb" {
			if strings.ContainsRune(got, letter) {
				sorted += string(letter)
			}
		}
		require.Equal(t, c.want, sorted, "%v", c)
	}
	for _, text := range []string{"", "x", "=blob-reader", "x=boss", "user:x=blob-reader", "group:=blob-reader", "x=blob-reader@"} {
		_, err := bearer.ParseAssignment(text)
		require.Error(t, err, text)
	}
}

// A key for user delegation, from the request to the use of what is signed with it.
func TestUserDelegation(t *testing.T) {
	issuer := newTestIssuer(t)
	k1 := rsaKey(t, "k1")
	issuer.set(k1)
	roles := []bearer.Assignment{{ID: "user-1", Role: bearer.BlobReader}, {ID: "user-2", Role: bearer.BlobContributor}}
	g := newGate(t, bearer.Config{Issuer: issuer.URL, Roles: roles}, nil)
	needsKey := &auth.Needs{SAS: "*", AccountSAS: "*", ResourceTypes: "s", Role: auth.ActionKey, BearerOnly: true}
	keyOf := func(user, info string) (string, error) {
		r := request("Authorization", "Bearer "+issuer.sign(t, k1, jose.RS256, map[string]any{"oid": user}))
		r.Method, r.Container, r.Blob = "POST", "", ""
		grant, err := g.Authorize(ctx, dev, r, needsKey)
		require.NoError(t, err)
		answer, err := g.NewUserDelegationKey(ctx, dev, auth.Blob, &grant, "2026-12-06", now, []byte(info))
		return string(answer), err
	}
	answer, err := keyOf("user-1", "<KeyInfo><Start>2026-11-23T11:59:00Z</Start><Expiry>2026-11-24T12:00:00Z</Expiry></KeyInfo>")
	require.NoError(t, err)
	value := sas.DelegationKey{ObjectID: "user-1", TenantID: "tenant-1", Start: "2026-11-23T11:59:00Z", Expiry: "2026-11-24T12:00:00Z", Service: "b", Version: "2026-12-06"}.Value(dev)
	require.Equal(t, protocol.XMLHead+"<UserDelegationKey><SignedOid>user-1</SignedOid><SignedTid>tenant-1</SignedTid><SignedStart>2026-11-23T11:59:00Z</SignedStart>"+
		"<SignedExpiry>2026-11-24T12:00:00Z</SignedExpiry><SignedService>b</SignedService><SignedVersion>2026-12-06</SignedVersion><Value>"+value+"</Value></UserDelegationKey>", answer)

	for name, info := range map[string]string{
		"eight days":   "<KeyInfo><Start>2026-11-23T11:59:00Z</Start><Expiry>2026-12-01T12:00:00Z</Expiry></KeyInfo>",
		"expired":      "<KeyInfo><Start>2026-11-22T11:59:00Z</Start><Expiry>2026-11-23T12:00:00Z</Expiry></KeyInfo>",
		"reversed":     "<KeyInfo><Start>2026-11-24T11:59:00Z</Start><Expiry>2026-11-24T11:00:00Z</Expiry></KeyInfo>",
		"no expiry":    "<KeyInfo><Start>2026-11-24T11:59:00Z</Start></KeyInfo>",
		"not a time":   "<KeyInfo><Expiry>tomorrow</Expiry></KeyInfo>",
		"another root": "<Key><Expiry>2026-11-24T12:00:00Z</Expiry></Key>",
		"more":         "<KeyInfo><Expiry>2026-11-24T12:00:00Z</Expiry><X/></KeyInfo>",
		"broken":       "<KeyInfo>",
	} {
		_, err := keyOf("user-1", info)
		require.Equal(t, 400, err.(*protocol.Error).Status, name)
	}

	// Only a bearer token gets a key.
	r := request()
	r.Query = accountSAS(dev, "rwdl")
	_, err = g.Authorize(ctx, dev, r, needsKey)
	require.Equal(t, "Only authentication scheme Bearer is supported", err.(*protocol.Error).Details[0].Value)

	signed := func(user string, change func(q authtest.Pairs) authtest.Pairs) *auth.Request {
		r := request()
		q := authtest.Pairs{
			{Name: "sv", Value: "2025-07-05"}, {Name: "sr", Value: "b"}, {Name: "sp", Value: "rw"}, {Name: "se", Value: "2026-11-23T13:00:00Z"},
			{Name: "skoid", Value: user}, {Name: "sktid", Value: "tenant-1"}, {Name: "skt", Value: "2026-11-23T11:59:00Z"},
			{Name: "ske", Value: "2026-11-24T12:00:00Z"}, {Name: "sks", Value: "b"}, {Name: "skv", Value: "2026-12-06"},
		}
		if change != nil {
			q = change(q)
		}
		get := func(n string) string { v, _ := q.Get(n); return v }
		key := sas.DelegationKey{ObjectID: user, TenantID: "tenant-1", Start: get("skt"), Expiry: get("ske"), Service: "b", Version: "2026-12-06", DelegatedTenantID: get("skdutid")}.Derive(dev)
		message := strings.Join([]string{
			get("sp"), "", get("se"), "/blob/devstoreaccount1/c/b", user, "tenant-1", get("skt"), get("ske"), "b", "2026-12-06",
			"", "", "", get("skdutid"), get("sduoid"), "", "", "2025-07-05", "b", "", "", "", "", "", "", "",
		}, "\n")
		r.Query = append(q, authtest.Pair{Name: "sig", Value: key.Sign([]byte(message))})
		return r
	}
	write := &auth.Needs{SAS: "w|c", Role: auth.ActionWrite}

	t.Run("what signature and roles both allow", func(t *testing.T) {
		grant, err := g.Authorize(ctx, dev, signed("user-1", nil), read)
		require.NoError(t, err)
		require.Equal(t, "user-1", grant.Principal)
		_, err = g.Authorize(ctx, dev, signed("user-1", nil), write)
		require.ErrorIs(t, err, protocol.ErrAuthorizationPermissionMismatch, "a reader signed for writing")
		_, err = g.Authorize(ctx, dev, signed("user-2", nil), write)
		require.NoError(t, err)
		_, err = g.Authorize(ctx, dev, signed("user-3", nil), read)
		require.ErrorIs(t, err, protocol.ErrAuthorizationPermissionMismatch, "a maker without roles")
	})
	t.Run("the key's times", func(t *testing.T) {
		set := func(name, value string) func(authtest.Pairs) authtest.Pairs {
			return func(q authtest.Pairs) authtest.Pairs { return q.With(name, value) }
		}
		for _, c := range []struct{ name, value string }{{"ske", "2026-11-23T12:00:00Z"}, {"skt", "2026-11-23T12:00:01Z"}, {"ske", "2026-11-23T12:30:00Z"}, {"skt", "now"}} {
			_, err := g.Authorize(ctx, dev, signed("user-1", set(c.name, c.value)), read)
			require.ErrorIs(t, err, protocol.ErrAuthenticationFailed, c)
		}
	})
	t.Run("a new secret revokes all keys", func(t *testing.T) {
		revoked := *dev
		revoked.Delegation = account.GenerateKey()
		_, err := g.Authorize(ctx, &revoked, signed("user-1", nil), read)
		require.ErrorIs(t, err, protocol.ErrAuthenticationFailed)
	})
	t.Run("account keys may be switched off", func(t *testing.T) {
		keyless := *dev
		keyless.DenySharedKey = true
		_, err := g.Authorize(ctx, &keyless, signed("user-1", nil), read)
		require.NoError(t, err)
	})
	t.Run("a delegated user", func(t *testing.T) {
		delegate := func(q authtest.Pairs) authtest.Pairs {
			return append(q, authtest.Pair{Name: "sduoid", Value: "user-9"}, authtest.Pair{Name: "skdutid", Value: "tenant-1"})
		}
		_, err := g.Authorize(ctx, dev, signed("user-1", delegate), read)
		require.ErrorIs(t, err, protocol.ErrAuthenticationFailed, "without a token")
		for user, ok := range map[string]bool{"user-9": true, "user-1": false} {
			r := signed("user-1", delegate)
			r.Headers = r.Headers.(authtest.Pairs).With("Authorization", "Bearer "+issuer.sign(t, k1, jose.RS256, map[string]any{"oid": user}))
			_, err := g.Authorize(ctx, dev, r, read)
			require.Equal(t, ok, err == nil, "%s: %v", user, err)
		}
	})
}

// accountSAS is a good account SAS of sv 2018-11-09 for everything, with the permissions.
func accountSAS(a *account.Account, permissions string) authtest.Pairs {
	message := a.Name + "\n" + permissions + "\nbt\nsco\n\n2026-11-23T13:00:00Z\n\n\n2018-11-09\n"
	return authtest.Pairs{
		{Name: "sv", Value: "2018-11-09"}, {Name: "ss", Value: "bt"}, {Name: "srt", Value: "sco"}, {Name: "sp", Value: permissions},
		{Name: "se", Value: "2026-11-23T13:00:00Z"}, {Name: "sig", Value: a.Keys[0].Sign([]byte(message))},
	}
}

func FuzzToken(f *testing.F) {
	const issuer = "https://127.0.0.1:1"
	newVerifier := func(skip bool) *bearer.Verifier {
		v, err := bearer.New(bearer.Config{
			Issuer: issuer, InsecureSkipSignature: skip, Now: func() time.Time { return now }, Client: &http.Client{Transport: refuse{}},
		}, nil)
		if err != nil {
			f.Fatal(err)
		}
		return v
	}
	strict, claimsOnly := newVerifier(false), newVerifier(true)
	f.Add("Bearer a.b.c")
	f.Add("bearer eyJhbGciOiJub25lIn0.e30.")
	f.Add("Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6ImsifQ.e30.AAAA")
	for _, claims := range []string{
		`{"iss":"https://127.0.0.1:1","aud":"https://storage.azure.com","oid":"o","tid":"t","nbf":1,"exp":9999999999}`,
		`{"iss":"https://127.0.0.1:1","aud":["x","https://storage.azure.com"],"sub":"s","groups":["g",1],"roles":null,"exp":1e99}`,
		`{"iss":["https://127.0.0.1:1"],"aud":{},"oid":7,"exp":"tomorrow"}`,
	} {
		f.Add("Bearer " + base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".")
	}
	f.Fuzz(func(t *testing.T, authorization string) {
		token, ok := bearer.Token(authorization)
		if !ok {
			return
		}
		r := request("Authorization", authorization)
		if p, err := strict.Authenticate(ctx, r, token); err == nil {
			t.Fatalf("%q is %v", authorization, p)
		}
		// Without its signature, a token still is believed by its claims only.
		if _, err := claimsOnly.Authenticate(ctx, r, token); err == nil {
			claims, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
			if err != nil || !json.Valid(claims) {
				t.Fatalf("%q is believed: %q, %v", authorization, claims, err)
			}
		}
	})
}

// refuse is a network where nobody answers.
type refuse struct{}

func (refuse) RoundTrip(*http.Request) (*http.Response, error) { return nil, http.ErrServerClosed }
