package record

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPartitionsSortAsNamesAndNoneIsAPrefix(t *testing.T) {
	names := []string{"", "\x00", "\x00\x00", "\x00\x01", "\x00a", "\x01", "a", "a\x00", "a\x00b", "a//../b%2Fc", "a/b", "ab", "b.", "é", "\U0001F600", strings.Repeat("x", 1024)}
	slices.Sort(names)
	var keys [][]byte
	for _, n := range names {
		k := AppendPartition(nil, 7, n)
		got, length, ok := SplitKey(append(slices.Clone(k), "slot"...))
		require.True(t, ok)
		require.Equal(t, n, string(got))
		require.Equal(t, len(k), length)
		keys = append(keys, k)
	}
	require.True(t, slices.IsSortedFunc(keys, bytes.Compare))
	for i, a := range keys {
		for j, b := range keys {
			require.Equal(t, i == j, bytes.HasPrefix(a, b), "%q %q", names[i], names[j])
		}
	}
}

func TestAfterIsTheEndOfAPrefix(t *testing.T) {
	require.Equal(t, []byte("b"), After([]byte("a")))
	require.Equal(t, []byte("b"), After([]byte("a\xFF\xFF")))
	require.Nil(t, After([]byte("\xFF")))
}

func FuzzSplitKey(f *testing.F) {
	f.Add(AppendPartition(nil, 1, "a\x00b"))
	f.Add([]byte("12345678\x00"))
	f.Fuzz(func(t *testing.T, key []byte) {
		name, n, ok := SplitKey(key)
		if ok {
			require.Equal(t, key[:n], append(slices.Clone(key[:8]), AppendPartition(nil, 0, string(name))[8:]...))
		}
	})
}
