//go:build unix

package main

import (
	"net"
	"syscall"
)

// listenPrivately makes a socket that only this user can open, from the first moment on.
func listenPrivately(path string) (net.Listener, error) {
	old := syscall.Umask(0o177)
	defer syscall.Umask(old)
	return net.Listen("unix", path)
}
