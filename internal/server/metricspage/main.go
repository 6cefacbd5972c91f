// Command metricspage prints docs/metrics.md, which is made of the definitions of the metrics. A test fails when the page is stale, or
// when a server shows something else.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
	"github.com/blobd/blobd/internal/server"
)

//go:generate sh -c "go run . > ../../../docs/metrics.md"

func main() {
	if _, err := os.Stdout.WriteString(page()); err != nil {
		fmt.Fprintln(os.Stderr, "metricspage:", err)
		os.Exit(1)
	}
}

const introduction = `# Metrics

` + "`GET /metrics`" + ` on the management address answers in Prometheus's format. This page is generated from the definitions (` + "`make docs`" + `); a test
holds it against what a server shows. Counters begin at 0 with the process. Beside these there are the usual ` + "`go_*` and `process_*`" + `.
What to alert on stands in [operations.md](operations.md#alerts); the rules and a dashboard for Grafana are in [monitoring](../monitoring).
`

func page() string {
	own, parts := server.Metrics()
	var b strings.Builder
	b.WriteString(introduction)
	section(&b, "Requests, connections, health, scrub", own)
	section(&b, "The engine", local.Metrics())
	section(&b, "Parts that are there for speed", parts)
	return b.String()
}

func section(b *strings.Builder, title string, metrics []*engine.Metric) {
	fmt.Fprintf(b, "\n## %s\n\n| metric | kind | |\n| --- | --- | --- |\n", title)
	for _, m := range metrics {
		name := m.Name
		if len(m.Labels) > 0 {
			name += "{" + strings.Join(m.Labels, ",") + "}"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", name, m.Kind, m.Help)
	}
}
