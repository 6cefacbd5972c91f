package server

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/auth"
)

// startSecure is start with a certificate and a resource manager that answers everything.
func startSecure(t *testing.T) *running {
	cert, key, err := SelfSigned(filepath.Join(t.TempDir(), "tls"), []string{"127.0.0.1", "localhost"}, time.Now())
	require.NoError(t, err)
	c, err := LoadCertificate(cert, key, zap.NewNop())
	require.NoError(t, err)
	return start(t, Options{Certificate: c.Get, ResourceManagerAddr: "127.0.0.1:0"}, Backend{
		Blob: newService(ok), Table: newService(ok),
		ResourceManager: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) }),
	})
}

// TestNobodySpeaksHTTP2: its streams, resets, settings and header lists are not there to be attacked with, however a client asks for them.
func TestNobodySpeaksHTTP2(t *testing.T) {
	s := startSecure(t)
	const begin = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00" // and a SETTINGS frame
	upgrade := "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
	plain := func(addr net.Addr) func(...string) (net.Conn, error) {
		return func(...string) (net.Conn, error) { return net.Dial("tcp", addr.String()) }
	}
	secure := func(addr net.Addr) func(...string) (net.Conn, error) {
		return func(protocols ...string) (net.Conn, error) {
			return tls.Dial("tcp", addr.String(), &tls.Config{InsecureSkipVerify: true, NextProtos: protocols})
		}
	}
	for name, dial := range map[string]func(...string) (net.Conn, error){
		"blob": secure(s.Addr(auth.Blob)), "table": secure(s.Addr(auth.Table)), "resource manager": secure(s.ResourceManagerAddr()), "management": plain(s.ManagementAddr()),
	} {
		t.Run(name, func(t *testing.T) {
			if c, err := dial("h2", "http/1.1"); name != "management" {
				require.NoError(t, err)
				require.Equal(t, "http/1.1", c.(*tls.Conn).ConnectionState().NegotiatedProtocol)
				require.NoError(t, c.Close())
				_, err = dial("h2")
				require.Error(t, err)
			}
			for _, opening := range []string{begin, upgrade} {
				c, err := dial()
				require.NoError(t, err)
				defer c.Close()
				require.NoError(t, c.SetDeadline(time.Now().Add(30*time.Second)))
				_, err = io.WriteString(c, opening)
				require.NoError(t, err)
				answer, _ := io.ReadAll(c) // a reset may follow what was not read
				require.True(t, len(answer) == 0 || strings.HasPrefix(string(answer), "HTTP/1."), "%q", answer)
				require.NotContains(t, string(answer), "101 Switching")
			}
		})
	}
}

// arrivals is a listener whose connections come from the addresses that it is given.
type arrivals struct {
	net.Listener
	from chan string
}

func (a arrivals) Accept() (net.Conn, error) {
	c, _ := net.Pipe()
	return arrival{c, <-a.from}, nil
}

type arrival struct {
	net.Conn
	from string
}

func (a arrival) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(a.from))
}

// TestOneClientLeavesTheResourceManagerToOthers: however many connections it opens, half of them all are for other clients.
func TestOneClientLeavesTheResourceManagerToOthers(t *testing.T) {
	a := arrivals{from: make(chan string, maxManagers)}
	m := newResourceManager(a, nil)
	for range maxManagers/2 + 10 {
		a.from <- "192.0.2.1:1000"
	}
	a.from <- "192.0.2.2:1000"
	for range maxManagers / 2 {
		_, err := m.listener.Accept()
		require.NoError(t, err)
	}
	c, err := m.listener.Accept()
	require.NoError(t, err)
	require.Equal(t, "192.0.2.2:1000", c.RemoteAddr().String())
	require.NoError(t, c.Close())
}
