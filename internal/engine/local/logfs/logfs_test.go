package logfs

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const category = vfs.WriteCategoryUnspecified

// script writes and syncs at random and returns what it wrote.
func script(t *testing.T, f vfs.File, seed uint64, total int, synced func(log []byte)) (log []byte) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0))
	for len(log) < total {
		p := make([]byte, rng.IntN(1<<(2+rng.IntN(18))))
		for i := range p {
			p[i] = byte(1 + rng.IntN(255))
		}
		n, err := f.Write(p)
		require.NoError(t, err)
		require.Equal(t, len(p), n)
		log = append(log, p...)
		if rng.IntN(3) == 0 {
			require.NoError(t, f.SyncData())
			synced(log)
		}
	}
	return log
}

func readAll(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	require.NoError(t, err)
	b, err := io.ReadAll(f)
	require.NoError(t, errors.Join(err, f.Close()))
	return b
}

// TestALogIsWhatWasWritten: on a file system in memory that can crash, and on a real one, which may take direct writes.
func TestALogIsWhatWasWritten(t *testing.T) {
	for name, base := range map[string]vfs.FS{"memory": vfs.NewCrashableMem(), "disk": vfs.Default} {
		t.Run(name, func(t *testing.T) {
			fs := New(base)
			dir := "/"
			if name == "disk" {
				dir = t.TempDir()
			}
			first, second := fs.PathJoin(dir, "000001.log"), fs.PathJoin(dir, "000002.log")
			f, err := fs.Create(first, category)
			require.NoError(t, err)
			d, err := fs.OpenDir(dir)
			require.NoError(t, err)
			require.NoError(t, errors.Join(d.Sync(), d.Close()))
			log := script(t, f, 1, 3<<20, func(log []byte) {
				at := base
				if mem, ok := base.(*vfs.MemFS); ok {
					at = mem.CrashClone(vfs.CrashCloneCfg{})
				}
				require.True(t, bytes.HasPrefix(readAll(t, at, first), log), "what was synced is there")
			})
			require.NoError(t, f.Close())
			got := readAll(t, fs, first)
			require.True(t, bytes.HasPrefix(got, log))
			assert.Empty(t, bytes.Trim(got[len(log):], "\x00"), "zeros follow")
			assert.Zero(t, len(got)%page)

			f, err = fs.ReuseForWrite(first, second, category)
			require.NoError(t, err)
			again := script(t, f, 2, 1<<20, func([]byte) {})
			require.NoError(t, f.Close())
			reused := readAll(t, fs, second)
			require.True(t, bytes.HasPrefix(reused, again))
			assert.Len(t, reused, len(got), "its room is used")
		})
	}
}

func TestOtherFilesPassThrough(t *testing.T) {
	fs := New(vfs.NewMem())
	f, err := fs.Create("000001.sst", category)
	require.NoError(t, err)
	_, err = f.Write([]byte("table"))
	require.NoError(t, errors.Join(err, f.Close()))
	assert.Equal(t, "table", string(readAll(t, fs, "000001.sst")))
}

// TestRoomGrows: a log of which little is written stays small, and room is made ahead of a larger one.
func TestRoomGrows(t *testing.T) {
	fs := New(vfs.NewMem())
	f, err := fs.Create("000001.log", category)
	require.NoError(t, err)
	var lengths []int
	for range 9 {
		_, err := f.Write(make([]byte, 3<<10))
		require.NoError(t, errors.Join(err, f.Sync()))
		lengths = append(lengths, len(readAll(t, fs, "000001.log"))>>10)
	}
	assert.Equal(t, []int{4, 16, 16, 16, 16, 64, 64, 64, 64}, lengths)
	require.NoError(t, f.Close())
	f, err = fs.Create("000002.log", category)
	require.NoError(t, err)
	_, err = f.Write([]byte("record"))
	require.NoError(t, errors.Join(err, f.Sync()))
	assert.Len(t, readAll(t, fs, "000002.log"), 64<<10, "the next has its length from the start")
	require.NoError(t, f.Close())
}

// scripted is a file whose writes have the given outcomes, in turn; then all succeed.
type scripted struct {
	vfs.File
	outcomes []error
	writes   int
}

func (s *scripted) WriteAt(p []byte, off int64) (int, error) {
	s.writes++
	if len(s.outcomes) > 0 {
		err := s.outcomes[0]
		if s.outcomes = s.outcomes[1:]; err != nil {
			return 0, err
		}
	}
	return s.File.WriteAt(p, off)
}

func scriptedFile(t *testing.T, fs vfs.FS, outcomes ...error) (*file, *scripted) {
	t.Helper()
	f, err := fs.Create("000001.log", category)
	require.NoError(t, err)
	s := &scripted{File: f, outcomes: outcomes}
	return newFile(s, 0, false), s
}

// TestAFullDiskMakesNoRoom: the log itself may still fit.
func TestAFullDiskMakesNoRoom(t *testing.T) {
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		fs := vfs.NewMem()
		f, _ := scriptedFile(t, fs, full)
		_, err := f.Write([]byte("record"))
		require.NoError(t, errors.Join(err, f.SyncData(), f.Close()))
		assert.True(t, bytes.HasPrefix(readAll(t, fs, "000001.log"), []byte("record")))
	}
}

// TestAFailedWriteIsTheLast: nobody knows how much of it was done, so the file is left as it is.
func TestAFailedWriteIsTheLast(t *testing.T) {
	for _, outcomes := range [][]error{{syscall.EIO}, {nil, syscall.EIO}, {nil, syscall.ENOSPC}} {
		f, s := scriptedFile(t, vfs.NewMem(), outcomes...)
		_, err := f.Write([]byte("record"))
		require.NoError(t, err)
		failure := outcomes[len(outcomes)-1]
		require.ErrorIs(t, f.SyncData(), failure)
		writes := s.writes
		require.ErrorIs(t, f.Sync(), failure)
		_, err = f.SyncTo(6)
		require.ErrorIs(t, err, failure)
		_, err = f.Write(make([]byte, 2*gathered))
		require.ErrorIs(t, err, failure)
		require.ErrorIs(t, f.Close(), failure)
		assert.Equal(t, writes, s.writes)
	}
}
