package framing

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Listener accepts connections and owns them until they are closed.
type Listener struct {
	net.Listener
	limits   Limits
	tls      *tls.Config
	stopping atomic.Bool
	refused  atomic.Int64
	turned   atomic.Int64

	mu    sync.Mutex
	conns map[*Conn]struct{}
	empty chan struct{} // closed when stopping and the last connection is gone
}

// Listen guards a listener. A TLS configuration makes its connections TLS.
func Listen(ln net.Listener, limits Limits, config *tls.Config) *Listener {
	return &Listener{Listener: ln, limits: limits, tls: config, conns: map[*Conn]struct{}{}, empty: make(chan struct{})}
}

// Accept waits for a connection. A shortage (of file descriptors, above all) is waited out: it must not end the server.
func (l *Listener) Accept() (net.Conn, error) {
	pause := 5 * time.Millisecond
	for {
		sock, err := l.Listener.Accept()
		if err != nil {
			if l.stopping.Load() || errors.Is(err, net.ErrClosed) {
				return nil, net.ErrClosed
			}
			time.Sleep(pause)
			pause = min(2*pause, time.Second)
			continue
		}
		if c := l.admit(sock); c != nil {
			return c, nil
		}
	}
}

// admit makes a Conn of a socket, nil if there is no room for it.
func (l *Listener) admit(sock net.Conn) *Conn {
	c := &Conn{Conn: sock, sock: sock, l: l}
	c.buf, c.client = c.small[:], ClientOf(sock)
	l.limits.Headers.open(&c.header, c)
	l.limits.Bodies.open(&c.body, c)
	l.limits.Answers.open(&c.untaken, c)
	l.limits.Streams.open(&c.stream, c)
	l.mu.Lock()
	full := l.limits.Connections > 0 && len(l.conns) >= l.limits.Connections || l.stopping.Load() || !l.limits.Quota.Acquire(c.client)
	if !full {
		l.conns[c] = struct{}{}
	}
	l.mu.Unlock()
	if full {
		l.turned.Add(1)
		if l.tls == nil { // what fits the socket's buffer cannot block
			_ = sock.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = sock.Write([]byte("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"))
		}
		_ = sock.Close()
		return nil
	}
	if l.tls != nil {
		c.secure = true
		c.writeBy = time.Now().Add(l.limits.HeaderTime) // for the handshake
		_ = sock.SetWriteDeadline(c.writeBy)
		c.Conn = tls.Server(sock, l.tls)
	} else {
		c.waiter = waitOn(sock, c.bufSize())
	}
	return c
}

func (l *Listener) remove(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, open := l.conns[c]; open {
		delete(l.conns, c)
		l.limits.Quota.Release(c.client)
	}
	if len(l.conns) == 0 && l.stopping.Load() {
		l.closeEmpty()
	}
}

func (l *Listener) closeEmpty() {
	select {
	case <-l.empty:
	default:
		close(l.empty)
	}
}

// Open is the number of connections.
func (l *Listener) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

// Refused counts the requests that were not well-formed, Turned the connections for which there was no room.
func (l *Listener) Refused() int64 { return l.refused.Load() }

// Turned counts the connections for which there was no room.
func (l *Listener) Turned() int64 { return l.turned.Load() }

// Shutdown stops accepting, ends idle connections at once and the others after the answer that is under way; when ctx ends
// it cuts what is left. It returns when no connection is left.
func (l *Listener) Shutdown(ctx context.Context) error {
	l.stopping.Store(true)
	err := l.Listener.Close()
	l.mu.Lock()
	if len(l.conns) == 0 {
		l.closeEmpty()
	}
	l.mu.Unlock()
	l.each(func(c *Conn) {
		if c.state.Load() == idle {
			_ = c.Conn.SetReadDeadline(time.Unix(1, 0)) // wakes its goroutine, which closes it
		}
	})
	select {
	case <-l.empty:
		return err
	case <-ctx.Done():
	}
	l.each((*Conn).Abort)
	<-l.empty
	return ctx.Err()
}

func (l *Listener) each(visit func(*Conn)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		visit(c)
	}
}
