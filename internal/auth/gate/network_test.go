package gate

import (
	"context"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/protocol"
)

// Who comes from elsewhere than an account's rules say is refused before anything else of the request is looked at.
func TestNetworkRulesComeBeforeCredentials(t *testing.T) {
	acct := &account.Account{Name: "acct", Network: &account.Network{Deny: true, Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}
	for _, needs := range []*auth.Needs{{}, {Open: true}, {SAS: "r", AccountSAS: "r"}} {
		for _, from := range []netip.Addr{netip.MustParseAddr("192.0.2.1"), {}} {
			_, err := New(Options{}).Authorize(context.Background(), acct, &auth.Request{Client: from}, needs)
			require.ErrorIs(t, err, protocol.ErrAuthorizationFailure)
		}
	}
	grant, err := New(Options{}).Authorize(context.Background(), acct, &auth.Request{Client: netip.MustParseAddr("::ffff:10.1.2.3")}, &auth.Needs{Open: true})
	require.NoError(t, err)
	require.Equal(t, auth.Anonymous, grant.Scheme)
}
