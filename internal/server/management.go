package server

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest/framing"
)

// management is the address for operators: /livez, /healthz, /metrics, /collect, /scrub, /check and /reset. It carries no data and no keys, and
// no profiles (net/http/pprof) unless they are asked for. Its connections are bounded in number and time.
// All methods do nothing on nil.
type management struct {
	listener net.Listener
	server   *http.Server
	store    atomic.Pointer[engine.Store] // nil until requests are taken, and from the stop on
	reset    atomic.Pointer[func(context.Context) error]
	done     chan struct{}
	checking sync.Mutex // held by the check that runs
}

func manage(ln net.Listener, m *metrics, audit *AuditLog, profiling bool, domains []string, log *zap.Logger) *management {
	g := &management{listener: bound(ln, framing.NewQuota(maxOperators, 0)), done: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /healthz", g.healthz)
	mux.HandleFunc("POST /collect", g.collect)
	mux.HandleFunc("GET /scrub", g.scrub)
	mux.HandleFunc("POST /scrub", g.steerScrub)
	mux.HandleFunc("POST /check", g.check)
	mux.HandleFunc("POST /reset", g.resetAccount)
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	write := 30 * time.Second
	if profiling {
		write = 5 * time.Minute // a CPU profile is taken for as long as its request says
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	}
	local := loopback(ln.Addr())
	origins := http.NewCrossOriginProtection() // a page in a browser on this machine reaches this address, and has no business here
	inner := audit.Handler("management", "", origins.Handler(mux))
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if local && !protocol.LocalHost(r.Host, domains) {
			http.Error(w, "this address does not know the host name; use an IP address or localhost", http.StatusMisdirectedRequest)
			return
		}
		inner.ServeHTTP(w, r)
	})
	g.server = &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: write,
		MaxHeaderBytes: 16 << 10, ErrorLog: zap.NewStdLog(log)}
	go func() {
		defer close(g.done)
		if err := g.server.Serve(g.listener); err != http.ErrServerClosed {
			log.Error("the management address failed", zap.Error(err))
		}
	}()
	return g
}

// Health is the answer of /healthz.
type Health struct {
	Ready    bool   `json:"ready"`
	Writable bool   `json:"writable"`
	Degraded bool   `json:"degraded"`
	Detail   string `json:"detail,omitempty"`
	Healing  int    `json:"extentsToHeal"`
	Garbage  int64  `json:"garbageBytes"`
	Stuck    int    `json:"stuckOperations"`
	Disks    []Disk `json:"disks,omitempty"`
	Scrub    *Scrub `json:"scrub,omitempty"`
}

// Disk is how one data directory is.
type Disk struct {
	Path   string `json:"path"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
	Free   uint64 `json:"freeBytes"`
	Total  uint64 `json:"totalBytes"`

	Rebuilt int64 `json:"rebuiltBlocks"`
}

// Words says it in a line for each thing that is not as it should be.
func (h *Health) Words() string {
	var says []string
	switch {
	case !h.Ready && h.Detail == "":
		says = append(says, "requests are not served")
	case h.Detail != "":
		says = append(says, h.Detail)
	case !h.Writable:
		says = append(says, "writes are not taken")
	case h.Degraded:
		says = append(says, "serving, but with less redundancy than it has disks for")
	default:
		says = append(says, "serving")
	}
	for _, d := range h.Disks {
		if !d.OK {
			says = append(says, d.Path+": "+d.Detail)
		}
	}
	return strings.Join(says, "\n")
}

// healthz answers 200 when requests are served and writes taken, else 503; a degraded store that takes writes is healthy.
func (g *management) healthz(w http.ResponseWriter, _ *http.Request) {
	var h Health
	if store := g.store.Load(); store != nil {
		s := (*store).Health()
		h = Health{Ready: true, Writable: s.Writable, Degraded: s.Degraded, Detail: s.Detail,
			Healing: s.Healing, Garbage: s.Garbage, Stuck: s.Stuck}
		for _, d := range s.Disks {
			h.Disks = append(h.Disks, Disk(d))
		}
		h.Scrub = scrubOf(s.Scrub)
	} else {
		h.Detail = "starting or stopping"
	}
	status := http.StatusOK
	if !h.Ready || !h.Writable {
		status = http.StatusServiceUnavailable
	}
	answer(w, status, h)
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a failure is the client's
}

// collect frees what is garbage and answers when that is done.
func (g *management) collect(w http.ResponseWriter, req *http.Request) {
	store := g.store.Load()
	if store == nil {
		http.Error(w, "starting or stopping", http.StatusServiceUnavailable)
		return
	}
	// It may take longer than other answers.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // without it a long one has no answer
	if err := (*store).Collect(req.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

// resetAccount empties the emulator's account, and answers when that is done.
func (g *management) resetAccount(w http.ResponseWriter, req *http.Request) {
	if g.store.Load() == nil {
		http.Error(w, "starting or stopping", http.StatusServiceUnavailable)
		return
	}
	reset := g.reset.Load()
	if reset == nil {
		http.Error(w, "nothing but the emulator's account is ever reset, and this server does not have it", http.StatusForbidden)
		return
	}
	if err := (*reset)(req.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

// ready tells from now on how the backend's store is; nil means that requests are not taken.
func (g *management) ready(b *Backend) {
	switch {
	case g == nil:
	case b == nil || b.Store == nil:
		g.store.Store(nil)
	default:
		if b.Reset != nil {
			g.reset.Store(&b.Reset)
		}
		g.store.Store(&b.Store)
	}
}

func (g *management) close() {
	if g == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if g.server.Shutdown(ctx) != nil {
		_ = g.server.Close()
	}
	<-g.done
}
