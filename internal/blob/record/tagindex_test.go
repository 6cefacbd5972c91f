package record

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/protocol"
)

// TestTagKey holds the key of a hint to its bytes (docs/format.md).
func TestTagKey(t *testing.T) {
	partition := AppendTagPartition(nil, "acct", 0x0102030405060708)
	require.Equal(t, "acct\x00\x01\x02\x03\x04\x05\x06\x07\x08", string(partition))
	for name, want := range map[string]string{"dir/b": "k\x00v\x00dir/b\x00\x01", "a\x00b": "k\x00v\x00a\x00\xFFb\x00\x01"} {
		key := AppendTagKey(nil, partition, protocol.Pair{Name: "k", Value: "v"}, name)
		require.Equal(t, string(partition)+want, string(key))
		tag, back, ok := ParseTagKey(key[len(partition):])
		require.True(t, ok)
		require.Equal(t, protocol.Pair{Name: "k", Value: "v"}, tag)
		require.Equal(t, name, back)
	}
	for _, bad := range []string{"", "k", "k\x00v", "k\x00v\x00name", "k\x00v\x00name\x00\x01more"} {
		_, _, ok := ParseTagKey([]byte(bad))
		require.False(t, ok, "%q", bad)
	}
	require.False(t, bytes.HasPrefix(AppendContainerKey(nil, "acct", "box"), partition[:6]), "no container key begins like an index")
}
