package arm

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/directory"
)

const storeDocument = `{"location":"local","kind":"StorageV2","sku":{"name":"Standard_LRS"}}`

// Names that differ in case alone are one group, whatever folding of case makes them so.
func TestGroupsOfOneNameInOtherCase(t *testing.T) {
	h := newHouse(t)
	owner, other, sub := h.someone("owner"), h.someone("other"), h.subscription("one")
	h.assign(owner, directory.OwnerRole, "/subscriptions/"+sub)
	group := func(name string) string { return "/subscriptions/" + sub + "/resourceGroups/" + url.PathEscape(name) }
	for i, names := range [][2]string{{"ΝΟΜΟΣ", "νομος"}, {"films", "filmſ"}, {"kelvin", "Kelvin"}} {
		require.Equal(t, http.StatusCreated, h.do(owner, "PUT", group(names[0]), `{"location":"local"}`).status)
		require.Equal(t, http.StatusOK, h.do(owner, "PUT", group(names[1]), `{"location":"local"}`).status, "it is there")
		name := fmt.Sprintf("store%d", i)
		made := h.do(owner, "PUT", group(names[1])+"/providers/"+accountType+"/"+name, storeDocument)
		require.Less(t, made.status, 300, made.text)
		require.Equal(t, http.StatusOK, h.do(owner, "GET", group(names[0])+"/providers/"+accountType+"/"+name, "").status)

		// A role at the group goes with it, however it was written.
		h.assign(other, directory.ContributorRole, "/subscriptions/"+sub+"/resourceGroups/"+names[1])
		require.Equal(t, http.StatusOK, h.do(other, "POST", group(names[0])+"/providers/"+accountType+"/"+name+"/listKeys", "").status)
		require.Less(t, h.do(owner, "DELETE", group(names[1]), "").status, 300)
		require.Empty(t, h.Directory.Held(other, "/subscriptions/"+sub))
		require.Nil(t, h.Accounts.Get(name))
	}
}

// What an owner writes into his account leaves room in its record for what the operator has to write there, sealed keys among it.
func TestAnAccountsRecordIsBounded(t *testing.T) {
	h := newHouse(t)
	owner, sub := h.someone("owner"), h.subscription("one")
	h.assign(owner, directory.OwnerRole, "/subscriptions/"+sub)
	group := "/subscriptions/" + sub + "/resourceGroups/g"
	at := group + "/providers/" + accountType + "/store"
	require.Equal(t, http.StatusCreated, h.do(owner, "PUT", group, `{"location":"local"}`).status)
	require.Less(t, h.do(owner, "PUT", at, storeDocument).status, 300)

	long := strings.Repeat("y", 64_000)
	tags := map[string]string{}
	for i := range maxTags {
		tags[fmt.Sprintf("%0*d", maxTagName, i)] = strings.Repeat("\u2028", maxTagValue)
	}
	many, err := json.Marshal(tags)
	require.NoError(t, err)
	for _, c := range []struct {
		body string
		good bool
	}{
		{`{"properties":{"keyPolicy":{"keyExpirationPeriodInDays":1,"x":"` + long + `"}}}`, true}, // what is not known is passed over
		{`{"properties":{"sasPolicy":{"sasExpirationPeriod":"1.00:00:00","expirationAction":"Log","x":"` + long + `"}}}`, true},
		{`{"properties":{"sasPolicy":{"sasExpirationPeriod":"` + long + `"}}}`, false},
		{`{"properties":{"keyPolicy":{"keyExpirationPeriodInDays":1` + strings.Repeat("0", 60_000) + `}}}`, false},
		{`{"properties":{"allowCrossTenantReplication":"` + long + `"}}`, false},
		{`{"tags":` + string(many) + `}`, false},
	} {
		got := h.do(owner, "PATCH", at, c.body)
		want := http.StatusBadRequest
		if c.good {
			want = http.StatusOK
		}
		require.Equal(t, want, got.status, "%.300s", got.text)
		require.Less(t, len(got.text), 4096)
	}
	require.Equal(t, http.StatusBadRequest, h.do(owner, "PATCH", group, `{"tags":`+string(many)+`}`).status)
	policy := h.do(owner, "GET", at, "")
	require.EqualValues(t, 1, policy.at("properties", "keyPolicy", "keyExpirationPeriodInDays"))

	require.NoError(t, h.Accounts.Change(ctx, "store", func(a *account.Account) error { a.Disabled = true; return nil }))
	masters := make([]byte, 32)
	sealed, err := account.OpenStore(ctx, h.engine, account.NewRegistry(), [][]byte{masters})
	require.NoError(t, err)
	require.True(t, sealed.Get("store").Disabled)
}
