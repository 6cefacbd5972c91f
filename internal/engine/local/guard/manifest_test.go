package guard

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/minio/crc64nvme"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine/local/diskio"
	"github.com/blobd/blobd/internal/engine/local/goldentest"
)

func TestCompanionGolden(t *testing.T) {
	mem := vfs.NewMem()
	fs := New(mem, healthy{}, nil)
	f, err := fs.Create("MANIFEST-000001", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	for _, part := range []string{"first edit", "second edit"} {
		_, err := f.Write([]byte(part))
		require.NoError(t, err)
		require.NoError(t, f.Sync())
	}
	require.NoError(t, f.Close())
	b, err := diskio.ReadFile(mem, "MANIFEST-000001"+companionSuffix)
	require.NoError(t, err)
	goldentest.Hex(t, "companion", b)
	require.NoError(t, checkManifest(mem, "MANIFEST-000001"))
}

// TestTheBetterCompanionIsKept: damage is not what the replicas are made alike to.
func TestTheBetterCompanionIsKept(t *testing.T) {
	record := func(n byte) []byte {
		b := make([]byte, companionRecord)
		b[7] = n
		binary.BigEndian.PutUint64(b[16:], crc64nvme.Checksum(b[:16]))
		return b
	}
	valid := func(b []byte) int64 {
		n, ok := ValidPrefix("meta/MANIFEST-000001.synced", b)
		require.True(t, ok)
		return n
	}
	good := append(record(1), record(2)...)
	assert.EqualValues(t, 48, valid(good))
	for at := range good {
		bad := bytes.Clone(good)
		bad[at] ^= 1
		assert.EqualValues(t, 24, valid(bad))
	}
	assert.EqualValues(t, 24, valid(good[:30]))
}

// healthy is a store that nothing has happened to.
type healthy struct{}

func (healthy) Failed() error        { return nil }
func (healthy) Fail(err error) error { return err }
func (healthy) Stuck() bool          { return false }
