package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine/local"
)

func TestDescriptorsAreSharedOut(t *testing.T) {
	for limit, want := range map[uint64]fileBudget{
		300:        {store: local.MinMaxFiles, connections: 76},
		1024:       {store: 341, connections: 619},
		20_000:     {store: local.DefaultMaxFiles, connections: 18_400},
		^uint64(0): {store: local.DefaultMaxFiles, connections: 1<<30 - local.DefaultMaxFiles - otherFiles},
	} {
		got, err := shareFiles(limit, 0)
		require.NoError(t, err)
		require.Equal(t, want, got, "of %d", limit)
		require.LessOrEqual(t, uint64(got.store+got.connections), limit)
	}
	got, err := shareFiles(1024, 16)
	require.NoError(t, err)
	require.Equal(t, fileBudget{store: 341, connections: 619 - 16*local.FilesPerDisk}, got, "what is held of each disk is no connection's")
	got, err = shareFiles(288, 1) // what docs/operations.md says that it takes
	require.NoError(t, err)
	require.Equal(t, fileBudget{store: local.MinMaxFiles, connections: fewestConnections}, got)
	_, err = shareFiles(287, 1)
	require.ErrorContains(t, err, "288 are needed")
	_, err = shareFiles(300, 16)
	require.ErrorContains(t, err, "raise the limit")
	_, err = shareFiles(200, 0)
	require.ErrorContains(t, err, "raise the limit")
}
