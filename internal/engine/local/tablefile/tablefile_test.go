package tablefile

import (
	"bytes"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// TestTablesGather: pieces of all sizes make the file that they would make one by one, in fewer writes, and a sync leaves nothing out.
func TestTablesGather(t *testing.T) {
	const seed = 3
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	mem := vfs.NewCrashableMem()
	var writes atomic.Int64
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWrite {
			writes.Add(1)
		}
		return nil
	}))
	under, err := fs.Create("000001.sst", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	f := New(under, nil)
	dir, err := mem.OpenDir("")
	require.NoError(t, err)
	require.NoError(t, dir.Sync())
	var want []byte
	pieces := 0
	for range 300 {
		n := rng.IntN(8 << 10)
		switch rng.IntN(20) {
		case 0:
			n = Buffer - 1 + rng.IntN(3)
		case 1:
			n = 5
		}
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		want = append(want, p...)
		m, err := f.Write(p)
		require.NoError(t, err)
		require.Equal(t, n, m)
		pieces++
		if rng.IntN(40) == 0 {
			require.NoError(t, f.SyncData())
			b, err := diskio.ReadFile(mem.CrashClone(vfs.CrashCloneCfg{}), "000001.sst")
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, b), "after a sync of %d bytes", len(want))
		}
	}
	info, err := f.Stat()
	require.NoError(t, err)
	assert.EqualValues(t, len(want), info.Size())
	require.NoError(t, f.Close())
	b, err := diskio.ReadFile(mem, "000001.sst")
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, b))
	assert.Less(t, int(writes.Load()), pieces/2)
}

// TestTablesThatCannotBeWritten: what was gathered and not written fails the sync, now and again, and the close, also when there is
// room again: how much of the failed write was done is not known.
func TestTablesThatCannotBeWritten(t *testing.T) {
	var failed atomic.Bool
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWrite && failed.CompareAndSwap(false, true) {
			return syscall.ENOSPC
		}
		return nil
	}))
	under, err := fs.Create("000001.sst", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	f := New(under, nil)
	_, err = f.Write(make([]byte, 100))
	require.NoError(t, err)
	for range 2 {
		assert.ErrorIs(t, f.Sync(), syscall.ENOSPC)
		assert.ErrorIs(t, f.SyncData(), syscall.ENOSPC)
		_, err = f.SyncTo(50)
		assert.ErrorIs(t, err, syscall.ENOSPC)
	}
	_, err = f.Write(make([]byte, Buffer))
	assert.ErrorIs(t, err, syscall.ENOSPC)
	assert.ErrorIs(t, f.Close(), syscall.ENOSPC)
}

// TestTablesAreSyncedOnce: while Pebble writes a table the system is asked to begin with it now and then, and nobody waits for it until the
// end, though what is beneath has no descriptor.
func TestTablesAreSyncedOnce(t *testing.T) {
	var syncs, begun atomic.Int64
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData:
			syncs.Add(1)
		case errorfs.OpFileSyncTo:
			begun.Add(1)
		}
		return nil
	}))
	under, err := fs.Create("000001.sst", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	f := vfs.NewSyncingFile(New(under, nil), vfs.SyncingFileOptions{BytesPerSync: 512 << 10})
	for range 64 {
		_, err := f.Write(make([]byte, 64<<10))
		require.NoError(t, err)
	}
	assert.Zero(t, syncs.Load())
	assert.NotZero(t, begun.Load())
	require.NoError(t, f.Sync())
	assert.EqualValues(t, 1, syncs.Load())
	require.NoError(t, f.Close())
}
