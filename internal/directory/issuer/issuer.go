// Package issuer signs in the principals of a directory: an OpenID Connect issuer that speaks the dialects of AD FS, which works offline
// with every az, and of Entra. It has discovery, the key set, and a token endpoint with client credentials, password, device code and
// refresh tokens.
//
// A token says who its holder is, never what he may do: that is asked of the directory at each request. So a principal that is disabled
// or removed is out at once, whatever tokens it has.
package issuer

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"

	"github.com/blobd/blobd/internal/directory"
)

// Lifetimes.
const (
	TokenLifetime   = time.Hour + 10*time.Minute // clients renew early
	refreshLifetime = 90 * 24 * time.Hour
	// clockLeeway is how far the clock may run back.
	clockLeeway = time.Minute
)

// Issuer is an http.Handler.
type Issuer struct {
	base      string // https://management.example:10003
	directory *directory.Directory
	now       func() time.Time
	mux       *http.ServeMux
	logins    Logins
}

// New returns an issuer at a base address without a slash at its end.
func New(base string, d *directory.Directory, now func() time.Time) *Issuer {
	i := &Issuer{base: base, directory: d, now: now, mux: http.NewServeMux(), logins: Logins{Page: base + "/adfs/device", Interval: 2}}
	for _, p := range []string{"/adfs", "/{tenant}", "/{tenant}/v2.0"} {
		i.mux.HandleFunc("GET "+p+"/.well-known/openid-configuration", i.inTenant(i.discovery))
	}
	i.mux.HandleFunc("GET /common/discovery/instance", i.instance)
	for _, p := range []string{"/adfs/discovery/keys", "/{tenant}/discovery/v2.0/keys", "/{tenant}/discovery/keys"} {
		i.mux.HandleFunc("GET "+p, i.inTenant(i.keySet))
	}
	for _, p := range []string{"/adfs/oauth2/token", "/adfs/{tenant}/oauth2/token", "/{tenant}/oauth2/v2.0/token", "/{tenant}/oauth2/token"} {
		i.mux.HandleFunc("POST "+p, i.inTenant(i.token))
	}
	for _, p := range []string{"/adfs/oauth2/devicecode", "/{tenant}/oauth2/v2.0/devicecode", "/{tenant}/oauth2/devicecode"} {
		i.mux.HandleFunc("POST "+p, i.inTenant(i.deviceCode))
	}
	i.mux.HandleFunc("GET /adfs/device", i.devicePage)
	i.mux.HandleFunc("POST /adfs/device", i.approve)
	return i
}

const maxForm = 64 << 10 // bytes

// ServeHTTP implements http.Handler.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	w.Header().Set("Cache-Control", "no-store")
	i.mux.ServeHTTP(w, r)
}

// clientOf is the address of who asks.
func clientOf(r *http.Request) netip.Addr {
	a, _ := netip.ParseAddrPort(r.RemoteAddr)
	return a.Addr().Unmap()
}

// Serves reports whether a path is the issuer's. Its first segment may be anything, so the rest of it tells.
func Serves(path string) bool {
	for _, part := range []string{"/.well-known/openid-configuration", "/discovery/", "/oauth2/"} {
		if strings.Contains(path, part) {
			return !strings.HasPrefix(strings.ToLower(path), "/subscriptions/")
		}
	}
	return path == "/adfs/device"
}

// URL is the iss of the tokens. Tools take its last segment for the directory's id.
func (i *Issuer) URL() string { return i.base + "/adfs/" + i.directory.Tenant() }

// Metadata is the address of the discovery document.
func (i *Issuer) Metadata() string { return i.base + "/adfs/.well-known/openid-configuration" }

// AuthorizationURI is what a challenge names. Clients take its first path segment for the tenant.
func (i *Issuer) AuthorizationURI() string { return i.base + "/" + i.directory.Tenant() }

// inTenant refuses what names another tenant than the one there is.
func (i *Issuer) inTenant(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch t := strings.ToLower(r.PathValue("tenant")); t {
		case "", "adfs", "common", "organizations", i.directory.Tenant():
			h(w, r)
		default:
			fail(w, http.StatusBadRequest, "invalid_tenant", 90002, "Tenant '"+t+"' not found. Check to make sure you have the correct tenant ID.")
		}
	}
}

func (i *Issuer) discovery(w http.ResponseWriter, r *http.Request) {
	at, token, devices, keys := i.base+"/adfs", "/oauth2/token", "/oauth2/devicecode", "/discovery/keys"
	if t := r.PathValue("tenant"); t != "" && !strings.EqualFold(t, "adfs") {
		at, token, devices, keys = i.base+"/"+i.directory.Tenant(), "/oauth2/v2.0/token", "/oauth2/v2.0/devicecode", "/discovery/v2.0/keys"
	}
	reply(w, http.StatusOK, map[string]any{
		"issuer":                                i.URL(),
		"authorization_endpoint":                at + "/oauth2/authorize",
		"token_endpoint":                        at + token,
		"device_authorization_endpoint":         at + devices,
		"jwks_uri":                              at + keys,
		"response_types_supported":              []string{"token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{string(jose.RS256)},
		"grant_types_supported":                 []string{"client_credentials", "password", DeviceGrant, "refresh_token"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "client_secret_basic"},
	})
}

// instance tells the clients' library that this host is its own authority.
func (i *Issuer) instance(w http.ResponseWriter, _ *http.Request) {
	host := strings.TrimPrefix(i.base, "https://")
	reply(w, http.StatusOK, map[string]any{
		"tenant_discovery_endpoint": i.base + "/" + i.directory.Tenant() + "/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata":                  []map[string]any{{"preferred_network": host, "preferred_cache": host, "aliases": []string{host}}},
	})
}

func (i *Issuer) keySet(w http.ResponseWriter, r *http.Request) {
	if _, err := i.directory.Signer(r.Context()); err != nil { // so that there is one before the first token
		fail(w, http.StatusServiceUnavailable, "temporarily_unavailable", 90033, "The keys cannot be had.")
		return
	}
	var set jose.JSONWebKeySet
	for _, s := range i.directory.Signers() {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: s.Private.Public(), KeyID: s.ID, Algorithm: string(jose.RS256), Use: "sig"})
	}
	reply(w, http.StatusOK, set)
}

// storageApplication is the id by which Azure Storage is known as a resource: nobody signs in as it.
const storageApplication = "e406a681-f3d4-42a8-90b6-c2b029497af1"

func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		fail(w, http.StatusBadRequest, "invalid_request", 90014, "The form cannot be read.")
		return
	}
	f := r.PostForm
	client := f.Get("client_id")
	scope := f.Get("scope")
	if scope == "" {
		scope = f.Get("resource")
	}
	grant := f.Get("grant_type")
	if grant == "client_credentials" {
		secret := f.Get("client_secret")
		if id, s, ok := r.BasicAuth(); ok {
			client, secret = id, s
		}
		p, err := i.directory.Authenticate(r.Context(), clientOf(r), directory.ServicePrincipal, client, secret)
		if err != nil {
			i.refuse(w, err, http.StatusUnauthorized, "invalid_client", 7000215, "Invalid client secret provided.")
			return
		}
		i.grant(w, r, p, p.AppID, scope)
		return
	}
	if uuid.Validate(client) != nil || strings.EqualFold(client, storageApplication) { // what a token for a user is made out to is never the name of a resource
		fail(w, http.StatusBadRequest, "invalid_client", 900144, "The request body must contain the following parameter: 'client_id', the id of an application.")
		return
	}
	switch grant {
	case "password":
		p, err := i.directory.Authenticate(r.Context(), clientOf(r), directory.User, f.Get("username"), f.Get("password"))
		if err != nil {
			i.refuse(w, err, http.StatusBadRequest, "invalid_grant", 50126, "Error validating credentials due to invalid username or password.")
			return
		}
		i.grant(w, r, p, client, scope)
	case DeviceGrant, "device_code":
		i.grantDevice(w, r, f.Get("device_code"), f.Get("code"), client)
	case "refresh_token":
		p := i.refreshed(f.Get("refresh_token"), client)
		if p == nil {
			fail(w, http.StatusBadRequest, "invalid_grant", 70043, "The refresh token has expired or is invalid.")
			return
		}
		i.grant(w, r, p, client, scope)
	default:
		fail(w, http.StatusBadRequest, "unsupported_grant_type", 70003, "client_credentials, password, device_code and refresh_token are supported.")
	}
}

// refuse words why somebody is not let in; usual is the answer to a wrong name or secret.
func (i *Issuer) refuse(w http.ResponseWriter, err error, status int, code string, number int, usual string) {
	switch {
	case errors.Is(err, directory.ErrWrongSecret):
		fail(w, status, code, number, usual)
	case errors.Is(err, directory.ErrLocked):
		fail(w, http.StatusBadRequest, code, 50053, "The account is locked: too many wrong passwords. Try again in a minute.")
	default:
		w.Header().Set("Retry-After", "1")
		fail(w, http.StatusServiceUnavailable, "temporarily_unavailable", 90033, "A transient error has occurred. Please try again.")
	}
}

// grant answers with tokens for somebody.
func (i *Issuer) grant(w http.ResponseWriter, r *http.Request, p *directory.Principal, client, scope string) {
	audience := audienceOf(scope)
	if audience == "" || len(audience) > 512 {
		fail(w, http.StatusBadRequest, "invalid_scope", 70011, "The provided value for the input parameter 'scope' names no resource: <resource>/.default is needed.")
		return
	}
	claims := map[string]any{"aud": audience, "oid": p.ObjectID, "sub": p.ObjectID, "appid": client, "azp": client, "idtyp": "app"}
	if p.Kind == directory.User {
		claims["idtyp"], claims["upn"], claims["unique_name"], claims["name"] = "user", p.Name, p.Name, p.Name
	}
	now := i.now()
	access, err := i.sign(r.Context(), use{access, TokenLifetime}, claims)
	if err != nil {
		fail(w, http.StatusServiceUnavailable, "temporarily_unavailable", 90033, "A transient error has occurred. Please try again.")
		return
	}
	seconds := int(TokenLifetime / time.Second)
	answer := map[string]any{
		"token_type": "Bearer", "access_token": access, "expires_in": seconds, "ext_expires_in": seconds, "scope": scope, "resource": audience,
		"expires_on": fmt.Sprint(now.Add(TokenLifetime).Unix()), "not_before": fmt.Sprint(now.Unix()),
	}
	if p.Kind == directory.User {
		id, err1 := i.sign(r.Context(), use{identity, TokenLifetime}, map[string]any{
			"aud": client, "oid": p.ObjectID, "sub": p.ObjectID, "upn": p.Name, "preferred_username": p.Name, "name": p.Name})
		again, err2 := i.sign(r.Context(), use{refresh, refreshLifetime}, map[string]any{
			"aud": refreshAudience, "oid": p.ObjectID, "sub": p.ObjectID, "appid": client, "since": p.Since.UnixMicro()})
		if err1 != nil || err2 != nil {
			fail(w, http.StatusServiceUnavailable, "temporarily_unavailable", 90033, "A transient error has occurred. Please try again.")
			return
		}
		answer["id_token"], answer["refresh_token"] = id, again
		answer["client_info"] = base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"uid":%q,"utid":%q}`, p.ObjectID, i.directory.Tenant()))
	}
	reply(w, http.StatusOK, answer)
}

// audienceOf is the resource of which a scope speaks, empty for none.
func audienceOf(scope string) string {
	for s := range strings.FieldsSeq(scope) {
		for _, end := range []string{"/.default", "/user_impersonation"} {
			if resource, ok := strings.CutSuffix(s, end); ok {
				return resource
			}
		}
	}
	for s := range strings.FieldsSeq(scope) {
		switch s {
		case "openid", "offline_access", "profile", "email":
		default:
			return s
		}
	}
	return ""
}

// The uses of a token. A token says its use in the type of its header, so none is taken for another.
const (
	access   = "JWT"
	identity = "id+jwt"
	refresh  = "refresh+jwt"

	refreshAudience = "urn:blobd:refresh"
)

type use struct {
	typ  string
	life time.Duration
}

func (i *Issuer) sign(ctx context.Context, u use, claims map[string]any) (string, error) {
	key, err := i.directory.Signer(ctx)
	if err != nil {
		return "", err
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key.Private}, (&jose.SignerOptions{}).WithType(jose.ContentType(u.typ)).WithHeader("kid", key.ID))
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	now := i.now()
	all := map[string]any{
		"iss": i.URL(), "tid": i.directory.Tenant(), "ver": "1.0", "jti": uuid.NewString(),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(u.life).Unix(),
	}
	for name, value := range claims {
		all[name] = value
	}
	return jwt.Signed(s).Claims(all).Serialize()
}

// Claims are what a token of this issuer says.
type Claims struct {
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	ObjectID string `json:"oid"`
	TenantID string `json:"tid"`
	AppID    string `json:"appid"`
	Expiry   int64  `json:"exp"`
	Before   int64  `json:"nbf"`
	Since    int64  `json:"since"`
}

// Refusals of Verify.
var (
	ErrToken   = errors.New("the token is not of this issuer, or is malformed")
	ErrExpired = errors.New("the token has expired")
)

func (i *Issuer) verify(token, typ string) (*Claims, error) {
	if len(token) > 16<<10 {
		return nil, ErrToken
	}
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil || len(jws.Signatures) != 1 {
		return nil, ErrToken
	}
	header := jws.Signatures[0].Protected
	if t, _ := header.ExtraHeaders[jose.HeaderType].(string); t != typ {
		return nil, ErrToken
	}
	for _, s := range i.directory.Signers() {
		if s.ID != header.KeyID {
			continue
		}
		payload, err := jws.Verify(s.Private.Public())
		if err != nil {
			return nil, ErrToken
		}
		c := new(Claims)
		if json.Unmarshal(payload, c) != nil || c.Issuer != i.URL() || c.TenantID != i.directory.Tenant() {
			return nil, ErrToken
		}
		now := i.now()
		switch {
		case now.Unix() >= c.Expiry:
			return nil, ErrExpired
		case now.Add(clockLeeway).Unix() < c.Before:
			return nil, ErrToken
		}
		return c, nil
	}
	return nil, ErrToken
}

// Verify returns who holds an access token, and what it is made out to.
func (i *Issuer) Verify(token string) (p *directory.Principal, audience string, err error) {
	c, err := i.verify(token, access)
	if err != nil {
		return nil, "", err
	}
	if p = i.directory.Principal(c.ObjectID); p == nil || p.Disabled {
		return nil, "", ErrToken
	}
	return p, c.Audience, nil
}

// refreshed returns whose a refresh token is, nil if it is not good for the client any more.
func (i *Issuer) refreshed(token, client string) *directory.Principal {
	c, err := i.verify(token, refresh)
	if err != nil || c.Audience != refreshAudience || !strings.EqualFold(c.AppID, client) {
		return nil
	}
	p := i.directory.Principal(c.ObjectID)
	if p == nil || p.Disabled || p.Since.UnixMicro() != c.Since {
		return nil
	}
	return p
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a failure is the client's
}

// fail answers with an error as OAuth has it (RFC 6749, section 5.2), with a number of Entra's, which clients print.
func fail(w http.ResponseWriter, status int, code string, number int, description string) {
	reply(w, status, map[string]any{"error": code, "error_description": fmt.Sprintf("AADSTS%d: %s", number, description), "error_codes": []int{number}})
}
