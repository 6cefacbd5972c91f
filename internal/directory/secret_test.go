package directory

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// One client, however often it tries, leaves half of the places to sign in to others.
func TestOneClientLeavesRoomToSignIn(t *testing.T) {
	h := newHashing()
	fill := func(from string) (n int) {
		for h.enter(networkOf(netip.MustParseAddr(from))) {
			n++
		}
		return n
	}
	require.Equal(t, maxWaiting/2, fill("192.0.2.1"))
	require.True(t, h.enter(networkOf(netip.MustParseAddr("192.0.2.2"))))
	require.Equal(t, maxWaiting/2-1, fill("2001:db8::1"))
	require.Zero(t, fill("2001:db8::2:1"), "the same client, and all are taken")
	for range maxWaiting / 2 {
		h.leave(networkOf(netip.MustParseAddr("192.0.2.1")))
	}
	require.Equal(t, 1, fill("2001:db8::2"))
	require.Len(t, h.waiting, 2)
	require.Equal(t, maxWaiting/2-1, fill("2001:db8:0:1::1"), "another network")
}
