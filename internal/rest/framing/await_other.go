//go:build !unix

package framing

import "net"

// waiter is not there on this system: the first read of a request goes into the connection's own small buffer.
type waiter struct{}

func waitOn(net.Conn, int) *waiter { return nil }

func (*waiter) wait() (*[]byte, int, error) { panic("no waiter") }

func (*waiter) write([]byte) (int, error) { panic("no waiter") }
