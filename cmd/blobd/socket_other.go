//go:build !unix

package main

import (
	"errors"
	"net"
)

// listenPrivately: without permissions on sockets there is no operator's socket.
func listenPrivately(string) (net.Listener, error) {
	return nil, errors.New("this system has no sockets that one user alone can open")
}
