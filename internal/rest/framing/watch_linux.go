package framing

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Watch calls gone if the peer ends or breaks the connection before stop, which waits until that is settled. It is for a handler that
// works long and neither reads the body nor answers meanwhile. What the peer has sent stays where it is. A peer that ends its side
// only, to wait for the answer, counts as gone, as with net/http.
func (c *Conn) Watch(gone func()) (stop func()) {
	sc, ok := c.sock.(syscall.Conn)
	if !ok {
		return func() {}
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return func() {}
	}
	_ = c.Conn.SetReadDeadline(time.Time{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		ended := false
		_ = raw.Read(func(fd uintptr) bool { // asked again at each change of the socket
			ended = hungUp(fd)
			return ended
		})
		if ended {
			gone()
		}
	}()
	return func() {
		_ = c.Conn.SetReadDeadline(time.Unix(1, 0)) // wakes the goroutine
		<-done
		_ = c.Conn.SetReadDeadline(c.readBy)
	}
}

// hungUp tells whether the peer has ended its side, also if there is something to read before that.
func hungUp(fd uintptr) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	for {
		_, err := unix.Poll(p, 0)
		if err != unix.EINTR {
			return err == nil && p[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
		}
	}
}
