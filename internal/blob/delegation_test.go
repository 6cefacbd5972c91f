package blob

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/auth/gate"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest/resttest"
)

// keyed lets everybody in and tells what it is asked for a key with; the key itself is the gate's matter and tested there.
type keyed struct{ resttest.AllowAll }

func (keyed) NewUserDelegationKey(_ context.Context, acct *account.Account, service auth.Service, grant *auth.Grant, version protocol.Version, _ time.Time, body []byte) ([]byte, error) {
	return []byte(acct.Name + " " + service.String() + " " + grant.Principal + " " + string(version) + " " + string(body)), nil
}

func TestUserDelegationKey(t *testing.T) {
	const target = "/acct?restype=service&comp=userdelegationkey"
	h := build(t, func(auth.Resources) auth.Authorizer { return keyed{} })
	r := h.must(t, 200, "POST", target, "<KeyInfo/>", v)
	require.Equal(t, "acct blob acct 2026-02-06 <KeyInfo/>", string(r.Body))
	require.Equal(t, "application/xml", r.Header.Get("Content-Type"))
	h.fails(t, 413, "RequestBodyTooLarge", "POST", target, string(make([]byte, maxKeyInfoXML+1)), v)
	newHouse(t).fails(t, 403, "AuthorizationFailure", "POST", target, "<KeyInfo/>", v)
	real := build(t, func(r auth.Resources) auth.Authorizer { return gate.New(gate.Options{Blob: r}) })
	require.GreaterOrEqual(t, real.Do("POST", target, "<KeyInfo/>", v).Status, 400, "nobody without a token gets a key")
}
