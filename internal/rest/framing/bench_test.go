package framing

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkSmallPut sends 4 KiB with a usual header over a socket, and an answer back: what the framing and the system take of a
// small Put Blob, on both sides.
func BenchmarkSmallPut(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	peer, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(b, err)
	sock, err := ln.Accept()
	require.NoError(b, err)
	c := connect(sock, DefaultLimits())
	served := make(chan struct{})
	go func() {
		defer close(served)
		defer c.Close()
		p, answer := make([]byte, 4096), []byte("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
		for header(c) == nil {
			if _, err := io.ReadFull(readerFunc(c.ReadBody), p); err != nil {
				return
			}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	}()
	put := []byte("PUT /c/b HTTP/1.1\r\nHost: h\r\nContent-Length: 4096\r\nx-ms-filler: " + strings.Repeat("f", 500) + "\r\n\r\n" + strings.Repeat("b", 4096))
	got := make([]byte, 1024)
	b.SetBytes(4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := peer.Write(put); err != nil {
			b.Fatal(err)
		}
		if _, err := peer.Read(got); err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, peer.Close())
	<-served
}
