//go:build unix

package framing

import (
	"io"
	"net"
	"syscall"

	"github.com/blobd/blobd/internal/speedup"
)

// waiter reads from a socket without holding a buffer while there is nothing to read, and writes what is short. Its system calls
// never wait: see read.
type waiter struct {
	raw syscall.RawConn

	arrive func(fd uintptr) bool // arrived, made once
	size   int                   // to read at most
	buf    *[]byte               // from pool, with n bytes
	n      int
	err    error

	depart  func(fd uintptr) bool // departed, made once
	out     []byte                // to write
	written int                   // so many bytes of it
	failed  error
}

// waitOn returns a waiter, nil if sock is no socket of the system or raw calls are turned off.
func waitOn(sock net.Conn, size int) *waiter {
	sc, ok := sock.(syscall.Conn)
	if !ok || !speedup.RawSockets.On() {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	w := &waiter{raw: raw, size: size}
	w.arrive, w.depart = w.arrived, w.departed
	return w
}

// wait returns the first bytes to come, in a buffer of the pool that is the caller's then, or io.EOF or the socket's error.
func (w *waiter) wait() (*[]byte, int, error) {
	if err := w.raw.Read(w.arrive); err != nil {
		return nil, 0, err
	}
	buf, n, err := w.buf, w.n, w.err
	w.buf, w.n, w.err = nil, 0, nil
	return buf, n, err
}

// arrived reads if there is something to read; false if not yet.
func (w *waiter) arrived(fd uintptr) bool {
	b := pool.Get().(*[]byte)
	for {
		n, err := read(fd, (*b)[:w.size])
		count(fd, err)
		switch {
		case err == syscall.EINTR:
			continue
		case err == nil && n > 0:
			w.buf, w.n = b, n
			return true
		}
		pool.Put(b)
		if err == syscall.EAGAIN {
			return false
		}
		if w.err = err; err == nil {
			w.err = io.EOF
		}
		return true
	}
}

// write sends all of p, or tells how much of it went before the socket's error.
func (w *waiter) write(p []byte) (int, error) {
	w.out, w.written, w.failed = p, 0, nil
	err := w.raw.Write(w.depart)
	if w.out = nil; err == nil {
		err = w.failed
	}
	return w.written, err
}

// departed writes what the socket has room for; false if that is not all.
func (w *waiter) departed(fd uintptr) bool {
	for w.written < len(w.out) {
		n, err := write(fd, w.out[w.written:])
		count(fd, err)
		switch err {
		case nil:
			w.written += n
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			w.failed = err
			return true
		}
	}
	return true
}

func count(fd uintptr, err error) {
	speedup.RawCalls.Add(uint64(fd), 1)
	if err == syscall.EAGAIN {
		speedup.RawInVain.Add(uint64(fd), 1)
	}
}
