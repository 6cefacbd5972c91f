package main

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProcessors(t *testing.T) {
	before := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(before)
	t.Setenv("GOMAXPROCS", "1")
	giveProcessors()
	require.Equal(t, 1, runtime.GOMAXPROCS(0), "the operator has set it")
	t.Setenv("GOMAXPROCS", "")
	giveProcessors()
	require.Equal(t, leastProcessors, runtime.GOMAXPROCS(0))
	runtime.GOMAXPROCS(leastProcessors + 1)
	giveProcessors()
	require.Equal(t, leastProcessors+1, runtime.GOMAXPROCS(0))
}
