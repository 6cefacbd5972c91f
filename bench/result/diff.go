package result

import (
	"fmt"
	"io"
	"maps"
	"slices"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// noise is the change that two runs of the same program may show.
const noise = 0.05

// Diff prints what changed from a to b, cell by cell. Where both runs measured a ceiling, the last columns are relative to it,
// so that a busier machine does not look like a slower program. It returns how many cells became worse beyond the noise.
func Diff(w io.Writer, a, b *Run) (worse int) {
	const line = "%-26s %4s  %-14s %9s %9s %7s  %8s %8s %7s  %8s %8s %7s  %9s %s\n"
	fmt.Fprintf(w, "before: %s  %s\nafter:  %s  %s\n\n", a.Commit, a.Started.Format("2006-01-02 15:04"), b.Commit, b.Started.Format("2006-01-02 15:04"))
	fmt.Fprintf(w, line, "workload", "cl", "server", "ops/s", "after", "x", "CPU us", "after", "x", "p99 us", "after", "x", "to ceiling", "")
	for i := range a.Cells {
		before := &a.Cells[i]
		after := b.find(before)
		if after == nil || before.Ops == 0 || after.Ops == 0 {
			continue
		}
		ops, cpu, p99 := after.OpsPerS/before.OpsPerS, after.CPU/before.CPU, after.P99/before.P99
		steady, verdict := "", ""
		judged := ops
		if ref := shared(before, after); ref != "" {
			judged = after.Ratios[ref].Ops / before.Ratios[ref].Ops
			steady = fmt.Sprintf("%.2fx", judged)
		}
		doubt := noise + max(before.Spread, after.Spread)/2
		switch {
		case before.reference():
		case judged > 1+doubt:
			verdict = "better"
		case judged < 1-doubt:
			verdict = "WORSE"
			worse++
		}
		fmt.Fprintf(w, line, before.Workload, fmt.Sprint(before.Clients), before.Server, short(before.OpsPerS), short(after.OpsPerS), fmt.Sprintf("%.2f", ops),
			short(before.CPU), short(after.CPU), fmt.Sprintf("%.2f", cpu), short(before.P99), short(after.P99), fmt.Sprintf("%.2f", p99), steady, verdict)
	}
	return worse
}

func (r *Run) find(c *Cell) *Cell {
	for i := range r.Cells {
		if o := &r.Cells[i]; o.same(c) && o.Server == c.Server {
			return o
		}
	}
	return nil
}

// shared is a ceiling that both cells were measured against: the first of the workload's list.
func shared(a, b *Cell) string {
	for _, name := range a.Ceilings {
		name = "ceiling-" + name
		if a.Ratios[name].Ops > 0 && b.Ratios[name].Ops > 0 {
			return name
		}
	}
	return ""
}
