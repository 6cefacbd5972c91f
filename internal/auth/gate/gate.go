// Package gate is the decision point of blobd: it recognises by what scheme a request wants in, has that scheme check it, and
// compares what the caller was granted with what the row of the operation table asks.
//
// What no scheme has let in is refused; there is no way to the handlers around it.
package gate

import (
	"context"
	"errors"
	"strings"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/auth/bearer"
	"github.com/blobd/blobd/internal/auth/sas"
	"github.com/blobd/blobd/internal/auth/sharedkey"
	"github.com/blobd/blobd/internal/protocol"
)

// Options are what the gate has to know of the rest of the house.
type Options struct {
	// Blob and Table answer for containers and tables; without one, nothing there is public and no policy is stored.
	Blob, Table auth.Resources
	// Bearer checks tokens; nil when there is no issuer.
	Bearer *bearer.Verifier
	// StrictVersions refuses versions that are not published, in sv too.
	StrictVersions bool
}

// Gate implements auth.Authorizer.
type Gate struct {
	options Options
}

var _ auth.Authorizer = (*Gate)(nil)

// New returns a Gate.
func New(o Options) *Gate { return &Gate{o} }

// Authorize implements auth.Authorizer. acct is nil when there is no account of the name addressed.
func (g *Gate) Authorize(ctx context.Context, acct *account.Account, r *auth.Request, needs *auth.Needs) (auth.Grant, error) {
	switch {
	case acct == nil:
		return auth.Grant{}, protocol.ErrResourceNotFound
	case acct.Disabled:
		return auth.Grant{}, protocol.ErrAccountIsDisabled
	case acct.RequireHTTPS && !r.HTTPS:
		return auth.Grant{}, protocol.ErrAccountRequiresHttps
	case r.HTTPS && r.TLS < acct.MinimumTLS:
		return auth.Grant{}, protocol.ErrTlsVersionNotPermitted
	case !acct.Network.Admits(r.Client):
		return auth.Grant{}, protocol.ErrAuthorizationFailure
	case needs.Open:
		return auth.Grant{Scheme: auth.Anonymous}, nil
	}
	grant, err := g.identify(ctx, acct, r, needs)
	if err == nil && r.Secondary && r.Method != "GET" && r.Method != "HEAD" {
		return auth.Grant{}, protocol.ErrInsufficientAccountPermissions
	}
	return grant, err
}

// identify has the scheme that the request speaks of decide.
func (g *Gate) identify(ctx context.Context, acct *account.Account, r *auth.Request, needs *auth.Needs) (auth.Grant, error) {
	authorization, ok := r.Headers.Get("authorization")
	switch {
	case !ok && sas.Present(r.Query):
		return g.signature(ctx, acct, r, needs, nil)
	case !ok:
		return g.anonymous(ctx, acct, r, needs)
	case strings.HasPrefix(authorization, "SharedKey"):
		return g.sharedKey(ctx, acct, r, needs, authorization)
	}
	if token, ok := bearer.Token(authorization); ok {
		return g.bearer(ctx, acct, r, needs, token)
	}
	return auth.Grant{}, protocol.ErrInvalidAuthenticationInfo
}

func (g *Gate) sharedKey(ctx context.Context, acct *account.Account, r *auth.Request, needs *auth.Needs, authorization string) (auth.Grant, error) {
	credential, ok := sharedkey.Parse(authorization)
	if !ok {
		return auth.Grant{}, protocol.ErrInvalidAuthenticationInfo
	}
	if acct.DenySharedKey {
		return auth.Grant{}, protocol.ErrKeyBasedAuthenticationNotPermitted
	}
	if err := sharedkey.Verify(ctx, acct, r, credential); err != nil {
		return auth.Grant{}, err
	}
	if needs.BearerOnly {
		return auth.Grant{}, auth.Failed("Only authentication scheme Bearer is supported")
	}
	return auth.Grant{Scheme: auth.SharedKey, Letters: auth.AllLetters, Principal: acct.Name}, nil
}

// bearer lets the holder of a token in by its roles, or, beside a signature made for one user, by that signature.
func (g *Gate) bearer(ctx context.Context, acct *account.Account, r *auth.Request, needs *auth.Needs, token string) (auth.Grant, error) {
	if g.options.Bearer == nil {
		return auth.Grant{}, auth.Failed("Authentication scheme Bearer is not supported.")
	}
	p, err := g.options.Bearer.Authenticate(ctx, r, token)
	if err != nil {
		return auth.Grant{}, err
	}
	if sas.Delegated(r.Query) {
		return g.signature(ctx, acct, r, needs, p)
	}
	grant := auth.Grant{
		Scheme: auth.Bearer, Letters: auth.AllLetters, Principal: p.ObjectID, Tenant: p.TenantID, Groups: p.Groups, AppRoles: p.AppRoles,
		Roles: g.options.Bearer.Roles(p, acct, r.Service),
	}
	return grant, grant.Permits(needs, r.Container+r.Table)
}

// signature lets in by a shared access signature. user is the holder of the token beside it, nil for none.
func (g *Gate) signature(ctx context.Context, acct *account.Account, r *auth.Request, needs *auth.Needs, user *bearer.Principal) (auth.Grant, error) {
	token, err := sas.Parse(r, g.options.StrictVersions)
	if err != nil {
		return auth.Grant{}, err
	}
	defer token.Release()
	delegated := token.Scheme == auth.UserDelegationSAS
	switch {
	case acct.DenySharedKey && !delegated:
		return auth.Grant{}, protocol.ErrKeyBasedAuthenticationNotPermitted
	case delegated && g.options.Bearer == nil:
		return auth.Grant{}, protocol.ErrAuthenticationFailed
	}
	if err := token.Verify(acct, r); err != nil {
		return auth.Grant{}, err
	}
	if objectID, tenantID := token.User(); objectID != "" || tenantID != "" {
		if user == nil || !strings.EqualFold(objectID, user.ObjectID) || tenantID != "" && !strings.EqualFold(tenantID, user.TenantID) {
			return auth.Grant{}, protocol.ErrAuthenticationFailed
		}
	}
	if needs.BearerOnly {
		return auth.Grant{}, auth.Failed("Only authentication scheme Bearer is supported")
	}
	grant, err := token.Grant(ctx, r, needs, g.resources(r.Service))
	if err != nil || !delegated {
		return grant, err
	}
	// What the key's maker may not do, the signature does not open either.
	key := token.Delegation()
	maker := g.options.Bearer.Directory().Lookup(key.TenantID, key.ObjectID)
	grant.Principal, grant.Tenant, grant.Roles = key.ObjectID, key.TenantID, g.options.Bearer.Roles(maker, acct, r.Service)
	return grant, grant.Permits(needs, r.Container+r.Table)
}

func (g *Gate) resources(service auth.Service) auth.Resources {
	if service == auth.Table {
		return g.options.Table
	}
	return g.options.Blob
}

// anonymous lets anybody in where the container is public enough (REST page "Set Container ACL"). A private container and one that does not
// exist are refused alike.
func (g *Gate) anonymous(ctx context.Context, acct *account.Account, r *auth.Request, needs *auth.Needs) (auth.Grant, error) {
	refusal := error(protocol.ErrResourceNotFound)
	version, _ := r.Headers.Get("x-ms-version")
	challenged := g.options.Bearer != nil && protocol.Version(version) >= challengeSince(r.Service)
	if challenged {
		refusal = g.options.Bearer.Challenge(ctx)
	}
	if needs.Public == auth.PublicNever || g.options.Blob == nil || r.Service != auth.Blob || r.Container == "" || r.Method != "GET" && r.Method != "HEAD" {
		return auth.Grant{}, refusal
	}
	if acct.DenyPublicAccess && challenged {
		return auth.Grant{}, refusal
	}
	if acct.DenyPublicAccess {
		return auth.Grant{}, protocol.ErrPublicAccessNotPermitted
	}
	access, err := g.options.Blob.Access(ctx, r.Account, r.Container)
	var missing *protocol.Error
	switch {
	case errors.As(err, &missing) && missing.Status == 404:
		return auth.Grant{}, refusal
	case err != nil:
		return auth.Grant{}, err
	case access.Public == auth.PublicContainer, access.Public == auth.PublicBlob && needs.Public == auth.PublicBlob:
		return auth.Grant{Scheme: auth.Anonymous}, nil
	}
	return auth.Grant{}, refusal
}

// challengeSince is the version from which a caller without credentials is told where to get a token.
func challengeSince(service auth.Service) protocol.Version {
	if service == auth.Table {
		return protocol.V20201206
	}
	return protocol.V20191212
}
