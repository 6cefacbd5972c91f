package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHeapRoom(t *testing.T) {
	for _, tc := range []struct {
		live uint64 // MiB
		want int
	}{
		{0, 1200}, {4, 1200}, {12, 400}, {24, 200}, {48, 100}, {1000, 100},
	} {
		require.Equal(t, tc.want, gcPercent(tc.live<<20), "%d MiB alive", tc.live)
	}
}
