package monitoring

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDashboard: every query of the dashboard is one, and asks for what there is; panels lie beside each other and not on top.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("../../monitoring/dashboard.json")
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			ID      int
			Type    string
			Title   string
			GridPos struct{ H, W, X, Y int }
			Targets []struct{ RefID, Expr, LegendFormat string }
		}
		Templating struct{ List []struct{ Name string } }
	}
	require.NoError(t, json.Unmarshal(text, &dashboard))
	variables := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*")
	ids, taken, queries := map[int]bool{}, map[[2]int]string{}, 0
	for _, p := range dashboard.Panels {
		require.False(t, ids[p.ID], "%s: its id is another's too", p.Title)
		ids[p.ID] = true
		require.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				require.Empty(t, taken[[2]int{x, y}], "%s lies on another", p.Title)
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type != "row" {
			require.NotEmpty(t, p.Targets, p.Title)
		}
		for _, target := range p.Targets {
			queries++
			expr := variables.Replace(target.Expr)
			require.NotContains(t, expr, "$", "a variable that there is not")
			holdToMetrics(t, expr)
		}
	}
	require.Greater(t, queries, 40)
}
