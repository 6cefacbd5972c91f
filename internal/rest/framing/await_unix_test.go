//go:build unix && !plain

package framing

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// sockets returns a guarded connection and its peer. They are of the local family: what is written to one is there at once.
func sockets(t *testing.T) (*Conn, net.Conn) {
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	defer ln.Close()
	peer, err := net.Dial("unix", ln.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = peer.Close() })
	sock, err := ln.Accept()
	require.NoError(t, err)
	c := connect(sock, DefaultLimits())
	t.Cleanup(func() { _ = c.Close() })
	return c, peer
}

func TestASmallBodyComesWithItsHeader(t *testing.T) {
	c, peer := sockets(t)
	body := strings.Repeat("b", 4096)
	put := "PUT /c/b HTTP/1.1\r\nHost: h\r\nContent-Length: 4096\r\n\r\n" + body
	for _, requests := range []int{1, 1, 3} {
		_, err := io.WriteString(peer, strings.Repeat(put, requests))
		require.NoError(t, err)
		for range requests {
			require.NoError(t, header(c))
			require.GreaterOrEqual(t, c.w-c.r, len(body), "the body is there without another read")
			got, err := io.ReadAll(readerFunc(c.ReadBody))
			require.NoError(t, err)
			require.Equal(t, body, string(got))
		}
		require.Nil(t, c.from, "the buffer was given back with the last byte")
	}
	require.NoError(t, peer.Close())
	require.ErrorIs(t, header(c), io.EOF)
}

func TestASlowRequestHoldsNoLargeBuffer(t *testing.T) {
	c, peer := sockets(t)
	head := "PUT /c/b HTTP/1.1\r\nHost: h\r\nContent-Length: 20000\r\n\r\n"
	_, err := io.WriteString(peer, head[:20])
	require.NoError(t, err)
	started, read := make(chan bool), make(chan error)
	go func() {
		// What has come of the header is in hand when the rest is waited for.
		n, err := c.first()
		c.w = n
		c.compact()
		started <- c.from != nil
		if err == nil {
			err = header(c)
		}
		read <- err
	}()
	require.False(t, <-started)
	_, err = io.WriteString(peer, head[20:]+strings.Repeat("b", 9000))
	require.NoError(t, err)
	require.NoError(t, <-read)
	p := make([]byte, 20000)
	n, err := io.ReadAtLeast(readerFunc(c.ReadBody), p, 9000)
	require.NoError(t, err)
	require.Equal(t, 9000, n)
	require.Nil(t, c.from, "the rest of the body is waited for without it")
	_, err = io.WriteString(peer, strings.Repeat("b", 11000))
	require.NoError(t, err)
	_, err = io.ReadFull(readerFunc(c.ReadBody), p[9000:])
	require.NoError(t, err)
}

func TestAConnectionThatEndsBeforeARequest(t *testing.T) {
	c, peer := sockets(t)
	require.NoError(t, peer.Close())
	_, err := c.first()
	require.ErrorIs(t, err, io.EOF)
	require.Nil(t, c.from)
}

// TestShortAnswersWaitForRoom: more than the socket takes at once comes whole once the peer reads, and not at all after its time.
func TestShortAnswersWaitForRoom(t *testing.T) {
	c, peer := sockets(t)
	p := []byte(strings.Repeat("0123456789abcdef", pooled/16))
	const times = 200 // many times what a socket holds
	written := make(chan error)
	go func() {
		for range times {
			if n, err := c.Write(p); err != nil || n != len(p) {
				written <- fmt.Errorf("%d bytes: %w", n, err)
				return
			}
		}
		written <- nil
	}()
	got := make([]byte, times*len(p))
	_, err := io.ReadFull(peer, got)
	require.NoError(t, err)
	require.NoError(t, <-written)
	require.Equal(t, strings.Repeat(string(p), times), string(got))

	c.l.limits.Stall, c.writeBy = time.Millisecond, time.Time{}
	for err == nil {
		_, err = c.Write(p)
	}
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

func TestAnAnswerToAPeerThatIsGone(t *testing.T) {
	c, peer := sockets(t)
	require.NoError(t, peer.Close())
	_, err := c.Write([]byte("answer"))
	require.ErrorIs(t, err, syscall.EPIPE)
}
