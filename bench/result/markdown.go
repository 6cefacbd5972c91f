package result

import (
	"fmt"
	"io"
	"strings"
)

// Markdown writes the run as the tables of docs/performance.md: blobd on one disk beside its references, then its layouts over
// several disks, then the fills.
func (r *Run) Markdown(w io.Writer) {
	fmt.Fprintf(w, "Commit %s, %s UTC, %s. %s, %d cores, Linux %s. %s. Neighbours kept %.1f cores busy meanwhile, on average.\n\n",
		r.Commit, r.Started.Format("2006-01-02 15:04"), r.Took, r.Machine.CPU, r.Machine.Cores, r.Machine.Kernel, r.Limits, r.others())
	fmt.Fprint(w, "| work | clients | blobd | p50, p99 | CPU/op | against Azurite: ops, CPU | against the ceiling: ops, CPU | peak RSS |\n|---|---|---|---|---|---|---|---|\n")
	for i := range r.Cells {
		c := &r.Cells[i]
		if c.Server != "blobd" {
			continue
		}
		peer, ceiling := "-", "-"
		if x, ok := c.Ratios["azurite"]; ok {
			peer = fmt.Sprintf("%sx, %sx less", short(x.Ops), short(x.CPU))
		}
		for _, mode := range c.Ceilings {
			if x, ok := c.Ratios["ceiling-"+mode]; ok {
				ceiling = fmt.Sprintf("%s: %.0f %%, %.1fx", mode, 100*x.Ops, 1/x.CPU)
				break
			}
		}
		fmt.Fprintf(w, "| %s | %d | %s | %s, %s | %s | %s | %s | %s MB |\n", c.Workload, c.Clients, c.rate(), duration(c.P50), duration(c.P99), duration(c.CPU), peer, ceiling, short(c.PeakRSS))
	}
	r.layouts(w)
	if len(r.Scale) > 0 {
		fmt.Fprint(w, "\n| fill | items | items/s | p50, p99 | RSS | disk bytes per content byte | written | restart | RSS after it | page of 5 000 | beside 20 000 names | prefixes |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n")
		for _, s := range r.Scale {
			fmt.Fprintf(w, "| %s | %d | %s | %s, %s | %s MB | %.2f | %.2f | %s | %s | %s | %s | %s |\n", s.Kind, s.Items, short(s.OpsPerS), duration(s.P50), duration(s.P99),
				short(s.RSS), s.DiskPerByte, s.WritePerByte, duration(s.StartMS*1e3), short(s.RestartRSS), duration(s.ListP50), duration(s.SmallP50), duration(s.PrefixP50))
		}
		fmt.Fprint(w, "\n| goal of the fills | held |\n|---|---|\n")
		for _, g := range r.Goals() {
			fmt.Fprintf(w, "| %s | %s |\n", g.Text, map[bool]string{true: "yes", false: "**no**"}[g.Held])
		}
	}
}

// layouts compares blobd on several disks with blobd on one.
func (r *Run) layouts(w io.Writer) {
	head := false
	for i := range r.Cells {
		c := &r.Cells[i]
		if !strings.HasPrefix(c.Server, "blobd-") {
			continue
		}
		if !head {
			fmt.Fprint(w, "\n| work | clients | layout | rate | CPU/op | ops of one disk | against Azurite: ops |\n|---|---|---|---|---|---|---|\n")
			head = true
		}
		share := "-"
		for j := range r.Cells {
			if one := &r.Cells[j]; one.same(c) && one.Server == "blobd" && one.Ops > 0 {
				share = fmt.Sprintf("%.0f %%", 100*c.OpsPerS/one.OpsPerS)
			}
		}
		peer := "-"
		if x, ok := c.Ratios["azurite"]; ok {
			peer = short(x.Ops) + "x"
		}
		fmt.Fprintf(w, "| %s | %d | %s | %s | %s | %s | %s |\n", c.Workload, c.Clients, strings.TrimPrefix(c.Server, "blobd-"), c.rate(), duration(c.CPU), share, peer)
	}
}

// rate is what a person looks for: bytes for large content, names or entities for pages of them, else operations.
func (c *Cell) rate() string {
	switch {
	case c.sizeKnown():
		return short(c.MBPerS) + " MB/s"
	case c.ItemsPerS > 1.5*c.OpsPerS:
		return fmt.Sprintf("%s/s (%s items/s)", short(c.OpsPerS), short(c.ItemsPerS))
	}
	return short(c.OpsPerS) + "/s"
}

// others is the mean of what neighbours took while blobd worked, in cores.
func (r *Run) others() float64 {
	var sum, n float64
	for i := range r.Cells {
		if r.Cells[i].Server == "blobd" {
			sum, n = sum+r.Cells[i].Others, n+1
		}
	}
	return sum / max(n, 1)
}

// duration prints microseconds in the unit that suits them.
func duration(us float64) string {
	switch {
	case us == 0:
		return "-"
	case us >= 1e6:
		return short(us/1e6) + " s"
	case us >= 1e3:
		return short(us/1e3) + " ms"
	}
	return short(us) + " us"
}
