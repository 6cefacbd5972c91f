package server

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
)

// resourceManager is the address of the resource manager, which speaks HTTPS only. Connections wait until there is a handler, and are
// bounded in number and time: they are for management, not for data.
type resourceManager struct {
	listener net.Listener // of TCP
	config   *tls.Config
	server   *http.Server
	done     chan struct{} // closed when it has ended, nil while it has not begun
}

// maxManagers is the most connections at a time.
const maxManagers = 1000

func newResourceManager(ln net.Listener, config *tls.Config) *resourceManager {
	return &resourceManager{listener: &bounded{Listener: ln, free: make(chan struct{}, maxManagers)}, config: config}
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

// bounded is a listener with so many connections at a time; further ones are closed at once.
type bounded struct {
	net.Listener
	free chan struct{}
}

// Accept implements net.Listener.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case b.free <- struct{}{}:
			return &boundedConn{Conn: c, give: sync.OnceFunc(func() { <-b.free })}, nil
		default:
			_ = c.Close()
		}
	}
}

type boundedConn struct {
	net.Conn
	give func()
}

// Close implements net.Conn.
func (c *boundedConn) Close() error {
	c.give()
	return c.Conn.Close()
}
