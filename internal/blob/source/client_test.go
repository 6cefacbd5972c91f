package source

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/protocol"
)

func TestReachable(t *testing.T) {
	for addr, want := range map[string][2]bool{ // public only, private too
		"8.8.8.8": {true, true}, "2606:4700::1111": {true, true}, "127.0.0.1": {false, true}, "::1": {false, true}, "10.1.2.3": {false, true},
		"192.168.1.1": {false, true}, "fd00::1": {false, true}, "100.100.100.200": {false, true}, "::ffff:127.0.0.1": {false, true},
		"169.254.169.254": {false, false}, "::ffff:169.254.169.254": {false, false}, "fe80::1": {false, false}, "0.0.0.0": {false, false}, "::": {false, false},
		"224.0.0.1": {false, false}, "168.63.129.16": {false, false}, "192.0.0.170": {false, false}, "240.0.0.1": {false, false}, "fe80::1%lo": {false, false},
		"198.18.0.1": {false, true}, "198.19.255.255": {false, true}, "fec0::1": {false, true}, "2001:0:1::1": {false, false}, "0.1.2.3": {false, false},
		// An IPv4 address within: NAT64, 6to4 and the compatible form.
		"64:ff9b::8.8.8.8": {true, true}, "64:ff9b::127.0.0.1": {false, true}, "64:ff9b::169.254.169.254": {false, false}, "64:ff9b:1::10.0.0.1": {false, true},
		"2002:a9fe:a9fe::1": {false, false}, "2002:7f00:1::1": {false, true}, "2002:808:808::1": {true, true}, "::127.0.0.1": {false, true}, "::169.254.169.254": {false, false},
	} {
		a := netip.MustParseAddr(addr)
		require.Equal(t, want, [2]bool{reachable(a, false), reachable(a, true)}, addr)
	}
	// This machine is private by each of its addresses.
	own, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, i := range own {
		if a, ok := netip.AddrFromSlice(i.(*net.IPNet).IP); ok {
			require.False(t, reachable(a, false), a)
		}
	}
	require.False(t, isThisMachine(netip.MustParseAddr("8.8.8.8")))
}

// Where the server is managed no copy reads, by whatever address of this machine.
func TestTheManagementAddressIsClosed(t *testing.T) {
	closed := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:10004"), netip.MustParseAddrPort("[::]:10005")}
	for addr, want := range map[string]bool{
		"127.0.0.1:10004": true, "[::ffff:127.0.0.1]:10004": true, "127.0.0.1:10000": false, "8.8.8.8:10004": false,
		"127.0.0.1:10005": true, "[::1]:10005": true, "8.8.8.8:10005": false,
	} {
		require.Equal(t, want, isClosed(netip.MustParseAddrPort(addr), closed), addr)
	}
	managed := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was asked") }))
	defer managed.Close()
	c := NewClient(true, MaxStall, []netip.AddrPort{managed.Listener.Addr().(*net.TCPAddr).AddrPort()})
	defer c.Close()
	_, err := c.Get(t.Context(), &Remote{URL: managed.URL + "/metrics"}, &Ask{Limit: 1 << 20})
	require.ErrorIs(t, err, protocol.ErrCannotVerifyCopySource)
}

// TestPageListsAreReadInLittleMemory: a source that answers with one tag, name or text without end is given up soon.
func TestPageListsAreReadInLittleMemory(t *testing.T) {
	for name, head := range map[string]string{
		"text": "<PageList><NextMarker>", "name": "<PageList><", "attribute": `<PageList a="`, "comment": "<!--", "element": "<PageList><Other>", "instruction": "<?xml ",
	} {
		t.Run(name, func(t *testing.T) {
			gone := make(chan int, 1)
			other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, head)
				sent := 0
				for n, err := 0, error(nil); err == nil && sent < 64<<20; sent += n {
					n, err = w.Write(bytes.Repeat([]byte("x"), 64<<10))
				}
				gone <- sent
			}))
			defer other.Close()
			c := NewClient(true, MaxStall, nil)
			defer c.Close()
			_, _, err := c.PageRanges(t.Context(), &Remote{URL: other.URL + "/f"}, 1<<20, "")
			require.ErrorIs(t, err, protocol.ErrCannotVerifyCopySource)
			other.CloseClientConnections()
			require.Less(t, <-gone, 64<<20)
		})
	}
}
