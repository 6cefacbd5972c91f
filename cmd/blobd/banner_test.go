package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The file of a server that took over is not removed by the one before it.
func TestTheReadyFileIsRemovedByItsOwner(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ready")
	before, after := endpoints{Blob: "http://127.0.0.1:1", PID: 1}, endpoints{Blob: "http://127.0.0.1:1", PID: 2}
	require.NoError(t, writeReadyFile(name, before))
	require.NoError(t, writeReadyFile(name, after))
	removeReadyFile(name, before)
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	require.JSONEq(t, `{"blob":"http://127.0.0.1:1","pid":2}`, string(text))
	removeReadyFile(name, after)
	require.NoFileExists(t, name)
	removeReadyFile(name, after)
	removeReadyFile("", after)
}
