//go:build !race

// Under the race detector pools drop at random what they are given.

package md5lanes

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSumAllocatesNothing(t *testing.T) {
	var g gate
	body := make([]byte, 4<<10)
	require.Zero(t, testing.AllocsPerRun(1000, func() { g.sum(body) }), "alone")

	const callers = 7
	start, done := make(chan struct{}), make(chan struct{})
	for range callers {
		go func() {
			for range start {
				g.sum(body)
				done <- struct{}{}
			}
		}()
	}
	defer close(start)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		g.skip = 0
		for range callers {
			start <- struct{}{}
		}
		g.sum(body)
		for range callers {
			<-done
		}
	}), "in company")
}
