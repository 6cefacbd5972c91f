// Package server is the process's edge: the listeners with their limits and certificates, what is measured and logged of every
// request, the management address, and a graceful shutdown.
//
// Listen binds every address before anything else is opened, so a taken port is told at once and port 0 is known. Serve takes
// requests until its context ends; then nothing new is accepted, what is under way is finished within StopWithin, and only
// then it returns, so that the store can be closed after it.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/framing"
)

// Options says what to serve where.
type Options struct {
	// Addresses are host:port; port 0 picks a free one. An empty one is not served.
	BlobAddr, TableAddr, ManagementAddr string
	// ResourceManagerAddr needs a Certificate: it speaks HTTPS only.
	ResourceManagerAddr string
	// Certificate, if set, makes the blob and table addresses HTTPS.
	Certificate func() (*tls.Certificate, error)
	Limits      framing.Limits
	// Domains bounds what may follow <account>.<service>. in a host name.
	Domains []string
	// Strict refuses versions newer than the newest known one.
	Strict bool
	// AccountMetrics is of how many accounts /metrics shows what each does.
	AccountMetrics int
	// Profiling adds /debug/pprof/ to the management address.
	Profiling bool
	// StopWithin is how long requests under way may take to finish after the stop.
	StopWithin time.Duration
	Log        *zap.Logger
	Access     *AccessLog
	Audit      *AuditLog
}

// Backend is what the requests are for.
type Backend struct {
	Accounts    *account.Registry
	Blob, Table rest.Service
	Store       engine.Store
	// Reset empties the emulator's account; nil where there is none.
	Reset func(ctx context.Context) error
	// ResourceManager answers on its address.
	ResourceManager http.Handler
}

// Server holds bound addresses.
type Server struct {
	options    Options
	fronts     []front
	management *management
	manager    *resourceManager
	metrics    *metrics
}

// front is one listener for the services.
type front struct {
	service  auth.Service
	listener *framing.Listener
}

// Listen binds the addresses. The management address answers from now on: alive, but not ready.
func Listen(o Options) (*Server, error) {
	s := &Server{options: o, metrics: newMetrics()}
	var config *tls.Config
	if o.Certificate != nil {
		config = &tls.Config{
			MinVersion:     tls.VersionTLS12,
			NextProtos:     []string{"http/1.1"},
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return o.Certificate() },
		}
	}
	for _, a := range []struct {
		service auth.Service
		addr    string
	}{{auth.Blob, o.BlobAddr}, {auth.Table, o.TableAddr}} {
		if a.addr == "" {
			continue
		}
		ln, err := bind(a.service.String(), a.addr)
		if err != nil {
			s.Close()
			return nil, err
		}
		s.fronts = append(s.fronts, front{a.service, framing.Listen(ln, o.Limits, config)})
	}
	if o.ResourceManagerAddr != "" {
		if config == nil {
			s.Close()
			return nil, errors.New("the resource manager is served over HTTPS only, and there is no certificate")
		}
		ln, err := bind("resource manager's", o.ResourceManagerAddr)
		if err != nil {
			s.Close()
			return nil, err
		}
		s.manager = newResourceManager(ln, config)
	}
	if o.ManagementAddr != "" {
		ln, err := bind("management", o.ManagementAddr)
		if err != nil {
			s.Close()
			return nil, err
		}
		s.management = manage(ln, s.metrics, o.Audit, o.Profiling, o.Domains, o.Log)
	}
	return s, nil
}

func bind(what, addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("the %s address %s is in use by another program; stop that one or choose another address", what, addr)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("the %s address %s may not be used by this user: %w", what, addr, err)
	case err != nil:
		return nil, fmt.Errorf("listen on the %s address: %w", what, err)
	}
	return ln, nil
}

// Addr is the bound address of a service, nil if it is not served.
func (s *Server) Addr(service auth.Service) net.Addr {
	for _, f := range s.fronts {
		if f.service == service {
			return f.listener.Addr()
		}
	}
	return nil
}

// ManagementAddr is the bound management address, nil if there is none.
func (s *Server) ManagementAddr() net.Addr {
	if s.management == nil {
		return nil
	}
	return s.management.listener.Addr()
}

// ResourceManagerAddr is the bound address of the resource manager, nil if there is none.
func (s *Server) ResourceManagerAddr() net.Addr { return s.manager.addr() }

// Audited notes in the audit log what changes something by way of a handler.
func (s *Server) Audited(kind, who string, h http.Handler) http.Handler {
	if s == nil {
		return h
	}
	return s.options.Audit.Handler(kind, who, h)
}

// Loopback tells whether every bound address can be reached from this machine only.
func (s *Server) Loopback() bool {
	addrs := []net.Addr{s.ManagementAddr(), s.ResourceManagerAddr()}
	for _, f := range s.fronts {
		addrs = append(addrs, f.listener.Addr())
	}
	for _, a := range addrs {
		if a != nil && !loopback(a) {
			return false
		}
	}
	return true
}

func loopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// Serve answers requests until ctx ends or a listener fails. started, if there is one, is called once requests are taken and
// /healthz says so; its error ends the service.
func (s *Server) Serve(ctx context.Context, b Backend, started func() error) error {
	requests, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	obs := &observer{metrics: s.metrics, access: s.options.Access, audit: s.options.Audit, log: s.options.Log}
	f := &rest.Front{
		Accounts: b.Accounts, Blob: b.Blob, Table: b.Table,
		Strict: s.options.Strict, Domains: s.options.Domains, Context: requests,
		Begin: s.metrics.begin, Done: obs.done, PartDone: obs.part, Panicked: obs.panicked,
	}
	s.metrics.watch(b.Store, s.fronts, &s.options.Limits, s.options.Certificate, s.options.Audit, s.options.Access)
	if most := s.options.AccountMetrics; most > 0 {
		s.metrics.registry.MustRegister(atScrape(func(show shower) { showAccounts(b.Accounts, most, show) }))
	}
	var serving errgroup.Group
	failed := make(chan error, len(s.fronts))
	for _, fr := range s.fronts {
		f := *f
		f.Local = loopback(fr.listener.Addr())
		serving.Go(func() error {
			err := f.Server(fr.service, s.options.Limits).Serve(fr.listener)
			failed <- err
			return err
		})
	}
	s.manager.serve(b.ResourceManager, s.options.Log)
	s.management.ready(&b)
	var err error
	if started != nil {
		err = started()
	}
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-failed:
		}
	}
	s.management.ready(nil)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.options.StopWithin)
	defer cancel()
	var stopping errgroup.Group
	for _, fr := range s.fronts {
		stopping.Go(func() error { return fr.listener.Shutdown(stop) })
	}
	s.manager.stop(stop)
	if stopErr := stopping.Wait(); errors.Is(stopErr, context.DeadlineExceeded) {
		s.options.Log.Warn("some requests did not finish in time and were cut", zap.Duration("within", s.options.StopWithin))
	}
	giveUp()
	if servingErr := serving.Wait(); err == nil {
		err = servingErr
	}
	s.management.close()
	return err
}

// Close releases the addresses of a server that is not serving.
func (s *Server) Close() {
	for _, f := range s.fronts {
		_ = f.listener.Close()
	}
	if s.manager != nil {
		_ = s.manager.listener.Close()
	}
	s.management.close()
}
