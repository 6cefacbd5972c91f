package auth

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/protocol"
)

const policyDoc = `<?xml version="1.0" encoding="utf-8"?><SignedIdentifiers><SignedIdentifier><Id>a</Id><AccessPolicy><Start>2026-01-01T00:00:00.1234567Z</Start><Expiry>2026-01-02</Expiry><Permission>raud</Permission></AccessPolicy></SignedIdentifier><SignedIdentifier><Id>b</Id><AccessPolicy></AccessPolicy></SignedIdentifier></SignedIdentifiers>`

func TestPolicies(t *testing.T) {
	want := []Policy{{ID: "a", Start: "2026-01-01T00:00:00.1234567Z", Expiry: "2026-01-02", Permission: "raud", HasPermission: true}, {ID: "b"}}
	for _, doc := range []string{policyDoc, "\ufeff" + policyDoc, strings.ReplaceAll(policyDoc, "><", "> \n<")} {
		got, err := ParsePolicies([]byte(doc), "raud")
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	answer := strings.NewReplacer("<Expiry>2026-01-02<", "<Expiry>2026-01-02T00:00:00.0000000Z<", "<AccessPolicy></AccessPolicy>", "").Replace(policyDoc)
	require.Equal(t, "\ufeff"+answer, string(AppendPolicies(nil, want)))
	require.Equal(t, protocol.XMLHead+"<SignedIdentifiers />", string(AppendPolicies(nil, nil)))
	for _, empty := range []string{"", " \r\n", "\ufeff"} {
		got, err := ParsePolicies([]byte(empty), "raud")
		require.NoError(t, err)
		require.Empty(t, got)
	}
}

// TestPolicyTimes: whatever form came in, the answer has seven digits and a Z.
func TestPolicyTimes(t *testing.T) {
	for in, want := range map[string]string{
		"2011-10-11": "2011-10-11T00:00:00.0000000Z", "2030-01-01T00:00Z": "2030-01-01T00:00:00.0000000Z", "2020-08-19T21:13:07Z": "2020-08-19T21:13:07.0000000Z",
		"2020-08-19T21:13:07.1Z": "2020-08-19T21:13:07.1000000Z", "2020-08-19T21:13:07.123456789Z": "2020-08-19T21:13:07.1234567Z", "2020-08-19T21:13:07+02:00": "2020-08-19T19:13:07.0000000Z",
	} {
		policies, err := ParsePolicies([]byte("<SignedIdentifiers><SignedIdentifier><Id>a</Id><AccessPolicy><Expiry>"+in+"</Expiry></AccessPolicy></SignedIdentifier></SignedIdentifiers>"), "r")
		require.NoError(t, err, in)
		require.Contains(t, string(AppendPolicies(nil, policies)), "<AccessPolicy><Expiry>"+want+"</Expiry></AccessPolicy>")
	}
}

func TestPoliciesRefused(t *testing.T) {
	six := strings.Repeat("<SignedIdentifier><Id>x</Id></SignedIdentifier>", 6)
	for doc, want := range map[string]*protocol.Error{
		"x": protocol.ErrInvalidXmlDocument, "<Other/>": protocol.ErrInvalidXmlDocument, "<SignedIdentifiers>" + six + "</SignedIdentifiers>": protocol.ErrInvalidXmlDocument,
		strings.Replace(policyDoc, "<Id>b", "<Id>a", 1): protocol.ErrInvalidXmlDocument, strings.Replace(policyDoc, "Permission>raud</Permission", "Nope>r</Nope", 1): protocol.ErrInvalidXmlDocument,
		strings.Replace(policyDoc, "raud", "w", 1): protocol.ErrInvalidXmlDocument, strings.Replace(policyDoc, "2026-01-02", "tomorrow", 1): protocol.ErrInvalidXmlNodeValue,
		strings.Replace(policyDoc, "<Id>b</Id>", "", 1): protocol.ErrInvalidXmlDocument, strings.Replace(policyDoc, "<Id>b", "<Id>"+strings.Repeat("b", 65), 1): protocol.ErrInvalidXmlNodeValue,
	} {
		_, err := ParsePolicies([]byte(doc), "raud")
		require.ErrorIs(t, err, want, doc)
	}
}
