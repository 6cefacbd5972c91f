package framing

import (
	"net"
	"net/netip"
	"sync"
)

// Quota bounds the connections of several listeners together, and what one client address may have of them. Each takes a file
// descriptor, of which the store must keep some. A nil Quota bounds nothing.
type Quota struct {
	total, client int // 0 is no limit

	mu      sync.Mutex
	open    int
	clients map[netip.Addr]int // kept only with a limit for each
}

// NewQuota allows so many connections in all, and so many for each client address; 0 is no limit.
func NewQuota(total, client int) *Quota {
	return &Quota{total: total, client: client, clients: make(map[netip.Addr]int)}
}

// Total is how many connections are allowed, Client how many for each client address; 0 is no limit.
func (q *Quota) Total() int { return q.total }

// Client is how many connections are allowed for each client address; 0 is no limit.
func (q *Quota) Client() int { return q.client }

// ClientOf is the address of a connection's peer.
func ClientOf(c net.Conn) netip.Addr {
	a, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// holder is what counts as one client: an IPv4 address, or the network that is given to one customer (RFC 6177).
func holder(a netip.Addr) netip.Addr {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// Acquire counts a connection, if there is room for it. Each that was acquired is released once.
func (q *Quota) Acquire(client netip.Addr) bool {
	if q == nil {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.total > 0 && q.open >= q.total {
		return false
	}
	if q.client > 0 {
		h := holder(client)
		if q.clients[h] >= q.client {
			return false
		}
		q.clients[h]++
	}
	q.open++
	return true
}

// Release counts it no more.
func (q *Quota) Release(client netip.Addr) {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open--
	if q.client > 0 {
		h := holder(client)
		if q.clients[h]--; q.clients[h] <= 0 {
			delete(q.clients, h)
		}
	}
}
