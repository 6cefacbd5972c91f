// Package devissuer is a small OpenID Connect issuer for development: a bearer login then works on one machine with nothing else
// installed. It speaks as much of Microsoft Entra's dialect as azidentity, the JS identity library, azcopy and az CLI need: discovery,
// key set, and a token endpoint with client credentials and device code.
//
// It knows one client, whose secret the operator has, and lets whoever opens its device page approve a login. So it is to be
// served on a loopback address only; Listen refuses others. Its keys live as long as the process.
package devissuer

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/blobd/blobd/internal/directory"
	"github.com/blobd/blobd/internal/directory/issuer"
	"github.com/blobd/blobd/internal/protocol"
)

// The fixed identities.
const (
	Tenant   = "b10bd000-0000-4000-8000-000000000000" // tid
	ClientID = "b10bd000-0000-4000-8000-000000000001" // client id; also the oid of what it gets by client credentials
	UserID   = "b10bd000-0000-4000-8000-000000000002" // oid of who logs in by device code
)

// Lifetimes.
const (
	TokenLifetime   = time.Hour
	refreshLifetime = 24 * time.Hour
)

// Issuer issues tokens. It is an http.Handler.
type Issuer struct {
	base   string // https://127.0.0.1:10003
	secret string
	now    func() time.Time
	mux    *http.ServeMux
	logins issuer.Logins

	mu   sync.Mutex
	keys []signer // the newest last
}

type signer struct {
	id      string
	private *rsa.PrivateKey
}

// New returns an issuer at a base address, such as https://127.0.0.1:10003, with the secret of its client.
func New(base, secret string, now func() time.Time) (*Issuer, error) {
	i := &Issuer{base: base, secret: secret, now: now, mux: http.NewServeMux(), logins: issuer.Logins{Page: base + "/device", Interval: 1}}
	if err := i.Rotate(); err != nil {
		return nil, err
	}
	for _, version := range []string{"", "/v2.0"} {
		i.mux.HandleFunc("GET /{tenant}"+version+"/.well-known/openid-configuration", i.discovery)
	}
	i.mux.HandleFunc("GET /common/discovery/instance", i.instance)
	i.mux.HandleFunc("GET /{tenant}/discovery/v2.0/keys", i.keySet)
	i.mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", i.token)
	i.mux.HandleFunc("POST /{tenant}/oauth2/token", i.token)
	i.mux.HandleFunc("POST /{tenant}/oauth2/v2.0/devicecode", i.deviceCode)
	i.mux.HandleFunc("GET /device", i.devicePage)
	i.mux.HandleFunc("POST /device", i.approve)
	return i, nil
}

// ServeHTTP implements http.Handler. Whoever it signs in may do everything, so it speaks to programs and to its own page, and not to the
// pages of others in a browser on this machine: neither under a name of theirs nor across origins.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !protocol.LocalHost(r.Host, nil) {
		http.Error(w, "this issuer is for this machine only; use an IP address or localhost", http.StatusMisdirectedRequest)
		return
	}
	if origin := r.Header.Get("Origin"); origin != "" && origin != "http://"+r.Host && origin != "https://"+r.Host {
		http.Error(w, "this issuer does not speak to pages of other origins", http.StatusForbidden)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	w.Header().Set("Cache-Control", "no-store")
	i.mux.ServeHTTP(w, r)
}

// URL is the iss of the tokens.
func (i *Issuer) URL() string { return i.base + "/" + Tenant + "/v2.0" }

// Client returns a client that asks the issuer within this process.
func (i *Issuer) Client() *http.Client { return issuer.Client(i) }

// AuthorizationURI is what a challenge names.
func (i *Issuer) AuthorizationURI() string { return i.base + "/" + Tenant + "/oauth2/authorize" }

// Rotate makes a new signing key. The one before stays in the key set, older ones go.
func (i *Issuer) Rotate() error {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("make a signing key: %w", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = append(i.keys, signer{random(16), private})
	if len(i.keys) > 2 {
		i.keys = i.keys[1:]
	}
	return nil
}

func random(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

func (i *Issuer) discovery(w http.ResponseWriter, r *http.Request) {
	tenant := i.base + "/" + r.PathValue("tenant")
	reply(w, http.StatusOK, map[string]any{
		"issuer":                                i.URL(),
		"authorization_endpoint":                i.AuthorizationURI(),
		"token_endpoint":                        tenant + "/oauth2/v2.0/token",
		"device_authorization_endpoint":         tenant + "/oauth2/v2.0/devicecode",
		"jwks_uri":                              tenant + "/discovery/v2.0/keys",
		"response_types_supported":              []string{"token"},
		"subject_types_supported":               []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"grant_types_supported":                 []string{"client_credentials", issuer.DeviceGrant, "refresh_token"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "client_secret_basic"},
	})
}

// instance tells the clients' library that this host is its own authority.
func (i *Issuer) instance(w http.ResponseWriter, r *http.Request) {
	host := strings.TrimPrefix(strings.TrimPrefix(i.base, "https://"), "http://")
	reply(w, http.StatusOK, map[string]any{
		"tenant_discovery_endpoint": i.base + "/" + Tenant + "/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata":                  []map[string]any{{"preferred_network": host, "preferred_cache": host, "aliases": []string{host}}},
	})
}

func (i *Issuer) keySet(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	var set jose.JSONWebKeySet
	for _, k := range i.keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.private.Public(), KeyID: k.id, Algorithm: string(jose.RS256), Use: "sig"})
	}
	reply(w, http.StatusOK, set)
}

func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		fail(w, "invalid_request", "the form cannot be read")
		return
	}
	scope := r.PostForm.Get("scope")
	if scope == "" {
		scope = r.PostForm.Get("resource")
	}
	switch grant := r.PostForm.Get("grant_type"); grant {
	case "client_credentials":
		id, secret, ok := r.BasicAuth()
		if !ok {
			id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
		}
		if id != ClientID || subtle.ConstantTimeCompare([]byte(secret), []byte(i.secret)) != 1 {
			fail(w, "invalid_client", "client id or secret is wrong")
			return
		}
		i.grant(w, ClientID, scope, false)
	case issuer.DeviceGrant, "device_code":
		d, refused := i.logins.Redeem(i.now(), r.PostForm.Get("device_code"), "")
		if refused != nil {
			fail(w, refused.Code, refused.Text)
			return
		}
		i.grant(w, UserID, d.Scope, true)
	case "refresh_token":
		if !i.verifyRefresh(r.PostForm.Get("refresh_token")) {
			fail(w, "invalid_grant", "the refresh token is not good any more")
			return
		}
		i.grant(w, UserID, scope, true)
	default:
		fail(w, "unsupported_grant_type", "client_credentials, device_code and refresh_token are supported")
	}
}

// grant answers with tokens for somebody.
func (i *Issuer) grant(w http.ResponseWriter, objectID, scope string, user bool) {
	audience := audienceOf(scope)
	access, err := i.Sign(map[string]any{"aud": audience, "oid": objectID, "sub": objectID, "appid": ClientID})
	if err != nil {
		http.Error(w, "", http.StatusInternalServerError)
		return
	}
	answer := map[string]any{
		"token_type": "Bearer", "access_token": access, "expires_in": int(TokenLifetime / time.Second),
		"ext_expires_in": int(TokenLifetime / time.Second), "scope": scope, "resource": audience,
		"expires_on": fmt.Sprint(i.now().Add(TokenLifetime).Unix()),
	}
	if user {
		id, err1 := i.sign(identity, map[string]any{"aud": ClientID, "oid": objectID, "sub": objectID, "preferred_username": "developer@localhost", "name": "Developer"})
		again, err2 := i.sign(refresh, map[string]any{"aud": refreshAudience, "oid": objectID, "sub": objectID, "exp": i.now().Add(refreshLifetime).Unix()})
		if err1 != nil || err2 != nil {
			http.Error(w, "", http.StatusInternalServerError)
			return
		}
		answer["id_token"], answer["refresh_token"] = id, again
		answer["client_info"] = base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"uid":%q,"utid":%q}`, objectID, Tenant))
	}
	reply(w, http.StatusOK, answer)
}

// The uses of a token. A token says its use in the type of its header, which nobody else chooses, so none is taken for another.
const (
	access   = "JWT"
	identity = "id+jwt"
	refresh  = "refresh+jwt"

	refreshAudience = "urn:blobd:refresh"
)

// audienceOf is the resource of which a scope speaks.
func audienceOf(scope string) string {
	for s := range strings.FieldsSeq(scope) {
		if resource, ok := strings.CutSuffix(s, "/.default"); ok {
			return strings.TrimSuffix(resource, "/")
		}
		if resource, ok := strings.CutSuffix(s, "/user_impersonation"); ok {
			return strings.TrimSuffix(resource, "/")
		}
		if strings.HasPrefix(s, "https://") {
			return strings.TrimSuffix(s, "/")
		}
	}
	return "https://storage.azure.com"
}

// Sign makes an access token of claims, which replace the usual ones.
func (i *Issuer) Sign(claims map[string]any) (string, error) { return i.sign(access, claims) }

func (i *Issuer) sign(use jose.ContentType, claims map[string]any) (string, error) {
	i.mu.Lock()
	key := i.keys[len(i.keys)-1]
	i.mu.Unlock()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key.private}, (&jose.SignerOptions{}).WithType(use).WithHeader("kid", key.id))
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	now := i.now()
	all := map[string]any{
		"iss": i.URL(), "tid": Tenant, "ver": "2.0", "jti": random(16),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(TokenLifetime).Unix(),
	}
	for name, value := range claims {
		all[name] = value
	}
	return jwt.Signed(s).Claims(all).Serialize()
}

func (i *Issuer) verifyRefresh(token string) bool {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil || len(parsed.Headers) != 1 || parsed.Headers[0].ExtraHeaders[jose.HeaderType] != refresh {
		return false
	}
	i.mu.Lock()
	keys := i.keys
	i.mu.Unlock()
	for _, k := range keys {
		var c jwt.Claims
		if parsed.Claims(k.private.Public(), &c) == nil {
			return c.ValidateWithLeeway(jwt.Expected{Issuer: i.URL(), Subject: UserID, AnyAudience: jwt.Audience{refreshAudience}, Time: i.now()}, 0) == nil
		}
	}
	return false
}

func (i *Issuer) deviceCode(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		fail(w, "invalid_request", "the form cannot be read")
		return
	}
	answer := i.logins.Begin(i.now(), "", r.PostForm.Get("scope"), "")
	if answer == nil {
		fail(w, "temporarily_unavailable", "too many logins are under way")
		return
	}
	reply(w, http.StatusOK, answer)
}

var page = template.Must(template.New("device").Parse(`<!doctype html><html lang="en"><meta charset="utf-8"><title>blobd: sign in</title>
<h1>blobd development sign-in</h1>{{if .Done}}<p>Done. You can close this page.</p>{{else}}{{if .Wrong}}<p>There is no such code.</p>{{end}}
<form method="post"><label>Code <input name="user_code" autofocus autocomplete="off"></label> <button>Approve</button></form>{{end}}</html>`))

func (i *Issuer) devicePage(w http.ResponseWriter, _ *http.Request) { show(w, false, false) }

// approve takes the code that a person has typed.
func (i *Issuer) approve(w http.ResponseWriter, r *http.Request) {
	found := i.logins.Approve(i.now(), r.PostFormValue("user_code"), &directory.Principal{ObjectID: UserID})
	show(w, found, !found)
}

func show(w http.ResponseWriter, done, wrong bool) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	_ = page.Execute(w, struct{ Done, Wrong bool }{done, wrong})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// fail answers with an error as OAuth has it (RFC 6749, section 5.2).
func fail(w http.ResponseWriter, code, description string) {
	reply(w, http.StatusBadRequest, map[string]string{"error": code, "error_description": description})
}

// Server serves an Issuer on a loopback address.
type Server struct {
	*Issuer
	http   *http.Server
	served chan error
}

// Listen starts an issuer on a loopback address; with a certificate, over HTTPS, which the SDKs' identity libraries insist on.
func Listen(addr, secret string, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) (*Server, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("development issuer: %w", err)
	}
	if ip := ln.Addr().(*net.TCPAddr).IP; !ip.IsLoopback() {
		return nil, errors.Join(fmt.Errorf("development issuer: %s is not a loopback address", addr), ln.Close())
	}
	scheme := "http"
	if certificate != nil {
		scheme = "https"
		ln = tls.NewListener(ln, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate, NextProtos: []string{"http/1.1"}})
	}
	own, err := New(scheme+"://"+ln.Addr().String(), secret, time.Now)
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	s := &Server{
		Issuer: own, served: make(chan error, 1),
		http: &http.Server{Handler: own, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10},
	}
	go func() { s.served <- s.http.Serve(ln) }()
	return s, nil
}

// Close stops the issuer and waits for it.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if served := <-s.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
