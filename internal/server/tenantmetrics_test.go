package server

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/usage"
)

// However many accounts there are, the page shows as many as it was told to: those that do the most.
func TestAccountMetricsAreBounded(t *testing.T) {
	ledger, registry := usage.New(), account.NewRegistry()
	for i, name := range []string{"idle", "lazy", "busy", "busiest"} {
		a := account.New(name, time.Now(), account.GenerateKey())
		a.Meter = ledger.Assign(name, "")
		for range i {
			a.Meter.Enter(time.Now())
			a.Meter.Leave(3, 4, time.Now())
		}
		registry.Put(a)
	}
	for most, want := range map[int][]string{0: nil, 2: {"busiest", "busy"}, 9: {"busiest", "busy", "lazy", "idle"}} {
		var shown []string
		values := map[string]float64{}
		showAccounts(registry, most, func(m *metric, v float64, labels ...string) {
			if values[labels[0]+" "+m.Name] = v; m == accountRequests {
				shown = append(shown, labels...)
			}
		})
		require.Equal(t, want, shown)
		require.Len(t, values, 4*len(want))
		if most > 0 {
			require.Equal(t, []float64{3, 9, 12}, []float64{values["busiest "+accountRequests.Name], values["busiest "+accountReceived.Name], values["busiest "+accountSent.Name]})
		}
	}
}
