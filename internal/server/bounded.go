package server

import (
	"net"
	"sync"

	"github.com/blobd/blobd/internal/rest/framing"
)

// The most connections at a time of the addresses that are not for data.
const (
	maxManagers  = 1000 // of the resource manager, half of them from one client address
	maxOperators = 100  // of the management address, which one machine has most often
)

// bounded is a listener with a limit of open connections; further ones are closed at once.
type bounded struct {
	net.Listener
	quota *framing.Quota
}

func bound(ln net.Listener, quota *framing.Quota) *bounded { return &bounded{ln, quota} }

// Accept implements net.Listener.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if client := framing.ClientOf(c); b.quota.Acquire(client) {
			return &boundedConn{Conn: c, give: sync.OnceFunc(func() { b.quota.Release(client) })}, nil
		}
		_ = c.Close()
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
