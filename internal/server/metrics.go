package server

import (
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/framing"
	"github.com/blobd/blobd/internal/speedup"
)

// metrics is what /metrics shows. A request costs one look-up in a map that changes only when a new kind of answer appears.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	received *prometheus.CounterVec
	sent     *prometheus.CounterVec
	inFlight atomic.Int64
	panics   prometheus.Counter

	mu     sync.Mutex
	series atomic.Pointer[map[seriesKey]*series]
}

type seriesKey struct {
	service   byte
	operation string
	status    int
}

// series holds the metrics of one operation and status.
type series struct {
	requests       prometheus.Counter
	seconds        prometheus.Observer
	received, sent prometheus.Counter
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "blobd_requests_total",
			Help: "Requests answered, by service, operation and status; 499 is a client that went away."}, []string{"service", "operation", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "blobd_request_seconds",
			Help:    "Time from the end of a request's header to the end of its answer.",
			Buckets: prometheus.ExponentialBuckets(0.00005, 2.5, 15)}, []string{"service", "operation"}),
		received: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "blobd_received_bytes_total",
			Help: "Bytes of request bodies read."}, []string{"service", "operation"}),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "blobd_sent_bytes_total",
			Help: "Bytes of response bodies sent."}, []string{"service", "operation"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{Name: "blobd_panics_total", Help: "Defects that broke off a request."}),
	}
	m.series.Store(&map[seriesKey]*series{})
	m.registry.MustRegister(m.requests, m.seconds, m.received, m.sent, m.panics,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "blobd_requests_in_flight", Help: "Requests under way."},
			func() float64 { return float64(m.inFlight.Load()) }),
		speedups{}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// watch adds what is read at every scrape.
func (m *metrics) watch(store engine.Store, fronts []front, limits *framing.Limits) {
	for _, f := range fronts {
		labels := prometheus.Labels{"service": f.service.String()}
		m.registry.MustRegister(
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "blobd_connections", Help: "Open connections.", ConstLabels: labels},
				func() float64 { return float64(f.listener.Open()) }),
			prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "blobd_malformed_requests_total",
				Help: "Requests refused because they were not well-formed HTTP.", ConstLabels: labels},
				func() float64 { return float64(f.listener.Refused()) }),
			prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "blobd_connections_turned_away_total",
				Help: "Connections closed because there were too many.", ConstLabels: labels},
				func() float64 { return float64(f.listener.Turned()) }))
	}
	for name, b := range map[string]*framing.Budget{"headers": limits.Headers, "bodies": limits.Bodies, "answers": limits.Answers} {
		if b == nil {
			continue
		}
		labels := prometheus.Labels{"of": name}
		m.registry.MustRegister(
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "blobd_awaited_bytes", ConstLabels: labels,
				Help: "Memory that waits for clients: for headers, whose sender is not known yet, for bodies of authorized requests, and answers that they have not taken."}, func() float64 { return float64(b.Used()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "blobd_awaited_limit_bytes", ConstLabels: labels,
				Help: "How much memory may wait for clients; beyond it they get 503."}, func() float64 { return float64(b.Limit()) }),
			prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "blobd_awaited_refused_total", ConstLabels: labels,
				Help: "Requests that got 503 as too much memory waited for clients."}, func() float64 { return float64(b.Refused()) }))
	}
	if q := limits.Quota; q != nil {
		m.registry.MustRegister(
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "blobd_connections_limit",
				Help: "Connections that all addresses may have together; 0 is no limit."}, func() float64 { return float64(q.Total()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "blobd_connections_client_limit",
				Help: "Connections that a client address may have; 0 is no limit."}, func() float64 { return float64(q.Client()) }))
	}
	if store != nil {
		m.registry.MustRegister(storeCollector{store})
	}
}

func (m *metrics) begin() { m.inFlight.Add(1) }

func (m *metrics) done(r *rest.Request, seconds float64) {
	m.inFlight.Add(-1)
	s := m.of(seriesKey{byte(r.Service), r.Operation, r.Status()})
	s.requests.Inc()
	s.seconds.Observe(seconds)
	if n := r.Received(); n > 0 {
		s.received.Add(float64(n))
	}
	if n := r.Sent(); n > 0 {
		s.sent.Add(float64(n))
	}
}

// of finds the series of a key, making it when it is first met. Keys are few: operations come from the tables.
func (m *metrics) of(k seriesKey) *series {
	if s := (*m.series.Load())[k]; s != nil {
		return s
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old := *m.series.Load()
	if s := old[k]; s != nil {
		return s
	}
	service, operation := "blob", k.operation
	if k.service == 't' {
		service = "table"
	}
	if operation == "" {
		operation = "Unknown"
	}
	s := &series{
		requests: m.requests.WithLabelValues(service, operation, strconv.Itoa(k.status)),
		seconds:  m.seconds.WithLabelValues(service, operation),
		received: m.received.WithLabelValues(service, operation),
		sent:     m.sent.WithLabelValues(service, operation),
	}
	next := make(map[seriesKey]*series, len(old)+1)
	for k, v := range old {
		next[k] = v
	}
	next[k] = s
	m.series.Store(&next)
	return s
}

// speedups shows the parts that are there for speed, and whether they pay.
type speedups struct{}

var partDesc = prometheus.NewDesc("blobd_part_on", "1 if the part, which is there for speed alone, is not turned off (--without).", []string{"part"}, nil)

var profiledDesc = prometheus.NewDesc("blobd_build_profiled", "1 if the compiler was guided by a profile (go build -pgo=off for none).", nil, nil)

// profiled tells whether the compiler had a profile.
var profiled = sync.OnceValue(func() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-pgo" && s.Value != "" && s.Value != "off" })
})

// Describe implements prometheus.Collector.
func (c speedups) Describe(to chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, to) }

// Collect implements prometheus.Collector.
func (speedups) Collect(to chan<- prometheus.Metric) {
	to <- prometheus.MustNewConstMetric(profiledDesc, prometheus.GaugeValue, flag(profiled()))
	for _, p := range speedup.All() {
		to <- prometheus.MustNewConstMetric(partDesc, prometheus.GaugeValue, flag(p.On()), p.String())
	}
	for _, c := range speedup.Counters() {
		kind := prometheus.CounterValue
		if c.Level {
			kind = prometheus.GaugeValue
		}
		to <- prometheus.MustNewConstMetric(prometheus.NewDesc(c.Name, c.Help, nil, nil), kind, float64(c.Value()))
	}
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// storeCollector shows the store's health.
type storeCollector struct{ store engine.Store }

var (
	writableDesc  = prometheus.NewDesc("blobd_store_writable", "1 if the store takes writes.", nil, nil)
	degradedDesc  = prometheus.NewDesc("blobd_store_degraded", "1 if some data has less redundancy than configured.", nil, nil)
	diskOKDesc    = prometheus.NewDesc("blobd_disk_ok", "1 if the data directory is in use.", []string{"path"}, nil)
	diskFreeDesc  = prometheus.NewDesc("blobd_disk_free_bytes", "Free bytes of the data directory's file system.", []string{"path"}, nil)
	diskTotalDesc = prometheus.NewDesc("blobd_disk_total_bytes", "Size of the data directory's file system in bytes.", []string{"path"}, nil)
)

var (
	diskRebuiltDesc = prometheus.NewDesc("blobd_disk_rebuilt_blocks_total", "Blocks that the disk did not give as they were written, rebuilt for readers.", []string{"path"}, nil)
	healingDesc     = prometheus.NewDesc("blobd_extents_to_heal", "Extents with less redundancy than configured.", nil, nil)
	garbageDesc     = prometheus.NewDesc("blobd_garbage_bytes", "Content without owner that the last collection left on the disks.", nil, nil)
	stuckDesc       = prometheus.NewDesc("blobd_stuck_operations", "File operations that nobody waits for any more, as their disk does not answer.", nil, nil)
	filesDesc       = prometheus.NewDesc("blobd_content_files_open", "Content files open for reading.", nil, nil)
	maxFilesDesc    = prometheus.NewDesc("blobd_content_files_limit", "Content files that may be open for reading.", nil, nil)
)

var (
	scrubAgeDesc     = prometheus.NewDesc("blobd_scrub_last_full_pass_age_seconds", "Time since the store had read itself whole; absent before it has.", nil, nil)
	scrubRunningDesc = prometheus.NewDesc("blobd_scrub_running", "1 if the store is reading itself.", nil, nil)
	scrubPausedDesc  = prometheus.NewDesc("blobd_scrub_paused", "1 if an operator has paused the scrub.", nil, nil)
	scrubDoneDesc    = prometheus.NewDesc("blobd_scrub_progress_ratio", "How much of the pass under way is done, 0 to 1.", nil, nil)
	scrubBytesDesc   = prometheus.NewDesc("blobd_scrub_read_bytes_total", "Bytes that the scrub has read, of all disks.", nil, nil)
	scrubFoundDesc   = prometheus.NewDesc("blobd_scrub_found_total", "Blocks, headers, columns and metadata files that the scrub found not as they were written.", nil, nil)
	scrubHealedDesc  = prometheus.NewDesc("blobd_scrub_healed_total", "What of that is as it was again.", nil, nil)
	damagedDesc      = prometheus.NewDesc("blobd_damaged_for_good", "Chunks and metadata files that nothing is left to rebuild from.", nil, nil)
)

// collectScrub shows how far the store has read itself.
func collectScrub(s engine.Scrub, to chan<- prometheus.Metric) {
	if s.State == "" {
		return
	}
	emit := func(d *prometheus.Desc, kind prometheus.ValueType, v float64) {
		to <- prometheus.MustNewConstMetric(d, kind, v)
	}
	if !s.Finished.IsZero() {
		emit(scrubAgeDesc, prometheus.GaugeValue, max(0, time.Since(s.Finished).Seconds()))
	}
	emit(scrubRunningDesc, prometheus.GaugeValue, flag(s.State == "running"))
	emit(scrubPausedDesc, prometheus.GaugeValue, flag(s.State == "paused"))
	emit(scrubDoneDesc, prometheus.GaugeValue, min(1, float64(s.Read)/float64(max(1, s.Total))))
	emit(scrubBytesDesc, prometheus.CounterValue, float64(s.ReadBytes))
	emit(scrubFoundDesc, prometheus.CounterValue, float64(s.FoundAll))
	emit(scrubHealedDesc, prometheus.CounterValue, float64(s.HealedAll))
	emit(damagedDesc, prometheus.GaugeValue, float64(s.DamagedAll))
}

// Describe implements prometheus.Collector.
func (c storeCollector) Describe(to chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, to) }

// Collect implements prometheus.Collector.
func (c storeCollector) Collect(to chan<- prometheus.Metric) {
	h := c.store.Health()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(writableDesc, flag(h.Writable))
	gauge(degradedDesc, flag(h.Degraded))
	gauge(healingDesc, float64(h.Healing))
	gauge(garbageDesc, float64(h.Garbage))
	gauge(stuckDesc, float64(h.Stuck))
	gauge(filesDesc, float64(h.Files))
	gauge(maxFilesDesc, float64(h.MaxFiles))
	collectScrub(h.Scrub, to)
	for _, d := range h.Disks {
		to <- prometheus.MustNewConstMetric(diskRebuiltDesc, prometheus.CounterValue, float64(d.Rebuilt), d.Path)
		gauge(diskOKDesc, flag(d.OK), d.Path)
		gauge(diskFreeDesc, float64(d.Free), d.Path)
		gauge(diskTotalDesc, float64(d.Total), d.Path)
	}
}
