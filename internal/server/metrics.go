package server

import (
	"crypto/tls"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/framing"
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

var (
	requestsTotal = counter("blobd_requests_total", "Requests answered, by service, operation and status; 499 is a client that went away within its body, or while its source on another server was read.", "service", "operation", "status")
	requestTime   = histogram(prometheus.ExponentialBuckets(0.00005, 2.5, 15), "blobd_request_seconds", "Time from the end of a request's header to the end of its answer.", "service", "operation")
	receivedBytes = counter("blobd_received_bytes_total", "Bytes of request bodies read.", "service", "operation")
	sentBytes     = counter("blobd_sent_bytes_total", "Bytes of response bodies sent.", "service", "operation")
	panicsTotal   = counter("blobd_panics_total", "Defects that broke off a request; please report them with the log.")
	inFlight      = gauge("blobd_requests_in_flight", "Requests under way.")

	connections    = gauge("blobd_connections", "Open connections.", "service")
	malformed      = counter("blobd_malformed_requests_total", "Requests refused before they were looked at, because they were not well-formed HTTP.", "service")
	turnedAway     = counter("blobd_connections_turned_away_total", "Connections closed because there were too many.", "service")
	totalLimit     = gauge("blobd_connections_limit", "Connections that all addresses may have together; 0 is no limit.")
	clientLimit    = gauge("blobd_connections_client_limit", "Connections that a client address may have; 0 is no limit.")
	awaited        = gauge("blobd_awaited_bytes", "Memory that waits for clients: for headers, whose sender is not known yet, for bodies of authorized requests, and answers that they have not taken.", "of")
	awaitedLimit   = gauge("blobd_awaited_limit_bytes", "How much memory may wait for clients; beyond it they get 503.", "of")
	awaitedRefused = counter("blobd_awaited_refused_total", "Requests that got 503 as too much memory waited for clients, and connections that were cut off to have room for others.", "of")
	auditWritten   = counter("blobd_audit_lines_total", "Lines of the audit log that were written; absent without --audit-log.")
	auditDropped   = counter("blobd_audit_dropped_total", "Lines of the audit log that were dropped, as they could not be written fast enough or at all; absent without --audit-log.")
	auditWaiting   = gauge("blobd_audit_lines_waiting", "Lines of the audit log that wait to be written; absent without --audit-log.")
	accessLost     = counter("blobd_access_log_lost_total", "Lines of the access log that were lost, as they could not be written: the disk is full, or a pipe's reader does not take them; absent without the log.")
	certificateEnd = gauge("blobd_certificate_not_after_seconds", "When the TLS certificate in use expires, in Unix time; absent without HTTPS.")
)

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: requestsTotal.Name, Help: requestsTotal.Help}, requestsTotal.Labels),
		seconds:  prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: requestTime.Name, Help: requestTime.Help, Buckets: requestTime.Bounds}, requestTime.Labels),
		received: prometheus.NewCounterVec(prometheus.CounterOpts{Name: receivedBytes.Name, Help: receivedBytes.Help}, receivedBytes.Labels),
		sent:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: sentBytes.Name, Help: sentBytes.Help}, sentBytes.Labels),
		panics:   prometheus.NewCounter(prometheus.CounterOpts{Name: panicsTotal.Name, Help: panicsTotal.Help}),
	}
	m.series.Store(&map[seriesKey]*series{})
	m.registry.MustRegister(m.requests, m.seconds, m.received, m.sent, m.panics, atScrape(func(show shower) { show(inFlight, float64(m.inFlight.Load())) }),
		atScrape(showSpeedups), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// watch adds what is read at every scrape.
func (m *metrics) watch(store engine.Store, fronts []front, limits *framing.Limits, certificate func() (*tls.Certificate, error), audit *AuditLog, access *AccessLog) {
	m.registry.MustRegister(atScrape(func(show shower) {
		for _, f := range fronts {
			name := f.service.String()
			show(connections, float64(f.listener.Open()), name)
			show(malformed, float64(f.listener.Refused()), name)
			show(turnedAway, float64(f.listener.Turned()), name)
		}
		for name, b := range map[string]*framing.Budget{"headers": limits.Headers, "bodies": limits.Bodies, "answers": limits.Answers, "streams": limits.Streams} {
			if b != nil {
				show(awaited, float64(b.Used()), name)
				show(awaitedLimit, float64(b.Limit()), name)
				show(awaitedRefused, float64(b.Refused()), name)
			}
		}
		if q := limits.Quota; q != nil {
			show(totalLimit, float64(q.Total()))
			show(clientLimit, float64(q.Client()))
		}
		if audit != nil {
			show(auditWritten, float64(audit.written.Load()))
			show(auditDropped, float64(audit.dropped.Load()))
			show(auditWaiting, float64(len(audit.queue)))
		}
		if access != nil {
			show(accessLost, float64(access.lost.Load()))
		}
		if certificate != nil {
			if c, err := certificate(); err == nil && c.Leaf != nil {
				show(certificateEnd, float64(c.Leaf.NotAfter.Unix()))
			}
		}
	}))
	if store == nil {
		return
	}
	m.registry.MustRegister(atScrape(func(show shower) { showHealth(store.Health(), show) }))
	if meter, ok := store.(engine.Meter); ok {
		m.registry.MustRegister(newMeterCollector(meter))
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
