package result

import (
	"fmt"
	"io"
)

// Goal is one of the promises for a store that has grown, held against a fill.
type Goal struct {
	Kind string
	Text string // what was measured and what it has to be
	Held bool
}

// Bounds of a store of a million blobs or two million entities.
const (
	maxStartMS  = 1000
	maxRSSMB    = 512
	minRate     = 0.80 // of the first look's insert rate
	maxGetP99   = 1.5  // times the first look's
	maxPageTime = 1.3  // times that of a page of a container with 20 000 names
)

// Goals judges the fills. A figure that was not measured is not judged.
func (r *Run) Goals() []Goal {
	var out []Goal
	for _, kind := range []string{"blobs", "entities"} {
		var looks []Scale
		for _, s := range r.Scale {
			if s.Kind == kind && s.Server == r.Scale[0].Server {
				looks = append(looks, s)
			}
		}
		if len(looks) == 0 {
			continue
		}
		add := func(held bool, format string, args ...any) {
			out = append(out, Goal{kind, fmt.Sprintf(format, args...), held})
		}
		first, last := looks[0], looks[len(looks)-1]
		rss, start := 0.0, 0.0
		for _, s := range looks {
			rss, start = max(rss, s.RSS, s.PeakRSS, s.RestartRSS), max(start, s.StartMS)
		}
		if start > 0 {
			add(start < maxStartMS, "restart with %d %s: %.0f ms, at most %d", last.Items, kind, start, maxStartMS)
		}
		if rss > 0 {
			add(rss < maxRSSMB, "peak RSS up to %d %s: %.0f MB, at most %d", last.Items, kind, rss, maxRSSMB)
		}
		if kind == "blobs" {
			if last.SmallP50 > 0 {
				x := last.ListP50 / last.SmallP50
				add(x <= maxPageTime, "p50 of a page of 5 000 of %d names: %.2f ms, beside one of 20 000 names %.2f ms: %.2fx, at most %.1fx",
					last.Items, last.ListP50/1e3, last.SmallP50/1e3, x, maxPageTime)
			}
			continue
		}
		if len(looks) > 1 {
			rate, from := lateRate(looks)
			add(rate >= minRate*first.OpsPerS, "inserts from %d to %d: %.0f/s, the first %d %.0f/s: %.0f %%, at least %.0f %%",
				from, last.Items, rate, first.Items, first.OpsPerS, 100*rate/first.OpsPerS, 100*minRate)
			if first.GetP99 > 0 {
				x := last.GetP99 / first.GetP99
				add(x <= maxGetP99, "p99 of a point get among %d: %.0f us, among %d %.0f us: %.2fx, at most %.1fx", last.Items, last.GetP99, first.Items, first.GetP99, x, maxGetP99)
			}
		}
	}
	return out
}

// lateRate is the rate of the last quarter of the looks, as a whole: one look alone meets a compaction, or none.
func lateRate(looks []Scale) (rate float64, from int) {
	at := min(len(looks)-1, len(looks)*3/4)
	items, seconds := 0, 0.0
	for i := at; i < len(looks); i++ {
		n := looks[i].Items - looks[i-1].Items
		items += n
		seconds += float64(n) / looks[i].OpsPerS
	}
	return float64(items) / seconds, looks[at-1].Items
}

// printGoals prints what holds and what does not.
func (r *Run) printGoals(w io.Writer) {
	for _, g := range r.Goals() {
		verdict := "held"
		if !g.Held {
			verdict = "NOT HELD"
		}
		fmt.Fprintf(w, "%s: %s\n", g.Text, verdict)
	}
}
