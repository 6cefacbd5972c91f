package tally

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTally(t *testing.T) {
	var uses Tally[string]
	require.False(t, uses.Has("a"))
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { uses.Add("a", 2); uses.Add("b", 1); uses.Add("a", -1); uses.Add("b", -1) })
	}
	wg.Wait()
	require.True(t, uses.Has("a"))
	require.False(t, uses.Has("b"))
	require.Equal(t, []string{"a"}, uses.All())
	uses.Add("a", -10)
	require.Zero(t, uses.Len())
	uses.Add("a", -1)
	require.Zero(t, uses.Len(), "never below zero")
}
