// Package bearer checks OAuth access tokens of an OpenID Connect issuer and knows what their holders may do.
//
// A token is believed only if a key of the issuer's current key set, named by the token, has signed it with RS256 or ES256, and
// issuer, audience and times are right (REST page "Authorize with Microsoft Entra ID"). Verified tokens are remembered by their hash for a few minutes, so
// that one costs a look-up and not a signature check; a changed key set forgets them all.
package bearer

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// Resource is what tokens for Azure Storage are made out to.
const Resource = "https://storage.azure.com"

// storageAppID is the application id of Azure Storage, which some tokens have as their audience.
const storageAppID = "e406a681-f3d4-42a8-90b6-c2b029497af1"

// Config says whose tokens are believed.
type Config struct {
	// Issuer is the iss of its tokens.
	Issuer string
	// Metadata is the address of its discovery document; empty for the one under Issuer.
	Metadata string
	// AuthorizationURI is where the challenge sends clients; empty for what the discovery document says. Clients take its first
	// path segment for the tenant.
	AuthorizationURI string
	// Audiences are accepted besides those of Azure Storage.
	Audiences []string
	// Roles says who may do what.
	Roles []Assignment
	// Assigned, if set, is asked for further roles of a principal at an account, at every request.
	Assigned func(p *Principal, a *account.Account) []Assignment
	// InsecureSkipSignature believes unsigned tokens: claims are checked, signatures are not. For tests of clients only.
	InsecureSkipSignature bool
	// AllowHTTP takes tokens over plain HTTP from other machines too. Whoever listens on the way can use them.
	AllowHTTP bool
	// Client fetches the discovery document and the keys; nil for one with a timeout.
	Client *http.Client
	// Now is the clock for the age of keys; nil for time.Now.
	Now func() time.Time
}

// Verifier checks tokens. It is safe for concurrent use.
type Verifier struct {
	config    Config
	keys      *keySet
	directory *Directory

	mu    sync.Mutex
	cache map[[sha256.Size]byte]cached
}

type cached struct {
	claims     *claims
	until      time.Time
	generation uint64
}

const (
	maxToken    = 16 << 10        // bytes
	maxCached   = 4096            // tokens
	cacheFor    = 5 * time.Minute // after which a token is checked again
	clockLeeway = 5 * time.Minute // for nbf: how far the issuer's clock may run ahead
)

// New returns a Verifier. directory keeps who asked for user delegation keys.
func New(c Config, directory *Directory) (*Verifier, error) {
	if c.Issuer == "" {
		return nil, errors.New("an issuer is needed to check tokens")
	}
	if c.Metadata == "" {
		c.Metadata = strings.TrimSuffix(c.Issuer, "/") + "/.well-known/openid-configuration"
	}
	if c.Client == nil {
		c.Client = &http.Client{Timeout: 10 * time.Second}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if directory == nil {
		directory = &Directory{}
	}
	return &Verifier{config: c, keys: newKeySet(&c), directory: directory, cache: map[[sha256.Size]byte]cached{}}, nil
}

// Principal is the holder of a token.
type Principal struct {
	ObjectID string   `json:"oid"`
	TenantID string   `json:"tid"`
	Groups   []string `json:"groups,omitempty"`
	AppRoles []string `json:"roles,omitempty"`
}

type claims struct {
	Issuer   string   `json:"iss"`
	Audience audience `json:"aud"`
	Expiry   float64  `json:"exp"`
	Before   float64  `json:"nbf"`
	Subject  string   `json:"sub"`
	ObjectID string   `json:"oid"`
	TenantID string   `json:"tid"`
	Groups   []string `json:"groups"`
	Roles    []string `json:"roles"`
}

// audience is one string or several.
type audience []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audience) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]string)(a))
	}
	var one string
	if err := json.Unmarshal(b, &one); err != nil {
		return err
	}
	*a = audience{one}
	return nil
}

// Token returns the token of an Authorization header.
func Token(authorization string) (string, bool) {
	scheme, token, ok := strings.Cut(authorization, " ")
	return token, ok && strings.EqualFold(scheme, "Bearer")
}

// Authenticate checks a token for the account and service that the request addresses.
func (v *Verifier) Authenticate(ctx context.Context, r *auth.Request, token string) (*Principal, error) {
	if r.Service == auth.Blob && r.Version < protocol.V20171109 {
		return nil, auth.Failed("Authentication scheme Bearer is not supported in this version.")
	}
	if !r.HTTPS && !v.config.AllowHTTP && !r.Client.Unmap().IsLoopback() {
		return nil, auth.Failed("Authentication scheme Bearer is not allowed over HTTP.")
	}
	c, err := v.verify(ctx, token)
	if err != nil {
		return nil, v.refuse(ctx, err)
	}
	if err := v.check(c, r); err != nil {
		return nil, v.refuse(ctx, err)
	}
	p := &Principal{ObjectID: c.ObjectID, TenantID: c.TenantID, Groups: c.Groups, AppRoles: c.Roles}
	if p.ObjectID == "" {
		p.ObjectID = c.Subject // issuers other than Entra name the holder only here
	}
	if p.ObjectID == "" {
		return nil, v.refuse(ctx, reason("The token names no holder."))
	}
	return p, nil
}

// verify returns the claims of a token that the issuer has signed.
func (v *Verifier) verify(ctx context.Context, token string) (*claims, error) {
	if len(token) > maxToken {
		return nil, errMalformed
	}
	if v.config.InsecureSkipSignature {
		return unsigned(token)
	}
	hash := sha256.Sum256([]byte(token))
	now := v.config.Now()
	v.mu.Lock()
	hit, ok := v.cache[hash]
	v.mu.Unlock()
	if ok && now.Before(hit.until) && hit.generation == v.keys.generation.Load() {
		return hit.claims, nil
	}
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil || len(jws.Signatures) != 1 {
		return nil, errMalformed
	}
	header := jws.Signatures[0].Header
	if typ, _ := header.ExtraHeaders[jose.HeaderType].(string); !isAccess(typ) {
		return nil, errMalformed
	}
	key, generation, err := v.keys.find(ctx, header.KeyID, header.Algorithm)
	if err != nil {
		return nil, err
	}
	payload, err := jws.Verify(key)
	if err != nil {
		return nil, errSignature
	}
	c := new(claims)
	if err := json.Unmarshal(payload, c); err != nil {
		return nil, errMalformed
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.cache) >= maxCached {
		clear(v.cache)
	}
	v.cache[hash] = cached{c, now.Add(cacheFor), generation}
	return c, nil
}

// isAccess tells whether a token of that type may be an access token (RFC 8725, section 3.11, and RFC 9068): one that says that it is
// another's, as identity and refresh tokens of the issuers here do, is not, whatever its audience.
func isAccess(typ string) bool {
	typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
	return typ == "" || typ == "jwt" || typ == "at+jwt"
}

// unsigned reads the claims of a token without looking at its signature.
func unsigned(token string) (*claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errMalformed
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, errMalformed
	}
	c := new(claims)
	if err := json.Unmarshal(payload, c); err != nil {
		return nil, errMalformed
	}
	return c, nil
}

// reason is why a token is refused, as the service words it.
type reason string

func (r reason) Error() string { return string(r) }

const (
	errMalformed reason = "Signature validation failed. The token is malformed."
	errSignature reason = "Signature validation failed. Signature verification failed."
	errNoKey     reason = "Signature validation failed. Signature key not found."
)

func (v *Verifier) check(c *claims, r *auth.Request) error {
	now := r.Now
	switch {
	case c.Issuer != v.config.Issuer:
		return reason("Issuer validation failed. Issuer did not match.")
	case !slices.ContainsFunc(c.Audience, func(a string) bool { return v.audience(a, r) }):
		return reason("Audience validation failed. Audience did not match.")
	case c.Expiry <= 0 || !now.Before(seconds(c.Expiry)):
		return reason("Lifetime validation failed. The token is expired.")
	case c.Before > 0 && now.Add(clockLeeway).Before(seconds(c.Before)):
		return reason("Lifetime validation failed. The token is not yet valid.")
	}
	return nil
}

func seconds(s float64) time.Time {
	if s > 1e12 {
		s = 1e12
	}
	return time.UnixMilli(int64(s * 1000))
}

// clouds are the domains under which Azure Storage has its accounts.
var clouds = []string{"core.windows.net", "core.chinacloudapi.cn", "core.usgovcloudapi.net", "core.cloudapi.de"}

// audience reports whether a token made out to a is for this account.
func (v *Verifier) audience(a string, r *auth.Request) bool {
	a = strings.TrimSuffix(a, "/")
	if a == Resource || a == storageAppID || slices.Contains(v.config.Audiences, a) {
		return true
	}
	host, ok := strings.CutPrefix(a, "https://"+r.Account+"."+r.Service.String()+".")
	return ok && slices.Contains(clouds, host)
}

// refuse is the answer to a bad token. Other failures, such as an issuer out of reach, are not the token's fault.
func (v *Verifier) refuse(ctx context.Context, err error) error {
	var why reason
	if !errors.As(err, &why) {
		return protocol.ErrServerBusy.Because(err)
	}
	return protocol.ErrInvalidBearerToken.WithHeader("WWW-Authenticate", v.challenge(ctx)).With("AuthenticationErrorDetail", string(why))
}

// Challenge is the answer to a caller without credentials, who may get a token.
func (v *Verifier) Challenge(ctx context.Context) error {
	return protocol.ErrNoAuthenticationInformation.WithHeader("WWW-Authenticate", v.challenge(ctx))
}

// challenge is as the clients parse it: unquoted, separated by a space.
func (v *Verifier) challenge(ctx context.Context) string {
	uri := v.config.AuthorizationURI
	if uri == "" {
		uri = v.keys.authorizationURI(ctx)
	}
	if uri == "" {
		uri = v.config.Issuer
	}
	return "Bearer authorization_uri=" + uri + " resource_id=" + Resource
}

// Roles returns what the principal may do in an account's service.
func (v *Verifier) Roles(p *Principal, acct *account.Account, service auth.Service) func(auth.Action, string) bool {
	name, roles := acct.Name, v.config.Roles
	if v.config.Assigned != nil {
		roles = append(roles[:len(roles):len(roles)], v.config.Assigned(p, acct)...)
	}
	return func(a auth.Action, container string) bool {
		return allows(roles, p, name, service, a, container)
	}
}

// Directory returns who asked for user delegation keys.
func (v *Verifier) Directory() *Directory { return v.directory }

// Directory remembers the groups and roles of those who asked for user delegation keys, as a signature made with such a key
// names its maker by the object id alone. The zero Directory remembers until the end of the process.
type Directory struct {
	store engine.Store
	mu    sync.RWMutex
	known map[[2]string]*Principal
}

// OpenDirectory reads a Directory from the store, where an entry is one JSON object in engine.SpaceAccount under
// "principal/<tenant>/<object id>/", after the version byte 1. Tenant and object id are in hexadecimal.
func OpenDirectory(ctx context.Context, store engine.Store) (*Directory, error) {
	d := &Directory{store: store, known: map[[2]string]*Principal{}}
	scope := []byte("principal/")
	err := store.View(ctx, scope, func(r engine.Reader) error {
		it := r.Scan(engine.SpaceAccount, scope, []byte("principal0"))
		for it.Next() {
			value, err := it.Value()
			if err != nil {
				return errors.Join(err, it.Close())
			}
			p := new(Principal)
			if len(value) == 0 || value[0] != 1 || json.Unmarshal(value[1:], p) != nil {
				return errors.Join(errors.New("a principal's record has a format that this version does not know"), it.Close())
			}
			d.known[[2]string{p.TenantID, p.ObjectID}] = p
		}
		return it.Close()
	})
	if err != nil {
		return nil, fmt.Errorf("read principals: %w", err)
	}
	return d, nil
}

// Remember keeps a principal as it is now.
func (d *Directory) Remember(ctx context.Context, p *Principal) error {
	id := [2]string{p.TenantID, p.ObjectID}
	d.mu.Lock()
	defer d.mu.Unlock()
	if old := d.known[id]; old != nil && slices.Equal(old.Groups, p.Groups) && slices.Equal(old.AppRoles, p.AppRoles) {
		return nil
	}
	if d.store != nil {
		body, err := json.Marshal(p)
		if err != nil {
			return fmt.Errorf("encode principal: %w", err)
		}
		key := fmt.Appendf(nil, "principal/%x/%x/", p.TenantID, p.ObjectID)
		err = d.store.Update(ctx, key, func(tx engine.Tx) error {
			tx.Set(engine.SpaceAccount, key, append([]byte{1}, body...))
			return nil
		})
		if err != nil {
			return fmt.Errorf("store principal: %w", err)
		}
	}
	if d.known == nil {
		d.known = map[[2]string]*Principal{}
	}
	d.known[id] = p
	return nil
}

// Lookup returns a remembered principal, or one of which only the ids are known.
func (d *Directory) Lookup(tenantID, objectID string) *Principal {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if p := d.known[[2]string{tenantID, objectID}]; p != nil {
		return p
	}
	return &Principal{TenantID: tenantID, ObjectID: objectID}
}
