package arm

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// Rules come back as they were given and say who is let in; what is no rule is refused.
func TestNetworkRules(t *testing.T) {
	n := parseNetwork(json.RawMessage(`{"bypass":"None","defaultAction":"Deny","ipRules":[{"value":"203.0.113.7","action":"Allow"},{"value":"10.0.0.0/8"},{"value":"2001:db8::/32"}],"virtualNetworkRules":[]}`))
	require.NotNil(t, n)
	for from, admitted := range map[string]bool{
		"203.0.113.7": true, "203.0.113.8": false, "10.255.0.1": true, "11.0.0.1": false, "::ffff:10.0.0.1": true, "2001:db8::1": true, "2001:db9::1": false, "127.0.0.1": false,
	} {
		require.Equal(t, admitted, n.Admits(netip.MustParseAddr(from)), from)
	}
	body, err := json.Marshal(networkBody(n))
	require.NoError(t, err)
	require.JSONEq(t, `{"bypass":"None","defaultAction":"Deny","ipRules":[{"value":"203.0.113.7","action":"Allow"},{"value":"10.0.0.0/8","action":"Allow"},{"value":"2001:db8::/32","action":"Allow"}],"virtualNetworkRules":[]}`, string(body))
	require.Equal(t, n, parseNetwork(body))
	open := parseNetwork(json.RawMessage(`{"defaultAction":"Allow","ipRules":[{"value":"10.0.0.1"}]}`))
	require.True(t, open.Admits(netip.MustParseAddr("8.8.8.8")))
	for _, bad := range []string{
		`[]`, `{"defaultAction":"Maybe"}`, `{"ipRules":[{"value":"10.0.0.1/8"}]}`, `{"ipRules":[{"value":"ten"}]}`, `{"ipRules":[{"value":"fe80::1%eth0"}]}`, `{"ipRules":[{"value":"10.0.0.1","action":"Deny"}]}`,
		`{"virtualNetworkRules":[{"id":"x"}]}`, `{"resourceAccessRules":[{"tenantId":"x"}]}`, `{"bypass":"Everything"}`,
	} {
		require.Nil(t, parseNetwork(json.RawMessage(bad)), bad)
	}
}
