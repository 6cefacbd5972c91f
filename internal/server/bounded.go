package server

import (
	"net"
	"sync"
)

// The most connections at a time of the addresses that are not for data.
const (
	maxManagers  = 1000 // of the resource manager
	maxOperators = 100  // of the management address
)

// bounded is a listener with so many connections at a time; further ones are closed at once.
type bounded struct {
	net.Listener
	free chan struct{}
}

func bound(ln net.Listener, most int) *bounded {
	return &bounded{Listener: ln, free: make(chan struct{}, most)}
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
