package table

import (
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/framing"
	"github.com/blobd/blobd/internal/rest/resttest"
)

// TestARefusedAnswerReleasesItsCallOnce: a call whose answer finds no memory left goes to the pool once. Were it twice, two requests would
// write into one buffer, and each client get the other's entities.
func TestARefusedAnswerReleasesItsCallOnce(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // one list of idle calls
	registry := account.NewRegistry()
	store := enginetest.New(t)
	accounts, err := account.OpenStore(t.Context(), store, registry, nil)
	require.NoError(t, err)
	require.NoError(t, accounts.Configure(t.Context(), account.Development(time.Now())))
	svc := New(Options{Store: store, Accounts: accounts})
	svc.Authorize(resttest.AllowAll{})
	t.Cleanup(svc.Close)
	limits := framing.DefaultLimits()
	limits.Answers = framing.NewBudget(20_000)
	s := resttest.StartWith(t, &rest.Front{Accounts: registry, Table: svc}, limits)
	const name = "/devstoreaccount1/people"
	version, isJSON := "x-ms-version: 2019-02-02", "Content-Type: application/json"
	require.NoError(t, svc.CreateTable(t.Context(), "devstoreaccount1", "people"))
	r := s.Do("POST", name, `{"PartitionKey":"p","RowKey":"r","Text":"`+strings.Repeat("x", 30_000)+`"}`, version, isJSON, "Prefer: return-no-content")
	require.Equal(t, http.StatusNoContent, r.Status, r)
	for range 20 {
		r := s.Do("GET", name+"(PartitionKey='p',RowKey='r')", "", version)
		require.Equal(t, "ServerBusy", r.Code())
	}
	idle := map[*call]bool{}
	for range 100 {
		c := calls.Get().(*call)
		require.False(t, idle[c], "it is idle twice")
		idle[c] = true
	}
}
