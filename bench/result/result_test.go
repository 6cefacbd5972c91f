package result

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/bench/work"
)

// turn is a second of n operations of a millisecond each, which cost the server half a millisecond.
func turn(n int64) *work.Turn {
	t := &work.Turn{Ops: n, Bytes: n << 10, Items: n, Elapsed: time.Second, CPU: time.Duration(n) * 500 * time.Microsecond, Latency: &work.Histogram{}}
	for range n {
		t.Latency.Add(time.Millisecond)
	}
	return t
}

func run(blobd, peer, ceiling int64) *Run {
	r := &Run{Started: time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC), Commit: "abc"}
	for server, n := range map[string]int64{"azurite": peer, "blobd": blobd, "ceiling-commit": ceiling} {
		c := Cell{Group: "small", Workload: "put <4 KiB>", Clients: 32, Server: server, Ceilings: []string{"commit"}}
		c.Add(turn(n))
		c.Add(turn(n))
		r.Cells = append(r.Cells, c)
	}
	r.Compare()
	return r
}

func TestCellSumsItsTurns(t *testing.T) {
	var c Cell
	c.Add(turn(1000))
	c.Add(turn(3000))
	require.EqualValues(t, 4000, c.Ops)
	require.InDelta(t, 2000, c.OpsPerS, 1e-9)
	require.InDelta(t, 2.048, c.MBPerS, 1e-9)
	require.InDelta(t, 500, c.CPU, 1e-9)
	require.InDelta(t, 1000, c.P50, 20)
	require.InDelta(t, 1, c.Spread, 1e-9, "from 1000 to 3000 about a mean of 2000")
}

func TestRatios(t *testing.T) {
	r := run(2000, 100, 4000)
	for _, c := range r.Cells {
		if c.Server != "blobd" {
			require.Empty(t, c.Ratios, c.Server)
			continue
		}
		require.InDelta(t, 20, c.Ratios["azurite"].Ops, 1e-9)
		require.InDelta(t, 0.5, c.Ratios["ceiling-commit"].Ops, 1e-9)
		require.InDelta(t, 1, c.Ratios["azurite"].CPU, 1e-9)
	}
}

// A machine that is half as fast is no slower blobd; a blobd that is half as fast is.
func TestDiffJudgesAgainstTheCeiling(t *testing.T) {
	before := run(2000, 100, 4000)
	for _, tc := range []struct {
		name  string
		after *Run
		worse int
		text  string
	}{
		{"same", run(2000, 100, 4000), 0, "1.00x"},
		{"slower machine", run(1000, 50, 2000), 0, "1.00x"},
		{"slower blobd", run(1000, 100, 4000), 1, "WORSE"},
		{"faster blobd", run(3000, 100, 4000), 0, "better"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			require.Equal(t, tc.worse, Diff(&out, before, tc.after))
			require.Contains(t, out.String(), tc.text)
		})
	}
}

func TestSavedRunIsTheSame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.json")
	r := run(2000, 100, 4000)
	require.NoError(t, r.Save(path))
	back, err := Load(path)
	require.NoError(t, err)
	var a, b bytes.Buffer
	r.Print(&a)
	back.Print(&b)
	require.Equal(t, a.String(), b.String())
}

func TestMarkdown(t *testing.T) {
	r := run(2000, 100, 4000)
	c := r.Cells[0]
	c.Server, c.Ratios = "blobd-2+1", nil
	r.Cells = append(r.Cells, c)
	r.Scale = []Scale{{Kind: "blobs", Items: 100, OpsPerS: 10, P50: 1500, StartMS: 20}}
	r.Compare()
	var out strings.Builder
	r.Markdown(&out)
	require.Contains(t, out.String(), "| put <4 KiB> | 32 | 2000/s | ")
	require.Contains(t, out.String(), " | 20.0x, 1.00x less | commit: 50 %, 1.0x | ")
	require.Contains(t, out.String(), "| 2+1 | ")
	require.Contains(t, out.String(), "| blobs | 100 | 10.0 | 1.50 ms, - | - MB | 0.00 | 0.00 | 20.0 ms |")
}

func TestGoals(t *testing.T) {
	look := func(kind string, items int, rate, p99, start, rss, page, small float64) Scale {
		return Scale{Kind: kind, Items: items, OpsPerS: rate, GetP99: p99, StartMS: start, PeakRSS: rss, ListP50: page, SmallP50: small}
	}
	held := func(looks ...Scale) (out []bool) {
		for _, g := range (&Run{Scale: looks}).Goals() {
			out = append(out, g.Held)
		}
		return out
	}
	require.Equal(t, []bool{true, true, true}, held(look("blobs", 1, 1, 0, 0, 511, 0, 0), look("blobs", 2, 1, 0, 999, 100, 1.3, 1)))
	require.Equal(t, []bool{false, false, false}, held(look("blobs", 1, 1, 0, 1000, 513, 0, 0), look("blobs", 2, 1, 0, 500, 100, 1.4, 1)),
		"the worst of all looks counts for restarts and memory")
	require.Equal(t, []bool{true, true, true, true}, held(look("entities", 100, 1000, 100, 0, 100, 0, 0), look("entities", 200, 800, 150, 10, 100, 0, 0)))
	require.Equal(t, []bool{true, true, false, false}, held(look("entities", 100, 1000, 100, 0, 100, 0, 0), look("entities", 200, 790, 151, 10, 100, 0, 0)))
	eight := make([]Scale, 8)
	for i := range eight {
		eight[i] = look("entities", 100*(i+1), 1000, 100, 0, 100, 0, 0)
	}
	eight[3].OpsPerS, eight[7].OpsPerS = 1, 700 // the last quarter is judged as a whole: 200 in 0.24 s
	require.Equal(t, []bool{true, true, true}, held(eight...))
	require.Equal(t, []bool{true}, held(look("entities", 100, 1000, 100, 0, 100, 0, 0)), "one look has nothing to be compared with")
	require.Empty(t, held())
}

func TestPageIsWellFormedAndWhole(t *testing.T) {
	r := run(2000, 100, 4000)
	r.Failures = []string{"a <b> went wrong"}
	r.Scale = []Scale{{Kind: "blobs", Items: 100, OpsPerS: 10}, {Kind: "blobs", Items: 200, OpsPerS: 20}}
	var page strings.Builder
	require.NoError(t, r.HTML(&page))
	require.Contains(t, page.String(), "put &lt;4 KiB&gt;, 32 clients")
	require.Contains(t, page.String(), "a &lt;b&gt; went wrong")
	require.NotContains(t, page.String(), "ZgotmplZ", "a value that the template refused")
	for _, outside := range []string{"<script", "src=", "href=", "url("} {
		require.NotContains(t, page.String(), outside)
	}
	d := xml.NewDecoder(strings.NewReader(page.String()))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
