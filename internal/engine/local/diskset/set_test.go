package diskset

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/minio/crc64nvme"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskio"
)

func open(fs vfs.FS, dirs ...string) (*Set, error) {
	return Open(Options{FS: fs, Logger: zap.NewNop(), Dirs: dirs})
}

// makeStore starts a store, which is made if there is none, and closes it.
func makeStore(t *testing.T, fs vfs.FS, dirs ...string) {
	t.Helper()
	set, err := open(fs, dirs...)
	require.NoError(t, err)
	require.NoError(t, set.Start(set.Replicas(), 0))
	require.NoError(t, set.Finish())
	require.NoError(t, set.Close())
}

// edit changes both copies of a format file, with a right checksum.
func edit(t *testing.T, fs vfs.FS, dir string, change func(record []byte)) {
	t.Helper()
	b, err := diskio.ReadFile(fs, fs.PathJoin(dir, FormatName))
	require.NoError(t, err)
	for _, at := range []int{0, formatCopyAt} {
		r := b[at : at+formatRecord]
		change(r)
		binary.BigEndian.PutUint64(r[formatRecord-8:], crc64nvme.Checksum(r[:formatRecord-8]))
	}
	require.NoError(t, diskio.WriteFile(fs, dir, FormatName, b))
}

// copyDir copies a directory, as a person would by mistake.
func copyDir(t *testing.T, fs vfs.FS, from, to string) {
	t.Helper()
	require.NoError(t, fs.MkdirAll(to, 0o755))
	b, err := diskio.ReadFile(fs, fs.PathJoin(from, FormatName))
	require.NoError(t, err)
	require.NoError(t, diskio.WriteFile(fs, to, FormatName, b))
}

func TestOpenRefuses(t *testing.T) {
	three := []string{"a", "b", "c"}
	tests := []struct {
		name string
		hurt func(t *testing.T, fs vfs.FS)
		dirs []string
		says string
		is   error // nil: any
	}{
		{"no directory", nil, nil, "no data directory", nil},
		{"a directory twice", nil, []string{"a", "b", "c", "a"}, "given twice", nil},
		{"a folder with something else in it", func(t *testing.T, fs vfs.FS) {
			require.NoError(t, fs.MkdirAll("photos", 0o755))
			require.NoError(t, diskio.WriteFile(fs, "photos", "holiday.jpg", []byte("x")))
		}, []string{"photos"}, `holds "holiday.jpg"`, nil},
		{"a disk of another store", func(t *testing.T, fs vfs.FS) { makeStore(t, fs, "x", "y", "z") }, []string{"a", "b", "z"}, "different stores", nil},
		{"two stores", func(t *testing.T, fs vfs.FS) { makeStore(t, fs, "x") }, []string{"a", "b", "c", "x"}, "different stores", nil},
		{"a copy of a disk", func(t *testing.T, fs vfs.FS) { copyDir(t, fs, "a", "a2") }, []string{"a", "a2", "b"}, "copies of one disk", nil},
		{"too few disks", nil, []string{"b"}, "1 of the store's 3 disks are there, 2 are needed", engine.ErrUnavailable},
		{"too many directories", func(t *testing.T, fs vfs.FS) { require.NoError(t, fs.MkdirAll("d", 0o755)) },
			[]string{"a", "b", "c", "d"}, "4 data directories given for a store of 3 disks", nil},
		{"a newer format", func(t *testing.T, fs vfs.FS) {
			edit(t, fs, "b", func(r []byte) { binary.BigEndian.PutUint32(r[8:], formatVersion+1) })
		}, three, "made by a newer version", errFormatVersion},
		{"a format file that is damaged on the only disk", func(t *testing.T, fs vfs.FS) {
			makeStore(t, fs, "one")
			require.NoError(t, diskio.WriteFile(fs, "one", FormatName, make([]byte, formatSize)))
		}, []string{"one"}, "", engine.ErrCorrupt},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fs := vfs.NewMem()
			makeStore(t, fs, three...)
			if tt.hurt != nil {
				tt.hurt(t, fs)
			}
			_, err := open(fs, tt.dirs...)
			require.Error(t, err)
			assert.ErrorContains(t, err, tt.says)
			if tt.is != nil {
				assert.ErrorIs(t, err, tt.is)
			}
			if tt.name != "a newer format" {
				makeStore(t, fs, three...) // nothing was changed, and the locks were let go
			}
		})
	}
}

func TestWidths(t *testing.T) {
	for n := 1; n <= maxDisks; n++ {
		fs := vfs.NewMem()
		var dirs []string
		for i := range n {
			dirs = append(dirs, fmt.Sprintf("d%02d", i))
		}
		set, err := open(fs, dirs...)
		require.NoError(t, err)
		assert.Equal(t, n, set.K+set.M, "every disk is used")
		assert.Equal(t, n > 1, set.M > 0)
		require.NoError(t, set.Close())
	}
	for n, want := range map[int][2]uint8{1: {1, 0}, 2: {1, 1}, 3: {2, 1}, 4: {2, 2}, 6: {4, 2}, 8: {6, 2}} {
		assert.Equal(t, want, widths[n], "%d disks", n)
	}
}

// TestADamagedFormatFileIsMended: one bad copy is written again, by a start and while the store runs, and the disk stays in use.
func TestADamagedFormatFileIsMended(t *testing.T) {
	fs := vfs.NewMem()
	makeStore(t, fs, "a", "b", "c")
	damage := func() {
		b, err := diskio.ReadFile(fs, "b/"+FormatName)
		require.NoError(t, err)
		b[20] ^= 1
		require.NoError(t, diskio.WriteFile(fs, "b", FormatName, b))
	}
	whole := func() bool {
		b, err := diskio.ReadFile(fs, "b/"+FormatName)
		require.NoError(t, err)
		_, whole, err := decodeFormat(b)
		require.NoError(t, err)
		return whole
	}
	damage()
	require.False(t, whole())
	set, err := open(fs, "a", "b", "c")
	require.NoError(t, err)
	require.True(t, set.Complete())
	require.True(t, whole())
	require.NoError(t, set.Start(set.Replicas(), 0))
	damage()
	n, mended, err := set.Mend(1)
	require.NoError(t, err)
	require.True(t, mended)
	require.EqualValues(t, formatSize, n)
	require.True(t, whole())
	_, mended, err = set.Mend(1)
	require.NoError(t, err)
	require.False(t, mended, "it is whole")
	require.NoError(t, set.Close())
}

// TestLook: a disk is lost with its directory, and where another one is in its place; that it cannot be read for now says nothing.
func TestLook(t *testing.T) {
	fs := vfs.NewMem()
	makeStore(t, fs, "a", "b", "c")
	set, err := open(fs, "a", "b", "c")
	require.NoError(t, err)
	look := func(i int, lost bool, says string) {
		t.Helper()
		gone, err := set.Look(i)
		require.Equal(t, lost, gone)
		require.ErrorContains(t, err, says)
	}
	gone, err := set.Look(0)
	require.NoError(t, err)
	require.False(t, gone)
	copyDir(t, fs, "b", "a")
	look(0, true, "another disk")
	require.NoError(t, fs.Remove("b/"+FormatName))
	look(1, true, "is gone from it")
	require.NoError(t, fs.Remove("c/"+FormatName))
	require.NoError(t, fs.MkdirAll("c/"+FormatName, 0o700))
	look(2, false, "it cannot be read")
	require.NoError(t, set.Close())
}
