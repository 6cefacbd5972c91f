package table

import (
	"fmt"
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

// startWith is the service, with a table of people.
func startWith(t *testing.T, limits framing.Limits) *resttest.Server {
	registry := account.NewRegistry()
	store := enginetest.New(t)
	accounts, err := account.OpenStore(t.Context(), store, registry, nil)
	require.NoError(t, err)
	require.NoError(t, accounts.Configure(t.Context(), account.Development(time.Now())))
	svc := New(Options{Store: store, Accounts: accounts})
	svc.Authorize(resttest.AllowAll{})
	t.Cleanup(svc.Close)
	require.NoError(t, svc.CreateTable(t.Context(), "devstoreaccount1", "people"))
	return resttest.StartWith(t, &rest.Front{Accounts: registry, Table: svc}, limits)
}

// TestARefusedAnswerReleasesItsCallOnce: a call whose answer finds no memory left goes to the pool once. Were it twice, two requests would
// write into one buffer, and each client get the other's entities.
func TestARefusedAnswerReleasesItsCallOnce(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // one list of idle calls
	limits := framing.DefaultLimits()
	limits.Answers = framing.NewBudget(20_000)
	s := startWith(t, limits)
	const name = "/devstoreaccount1/people"
	version, isJSON := "x-ms-version: 2019-02-02", "Content-Type: application/json"
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

// TestWhatCannotBeAnsweredIsNotDone: a change whose answer would find no memory is refused before it is made.
func TestWhatCannotBeAnsweredIsNotDone(t *testing.T) {
	limits := framing.DefaultLimits()
	limits.Answers = framing.NewBudget(100_000)
	s := startWith(t, limits)
	const name = "/devstoreaccount1/people"
	version, isJSON := "x-ms-version: 2019-02-02", "Content-Type: application/json"
	entity := func(key string, size int) string {
		return `{"PartitionKey":"p","RowKey":"` + key + `","Text":"` + strings.Repeat("x", size) + `"}`
	}
	transaction := func(prefer string) string {
		var b strings.Builder
		b.WriteString("--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n")
		for i := range 20 {
			fmt.Fprintf(&b, "--c\r\nContent-Type: application/http\r\n\r\nPOST "+name+" HTTP/1.1\r\nContent-Type: application/json\r\n%s\r\n%s\r\n", prefer, entity(fmt.Sprint("t", i), 5000))
		}
		b.WriteString("--c--\r\n--b--\r\n")
		return b.String()
	}
	mixed := "Content-Type: multipart/mixed; boundary=b"
	there := func(key string) int {
		return s.Do("GET", name+"(PartitionKey='p',RowKey='"+key+"')", "", version).Status
	}
	r := s.Do("POST", name, entity("one", 30_000), version, isJSON)
	require.Equal(t, "503 ServerBusy", fmt.Sprint(r.Status, " ", r.Code()))
	require.Equal(t, 404, there("one"))
	r = s.Do("POST", "/devstoreaccount1/$batch", transaction(""), version, mixed)
	require.Equal(t, "503 ServerBusy", fmt.Sprint(r.Status, " ", r.Code()))
	require.Equal(t, 404, there("t0"))
	r = s.Do("POST", "/devstoreaccount1/$batch", transaction("Prefer: return-no-content\r\n"), version, mixed)
	require.Equal(t, 202, r.Status)
	require.Equal(t, 200, there("t0"), r)
	require.EqualValues(t, 2, limits.Answers.Refused())
}
