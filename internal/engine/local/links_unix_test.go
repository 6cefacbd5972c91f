//go:build unix

package local

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLinks: however they are asked for, a file has as many as there are names.
func TestLinks(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	f, err := os.Create(name)
	require.NoError(t, err)
	defer f.Close()
	for _, step := range []struct {
		links  uint64
		change func() error
	}{
		{1, func() error { return nil }},
		{2, func() error { return os.Link(name, name+"2") }},
		{1, func() error { return os.Remove(name) }},
		{0, func() error { return os.Remove(name + "2") }},
	} {
		require.NoError(t, step.change())
		for _, count := range []func(int) (uint64, error){links, linksByStat} {
			n, err := count(int(f.Fd()))
			require.NoError(t, err)
			require.Equal(t, step.links, n)
		}
	}
}
