//go:build unix

package main

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheOperatorsSocketTakesNothingFromOthers(t *testing.T) {
	dir, err := os.MkdirTemp("", "s") // a socket's path is short
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")

	require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
	_, err = openSocket(path)
	require.ErrorContains(t, err, "no socket")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "precious", string(b))

	link := filepath.Join(dir, "l")
	require.NoError(t, os.Symlink(path, link))
	_, err = openSocket(link)
	require.ErrorContains(t, err, "no socket")
	_, err = openSocket(dir)
	require.ErrorContains(t, err, "no socket")
	require.NoError(t, os.Remove(path))

	killed, err := net.Listen("unix", path)
	require.NoError(t, err)
	killed.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, killed.Close())
	s, err := openSocket(path)
	require.NoError(t, err, "of a process that was killed")
	info, err := os.Lstat(path)
	require.NoError(t, err)
	require.Equal(t, os.ModeSocket|0o600, info.Mode())

	_, err = openSocket(path)
	require.ErrorContains(t, err, "another server has")
	require.NoError(t, os.Remove(path))
	other, err := openSocket(path)
	require.NoError(t, err)
	s.remove()
	require.NoError(t, s.Close())
	require.FileExists(t, path, "it is another's by now")
	other.remove()
	require.NoError(t, other.Close())
	require.NoFileExists(t, path)
}
