// Package monitoring holds what Prometheus and Grafana are given in monitoring/ to the metrics that there are.
package monitoring

import (
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
	"github.com/blobd/blobd/internal/server"
)

var language = parser.NewParser(parser.Options{})

// loadRules reads the rules as Prometheus does.
func loadRules(t *testing.T) (all []rulefmt.Rule) {
	groups, errs := rulefmt.ParseFile("../../monitoring/alerts.yaml", false, model.UTF8Validation, language, slog.New(slog.DiscardHandler))
	require.Empty(t, errs)
	for _, g := range groups.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// sample implements chunks.Sample.
type sample struct {
	t int64
	v float64
}

func (s sample) T() int64                      { return s.t }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.v }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }

// loaded are series of a value each minute from the beginning of time on, one to a line in the notation of Prometheus's tests.
func loaded(t *testing.T, lines string) storage.Queryable {
	var all []storage.Series
	for line := range strings.Lines(lines) {
		lset, values, err := language.ParseSeriesDesc(strings.TrimSpace(line))
		require.NoError(t, err, line)
		samples := make([]chunks.Sample, len(values))
		for i, v := range values {
			samples[i] = sample{int64(i) * 60_000, v.Value}
		}
		all = append(all, storage.NewListSeries(lset, samples))
	}
	return &storage.MockQueryable{MockQuerier: &storage.MockQuerier{
		SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
			var found []storage.Series
			for _, s := range all {
				if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.Labels().Get(m.Name)) }) {
					found = append(found, s)
				}
			}
			return &seriesSet{found: found}
		},
	}}
}

// seriesSet implements storage.SeriesSet.
type seriesSet struct {
	found []storage.Series
	now   storage.Series
}

func (s *seriesSet) Next() bool {
	if len(s.found) == 0 {
		return false
	}
	s.now, s.found = s.found[0], s.found[1:]
	return true
}
func (s *seriesSet) At() storage.Series                { return s.now }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }

// metrics are those that a server shows, by name.
func metrics() map[string]*engine.Metric {
	all := map[string]*engine.Metric{
		"up": {Name: "up"}, "process_resident_memory_bytes": {}, "process_cpu_seconds_total": {}, "process_open_fds": {}, "process_max_fds": {}, "go_goroutines": {}}
	own, parts := server.Metrics()
	for _, m := range slices.Concat(own, parts, local.Metrics()) {
		all[m.Name] = m
		if m.Kind == engine.Histogram {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				all[m.Name+suffix] = m
			}
		}
	}
	return all
}

// holdToMetrics looks whether a query asks for metrics and labels that there are.
func holdToMetrics(t *testing.T, query string) {
	expr, err := language.ParseExpr(query)
	require.NoError(t, err, query)
	all := metrics()
	known := []string{"job", "instance", "le", "__name__"}
	var grouped []string
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			m := all[n.Name]
			require.NotNil(t, m, "%s: there is no metric %s", query, n.Name)
			known = append(known, m.Labels...)
			for _, matcher := range n.LabelMatchers {
				require.True(t, slices.Contains(append(known[:4:4], m.Labels...), matcher.Name), "%s: %s has no label %s", query, n.Name, matcher.Name)
			}
		case *parser.AggregateExpr:
			grouped = append(grouped, n.Grouping...)
		}
		return nil
	})
	require.Subset(t, known, grouped, query)
}

// firing evaluates a rule each minute and returns those for which it fires in the end: their trouble has lasted for as long as it says.
func firing(t *testing.T, rule rulefmt.Rule, series string, until time.Duration) (labelled []labels.Labels) {
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1_000_000, Timeout: time.Minute, Parser: language})
	defer engine.Close()
	store := loaded(t, series)
	since := map[string]time.Duration{}
	for at := time.Duration(0); at <= until; at += time.Minute {
		query, err := engine.NewInstantQuery(t.Context(), store, nil, rule.Expr, time.Unix(0, 0).Add(at))
		require.NoError(t, err)
		result := query.Exec(t.Context())
		require.NoError(t, result.Err)
		vector, err := result.Vector()
		require.NoError(t, err)
		still := map[string]time.Duration{}
		labelled = nil
		for _, v := range vector {
			key := v.Metric.String()
			still[key] = at
			if began, ok := since[key]; ok {
				still[key] = began
			}
			if at-still[key] >= time.Duration(rule.For) {
				labelled = append(labelled, v.Metric.Copy())
			}
		}
		query.Close()
		since = still
	}
	return labelled
}

// troubles are series that make an alert fire within a time, and not a step earlier.
var troubles = map[string]struct {
	series string
	quiet  time.Duration // it does not fire yet
	fires  time.Duration
}{
	"BlobdDown":        {`up{job="blobd",instance="i"} 1 0x20`, 2 * time.Minute, 3 * time.Minute},
	"BlobdNotWritable": {`blobd_store_writable{instance="i"} 1 0x20`, time.Minute, 2 * time.Minute},
	"BlobdDegraded":    {`blobd_store_degraded{instance="i"} 0 1x60`, 15 * time.Minute, 16 * time.Minute},
	"BlobdDiskFailed": {`blobd_disk_ok{instance="i",path="/a"} 1 0x20
	blobd_disk_ok{instance="i",path="/b"} 1x20`, time.Minute, 2 * time.Minute},
	"BlobdDiskStalled": {`blobd_disk_stalled{instance="i",path="/a"} 0 0 1 0x20`, time.Minute, 8 * time.Minute},
	"BlobdDiskSlow": {`blobd_disk_operation_seconds_bucket{instance="i",path="/a",operation="sync",le="0.1"} 0+60x30
	blobd_disk_operation_seconds_bucket{instance="i",path="/a",operation="sync",le="4"} 0+100x30
	blobd_disk_operation_seconds_bucket{instance="i",path="/a",operation="sync",le="+Inf"} 0+100x30`, 10 * time.Minute, 12 * time.Minute},
	"BlobdDiskErrors":             {`blobd_disk_errors_total{instance="i",path="/a",operation="read"} 0 0 0 1x20`, 2 * time.Minute, 4 * time.Minute},
	"BlobdDiskNearlyFull":         {"blobd_disk_free_bytes{instance=\"i\",path=\"/a\"} 100 9x20\nblobd_disk_total_bytes{instance=\"i\",path=\"/a\"} 100x20", 5 * time.Minute, 7 * time.Minute},
	"BlobdDiskFillsUp":            {"blobd_disk_free_bytes{instance=\"i\",path=\"/a\"} 390-0.5x300\nblobd_disk_total_bytes{instance=\"i\",path=\"/a\"} 1000x300", 30 * time.Minute, 2 * time.Hour},
	"BlobdFull":                   {`blobd_store_refuses{instance="i",reason="full"} 0 1x20`, 0, time.Minute},
	"BlobdDamagedForGood":         {`blobd_damaged_for_good{instance="i"} 0 2x20`, 0, time.Minute},
	"BlobdScrubFoundDamage":       {`blobd_scrub_found_total{instance="i"} 0 0 1x20`, time.Minute, 3 * time.Minute},
	"BlobdReadsRebuilt":           {`blobd_disk_rebuilt_blocks_total{instance="i",path="/a"} 0 0 7x20`, time.Minute, 3 * time.Minute},
	"BlobdScrubLate":              {`blobd_scrub_last_full_pass_age_seconds{instance="i"} 2678300+60x100`, time.Hour, 70 * time.Minute},
	"BlobdHealingLags":            {`blobd_extents_to_heal{instance="i"} 0 3x100`, time.Hour, 62 * time.Minute},
	"BlobdMetadataReplicaMissing": {`blobd_metadata_replicas_missing{instance="i"} 0 1x40`, 10 * time.Minute, 12 * time.Minute},
	"BlobdWriteStalls":            {`blobd_lsm_write_stall_seconds_total{instance="i"} 0+12x40`, 9 * time.Minute, 18 * time.Minute},
	"BlobdCollectionFails":        {`blobd_collections_failed_total{instance="i"} 0 0 1 1 2 3x40`, 4 * time.Minute, 6 * time.Minute},
	"BlobdErrors": {`blobd_requests_total{instance="i",service="blob",operation="GetBlob",status="200"} 0+97x40
	blobd_requests_total{instance="i",service="blob",operation="GetBlob",status="503"} 0+2x40`, 10 * time.Minute, 12 * time.Minute},
	"BlobdTurnsAway":          {`blobd_connections_turned_away_total{instance="i",service="blob"} 0+1x40`, 10 * time.Minute, 12 * time.Minute},
	"BlobdAuditDropped":       {`blobd_audit_dropped_total{instance="i"} 0 0 3x20`, time.Minute, 3 * time.Minute},
	"BlobdAccessLogLost":      {`blobd_access_log_lost_total{instance="i"} 0 0 3x20`, time.Minute, 3 * time.Minute},
	"BlobdDefect":             {`blobd_panics_total{instance="i"} 0 0 1x20`, time.Minute, 3 * time.Minute},
	"BlobdCertificateExpires": {`blobd_certificate_not_after_seconds{instance="i"} 1200000x100`, 59 * time.Minute, 62 * time.Minute},
}

// wellness is what a store shows that is well: nothing fires for that.
const wellness = `	up{job="blobd",instance="i"} 1x200
	blobd_store_writable{instance="i"} 1x200
	blobd_store_degraded{instance="i"} 0x200
	blobd_disk_ok{instance="i",path="/a"} 1x200
	blobd_disk_stalled{instance="i",path="/a"} 0x200
	blobd_disk_operation_seconds_bucket{instance="i",path="/a",operation="sync",le="0.1"} 0+100x200
	blobd_disk_operation_seconds_bucket{instance="i",path="/a",operation="sync",le="+Inf"} 0+100x200
	blobd_disk_errors_total{instance="i",path="/a",operation="sync"} 3x200
	blobd_disk_free_bytes{instance="i",path="/a"} 500x200
	blobd_disk_total_bytes{instance="i",path="/a"} 1000x200
	blobd_disk_free_bytes{instance="i",path="missing disk 2"} 0x200
	blobd_disk_total_bytes{instance="i",path="missing disk 2"} 0x200
	blobd_store_refuses{instance="i",reason="full"} 0x200
	blobd_damaged_for_good{instance="i"} 0x200
	blobd_scrub_found_total{instance="i"} 9x200
	blobd_disk_rebuilt_blocks_total{instance="i",path="/a"} 9x200
	blobd_scrub_last_full_pass_age_seconds{instance="i"} 80000+60x200
	blobd_extents_to_heal{instance="i"} 0 1 1 0x200
	blobd_metadata_replicas_missing{instance="i"} 0x200
	blobd_lsm_write_stall_seconds_total{instance="i"} 0 9x200
	blobd_collections_failed_total{instance="i"} 0 1x200
	blobd_requests_total{instance="i",service="blob",operation="GetBlob",status="200"} 0+1000x200
	blobd_requests_total{instance="i",service="blob",operation="GetBlob",status="404"} 0+1000x200
	blobd_requests_total{instance="i",service="blob",operation="GetBlob",status="503"} 0+1x200
	blobd_connections_turned_away_total{instance="i",service="blob"} 5x200
	blobd_awaited_refused_total{instance="i",of="bodies"} 5x200
	blobd_panics_total{instance="i"} 1x200
	blobd_certificate_not_after_seconds{instance="i"} 7000000x200
`

func TestAlerts(t *testing.T) {
	operations, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	var names []string
	for _, rule := range loadRules(t) {
		names = append(names, rule.Alert)
		t.Run(rule.Alert, func(t *testing.T) {
			holdToMetrics(t, rule.Expr)
			require.Contains(t, string(operations), "| `"+rule.Alert+"` |", "docs/operations.md does not say what it means")
			require.Contains(t, []string{"critical", "warning"}, rule.Labels["severity"])
			require.Empty(t, firing(t, rule, wellness, 3*time.Hour), "a store that is well")

			trouble, ok := troubles[rule.Alert]
			require.True(t, ok, "no trouble is known that fires it")
			series := trouble.series
			require.Empty(t, firing(t, rule, series, trouble.quiet), "too early")
			alerts := firing(t, rule, series, trouble.fires)
			require.Len(t, alerts, 1)
			require.Equal(t, "i", alerts[0].Get("instance"))
			require.NotEmpty(t, rule.Annotations["summary"])
		})
	}
	for name := range troubles {
		require.Contains(t, names, name)
	}
	for line := range strings.Lines(string(operations)) {
		if name, ok := strings.CutPrefix(line, "| `Blobd"); ok {
			name, _, _ = strings.Cut(name, "`")
			require.Contains(t, names, "Blobd"+name, "docs/operations.md tells of an alert that there is not")
		}
	}
}
