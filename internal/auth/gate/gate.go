// Package gate is the decision point of blobd: it recognises by what scheme a request wants in, has that scheme check it, and
// compares what the caller was granted with what the row of the operation table asks.
//
// What no scheme has let in is refused; there is no way to the handlers around it.
package gate

import (
	"context"
	"strings"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/auth/sharedkey"
	"github.com/blobd/blobd/internal/protocol"
)

// Options are what the gate has to know of the rest of the house.
type Options struct {
	// Blob and Table answer for containers and tables; without one, nothing there is public and no policy is stored.
	Blob, Table auth.Resources
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
	case needs.Open:
		return auth.Grant{Scheme: auth.Anonymous}, nil
	}
	authorization, ok := r.Headers.Get("authorization")
	if !ok {
		return auth.Grant{}, protocol.ErrResourceNotFound
	}
	if strings.HasPrefix(authorization, "SharedKey") {
		return g.sharedKey(ctx, acct, r, needs, authorization)
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
