package server

import (
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/speedup"
)

// metric is one of the server's own, with what Prometheus needs to show it.
type metric struct {
	engine.Metric
	desc *prometheus.Desc
}

// defined are they, in the order of docs/metrics.md.
var defined []*engine.Metric

func define(kind engine.MetricKind, name, help string, labels ...string) *metric {
	m := &metric{engine.Metric{Name: name, Help: help, Kind: kind, Labels: labels}, prometheus.NewDesc(name, help, labels, nil)}
	defined = append(defined, &m.Metric)
	return m
}

func gauge(name, help string, labels ...string) *metric {
	return define(engine.Gauge, name, help, labels...)
}

func counter(name, help string, labels ...string) *metric {
	return define(engine.Counter, name, help, labels...)
}

func histogram(bounds []float64, name, help string, labels ...string) *metric {
	m := define(engine.Histogram, name, help, labels...)
	m.Bounds = bounds
	return m
}

// Metrics are what /metrics shows of the server, whatever the store, and of the parts that are there for speed.
func Metrics() (own, parts []*engine.Metric) {
	for _, c := range speedup.Counters() {
		kind := engine.Counter
		if c.Level {
			kind = engine.Gauge
		}
		parts = append(parts, &engine.Metric{Name: c.Name, Help: c.Help, Kind: kind})
	}
	return defined, parts
}

// shower shows a value of a metric.
type shower func(m *metric, v float64, labels ...string)

// atScrape is a collector of what is read at every scrape.
type atScrape func(show shower)

// Describe implements prometheus.Collector: what there is shows at a scrape.
func (atScrape) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c atScrape) Collect(to chan<- prometheus.Metric) {
	c(func(m *metric, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(m.desc, valueType(m.Kind), v, labels...)
	})
}

func valueType(k engine.MetricKind) prometheus.ValueType {
	if k == engine.Counter {
		return prometheus.CounterValue
	}
	return prometheus.GaugeValue
}

// meterCollector shows what a store measures.
type meterCollector struct {
	meter engine.Meter
	descs map[*engine.Metric]*prometheus.Desc
}

func newMeterCollector(m engine.Meter) *meterCollector {
	c := &meterCollector{m, make(map[*engine.Metric]*prometheus.Desc)}
	for _, metric := range m.Metrics() {
		c.descs[metric] = prometheus.NewDesc(metric.Name, metric.Help, metric.Labels, nil)
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *meterCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *meterCollector) Collect(to chan<- prometheus.Metric) {
	c.meter.Measure(func(m engine.Measurement) {
		desc := c.descs[m.Metric]
		if m.Kind != engine.Histogram {
			to <- prometheus.MustNewConstMetric(desc, valueType(m.Kind), m.Value, m.Labels...)
			return
		}
		buckets, n := make(map[float64]uint64, len(m.Bounds)), uint64(0)
		for i, count := range m.Counts {
			n += count
			if i < len(m.Bounds) {
				buckets[m.Bounds[i]] = n
			}
		}
		to <- prometheus.MustNewConstHistogram(desc, n, m.Value, buckets, m.Labels...)
	})
}

var (
	buildProfiled = gauge("blobd_build_profiled", "1 if the compiler was guided by a profile (go build -pgo=off for none).")
	partOn        = gauge("blobd_part_on", "1 if the part, which is there for speed alone, is not turned off (--without).", "part")
)

// profiled tells whether the compiler had a profile.
var profiled = sync.OnceValue(func() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-pgo" && s.Value != "" && s.Value != "off" })
})

// speedupMetrics are the counters of the parts that are there for speed.
var speedupMetrics = sync.OnceValue(func() map[*speedup.Counter]*metric {
	all := make(map[*speedup.Counter]*metric)
	_, parts := Metrics()
	for i, c := range speedup.Counters() {
		all[c] = &metric{*parts[i], prometheus.NewDesc(c.Name, c.Help, nil, nil)}
	}
	return all
})

// showSpeedups shows the parts that are there for speed, and whether they pay.
func showSpeedups(show shower) {
	show(buildProfiled, flag(profiled()))
	for _, p := range speedup.All() {
		show(partOn, flag(p.On()), p.String())
	}
	for c, m := range speedupMetrics() {
		show(m, float64(c.Value()))
	}
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

var (
	writable    = gauge("blobd_store_writable", "1 if the store takes writes.")
	degraded    = gauge("blobd_store_degraded", "1 if some data has less redundancy than configured.")
	diskOK      = gauge("blobd_disk_ok", "1 if the data directory is in use.", "path")
	diskFree    = gauge("blobd_disk_free_bytes", "Free bytes of the data directory's file system.", "path")
	diskTotal   = gauge("blobd_disk_total_bytes", "Size of the data directory's file system in bytes.", "path")
	diskRebuilt = counter("blobd_disk_rebuilt_blocks_total", "Blocks that the disk did not give as they were written, rebuilt for readers.", "path")
	healing     = gauge("blobd_extents_to_heal", "Extents with less redundancy than configured.")
	garbage     = gauge("blobd_garbage_bytes", "Content without owner that the last collection left on the disks.")
	stuck       = gauge("blobd_stuck_operations", "File operations that nobody waits for any more, as their disk does not answer.")
	files       = gauge("blobd_content_files_open", "Content files open for reading.")
	filesLimit  = gauge("blobd_content_files_limit", "Content files that may be open for reading.")

	scrubAge     = gauge("blobd_scrub_last_full_pass_age_seconds", "Time since the store had read itself whole; absent before it has.")
	scrubRunning = gauge("blobd_scrub_running", "1 if the store is reading itself.")
	scrubPaused  = gauge("blobd_scrub_paused", "1 if an operator has paused the scrub.")
	scrubDone    = gauge("blobd_scrub_progress_ratio", "How much of the pass under way is done, 0 to 1.")
	scrubBytes   = counter("blobd_scrub_read_bytes_total", "Bytes that the scrub has read, of all disks.")
	scrubFound   = counter("blobd_scrub_found_total", "Blocks, headers, columns and metadata files that the scrub found not as they were written.")
	scrubHealed  = counter("blobd_scrub_healed_total", "What of that is as it was again.")
	damaged      = gauge("blobd_damaged_for_good", "Chunks and metadata files that nothing is left to rebuild from.")
)

// showHealth shows the store's health.
func showHealth(h engine.Health, show shower) {
	show(writable, flag(h.Writable))
	show(degraded, flag(h.Degraded))
	show(healing, float64(h.Healing))
	show(garbage, float64(h.Garbage))
	show(stuck, float64(h.Stuck))
	show(files, float64(h.Files))
	show(filesLimit, float64(h.MaxFiles))
	showScrub(h.Scrub, show)
	for i, d := range h.Disks {
		path := d.Path
		if path == "" { // it is not there, and where it was is not known
			path = fmt.Sprintf("missing disk %d", i+1)
		}
		show(diskRebuilt, float64(d.Rebuilt), path)
		show(diskOK, flag(d.OK), path)
		show(diskFree, float64(d.Free), path)
		show(diskTotal, float64(d.Total), path)
	}
}

// showScrub shows how far the store has read itself.
func showScrub(s engine.Scrub, show shower) {
	if s.State == "" {
		return
	}
	if !s.Finished.IsZero() {
		show(scrubAge, max(0, time.Since(s.Finished).Seconds()))
	}
	show(scrubRunning, flag(s.State == "running"))
	show(scrubPaused, flag(s.State == "paused"))
	show(scrubDone, min(1, float64(s.Read)/float64(max(1, s.Total))))
	show(scrubBytes, float64(s.ReadBytes))
	show(scrubFound, float64(s.FoundAll))
	show(scrubHealed, float64(s.HealedAll))
	show(damaged, float64(s.DamagedAll))
}
