package server

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/rest/framing"
)

// resourceManager is the address of the resource manager, which speaks HTTPS only. Connections wait until there is a handler, and are
// bounded in number and time: they are for management, not for data.
type resourceManager struct {
	listener net.Listener // of TCP
	config   *tls.Config
	server   *http.Server
	done     chan struct{} // closed when it has ended, nil while it has not begun
}

func newResourceManager(ln net.Listener, config *tls.Config) *resourceManager {
	return &resourceManager{listener: bound(ln, framing.NewQuota(maxManagers, maxManagers/2)), config: config}
}

func (m *resourceManager) addr() net.Addr {
	if m == nil {
		return nil
	}
	return m.listener.Addr()
}

// serve answers until stop.
func (m *resourceManager) serve(h http.Handler, log *zap.Logger) {
	if m == nil || h == nil {
		return
	}
	m.done = make(chan struct{})
	m.server = &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 32 << 10, ErrorLog: zap.NewStdLog(zap.NewNop())}
	go func() {
		defer close(m.done)
		if err := m.server.Serve(tls.NewListener(m.listener, m.config)); err != http.ErrServerClosed {
			log.Error("the address of the resource manager failed", zap.Error(err))
		}
	}()
}

// stop ends it, and what is under way when ctx ends.
func (m *resourceManager) stop(ctx context.Context) {
	switch {
	case m == nil:
	case m.server == nil:
		_ = m.listener.Close()
	default:
		if m.server.Shutdown(ctx) != nil {
			_ = m.server.Close()
		}
		<-m.done
	}
}
