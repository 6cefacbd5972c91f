package arm

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A deleted account that can be had back is its subscription's still: nobody else has its name, or sees it; who owns it may make it anew,
// and has then given the old one up.
func TestDeletedAccountsAreTheirSubscriptions(t *testing.T) {
	h := newHouse(t)
	h.Accounts.Retain(time.Hour)
	ours, theirs := h.tenant("ours"), h.tenant("theirs")
	deleted := func(o tenant) answer {
		a := h.ok(200, o.user, "GET", o.sub+"/providers/Microsoft.Storage/deletedAccounts", "")
		require.NoError(t, fits("body", map[string]any(a.body), pageOf(described{"id!": "string", "name!": "string", "type!": "Microsoft.Storage/deletedAccounts", "properties!": described{
			"storageAccountResourceId!": "string", "location!": "string", "creationTime!": "time", "deletionTime!": "time"}})))
		return a
	}
	keys := h.ok(200, theirs.user, "POST", theirs.account+"/listKeys", "").text
	h.ok(200, theirs.user, "DELETE", theirs.account, "")
	require.Len(t, deleted(theirs).body["value"], 1)
	require.Contains(t, deleted(theirs).text, theirs.account)
	require.Empty(t, deleted(ours).body["value"])
	require.Equal(t, "ResourceNotFound", h.do(theirs.user, "GET", theirs.account, "").code())
	require.Equal(t, "AlreadyExists", h.ok(200, ours.user, "POST", ours.sub+"/providers/Microsoft.Storage/checkNameAvailability", `{"name":"theirsacct","type":"Microsoft.Storage/storageAccounts"}`).body["reason"])
	require.Equal(t, "StorageAccountAlreadyTaken", h.do(ours.user, "PUT", ours.group+"/providers/Microsoft.Storage/storageAccounts/theirsacct", newAccount).code())
	require.Len(t, deleted(theirs).body["value"], 1)
	h.ok(200, theirs.user, "PUT", theirs.account, newAccount)
	require.Empty(t, deleted(theirs).body["value"])
	require.NotEqual(t, keys, h.ok(200, theirs.user, "POST", theirs.account+"/listKeys", "").text)
	require.Empty(t, h.ok(200, theirs.user, "GET", theirs.account+"/blobServices/default/containers", "").body["value"])
}
