package framing

import (
	"crypto/tls"
	"io"
	"net"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// The end of a connection is told while a handler works, also behind a request that waits, and over TLS.
func TestWatch(t *testing.T) {
	both := func(t *testing.T, secure bool) (*Conn, net.Conn) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		var config *tls.Config
		if secure {
			s := httptest.NewTLSServer(nil)
			config = &tls.Config{Certificates: s.TLS.Certificates}
			s.Close()
		}
		l := Listen(ln, DefaultLimits(), config)
		t.Cleanup(func() { _ = l.Close() })
		peer, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = peer.Close() })
		c, err := l.Accept()
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		if secure {
			peer = tls.Client(peer, &tls.Config{InsecureSkipVerify: true})
		}
		return c.(*Conn), peer
	}
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			c, peer := both(t, secure)
			sent := make(chan error, 1)
			send := func(s string) { go func() { _, err := io.WriteString(peer, s); sent <- err }() }
			send(get + "\r\n")
			require.NoError(t, header(c))
			require.NoError(t, <-sent)
			for range 3 { // watched in vain
				stop := c.Watch(func() { t.Error("gone") })
				send(get + "\r\n")
				require.NoError(t, <-sent)
				stop()
				require.NoError(t, header(c))
			}
			gone := make(chan struct{})
			stop := c.Watch(func() { close(gone) })
			send(get + "\r\n")
			require.NoError(t, <-sent)
			require.NoError(t, peer.Close())
			<-gone
			stop()
			require.NoError(t, header(c), "what had come before is there")
			require.ErrorIs(t, header(c), io.EOF)
			c.Watch(func() {})() // of a connection that has ended
		})
	}
}
