package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestThePageIsFresh(t *testing.T) {
	have, err := os.ReadFile("../../docs/compatibility.md")
	require.NoError(t, err)
	require.True(t, page() == string(have), "docs/compatibility.md is stale: run make docs")
}

func TestEveryOperationSaysHowItIsElsewhere(t *testing.T) {
	for _, line := range strings.Split(page(), "\n") {
		require.NotContains(t, line, "| – |", "a row of an operation table lacks its Doc")
	}
}
