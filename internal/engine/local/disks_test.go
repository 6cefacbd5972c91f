package local

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/minio/crc64nvme"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// makeStore makes a store and closes it.
func makeStore(t *testing.T, fs vfs.FS, dirs ...string) {
	t.Helper()
	s, err := Open(Options{Dirs: dirs, FS: fs})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

// edit changes both copies of a format file, with a right checksum.
func edit(t *testing.T, fs vfs.FS, dir string, change func(record []byte)) {
	t.Helper()
	b, err := diskio.ReadFile(fs, fs.PathJoin(dir, formatName))
	require.NoError(t, err)
	for _, at := range []int{0, formatCopyAt} {
		r := b[at : at+formatRecord]
		change(r)
		binary.BigEndian.PutUint64(r[formatRecord-8:], crc64nvme.Checksum(r[:formatRecord-8]))
	}
	require.NoError(t, diskio.WriteFile(fs, dir, formatName, b))
}

// copyDir copies a directory, as a person would by mistake.
func copyDir(t *testing.T, fs vfs.FS, from, to string) {
	t.Helper()
	require.NoError(t, fs.MkdirAll(to, 0o755))
	b, err := diskio.ReadFile(fs, fs.PathJoin(from, formatName))
	require.NoError(t, err)
	require.NoError(t, diskio.WriteFile(fs, to, formatName, b))
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
			require.NoError(t, diskio.WriteFile(fs, "one", formatName, make([]byte, formatSize)))
		}, []string{"one"}, "", engine.ErrCorrupt},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fs := vfs.NewMem()
			makeStore(t, fs, three...)
			if tt.hurt != nil {
				tt.hurt(t, fs)
			}
			_, err := Open(Options{Dirs: tt.dirs, FS: fs})
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

func TestOpenRefusesALockedDirectory(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"memory": vfs.NewMem(), "disk": vfs.Default} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, err := Open(Options{Dirs: []string{dir}, FS: fs})
			require.NoError(t, err)
			_, err = Open(Options{Dirs: []string{dir}, FS: fs})
			assert.ErrorContains(t, err, "in use by another process")
			assert.ErrorContains(t, err, dir)
			require.NoError(t, s.Close())
			makeStore(t, fs, dir)
		})
	}
}

func TestDirectoriesInAnyOrder(t *testing.T) {
	fs := vfs.NewMem()
	dirs := []string{"a", "b", "c"}
	makeStore(t, fs, dirs...)
	slices.Reverse(dirs)
	s, err := Open(Options{Dirs: dirs, FS: fs})
	require.NoError(t, err)
	assert.False(t, s.Health().Degraded)
	assert.Equal(t, "a", s.Health().Disks[0].Path)
	require.NoError(t, s.Close())
}

func TestWidths(t *testing.T) {
	for n := 1; n <= maxDisks; n++ {
		fs := vfs.NewMem()
		var dirs []string
		for i := range n {
			dirs = append(dirs, fmt.Sprintf("d%02d", i))
		}
		s, err := Open(Options{Dirs: dirs, FS: fs})
		require.NoError(t, err)
		assert.Equal(t, n, s.disks.k+s.disks.m, "every disk is used")
		assert.Equal(t, n > 1, s.disks.m > 0)
		require.NoError(t, s.Close())
	}
	for n, want := range map[int][2]uint8{1: {1, 0}, 2: {1, 1}, 3: {2, 1}, 4: {2, 2}, 6: {4, 2}, 8: {6, 2}} {
		assert.Equal(t, want, widths[n], "%d disks", n)
	}
}

// TestADamagedFormatFileIsMended: one bad copy is written again, and the disk stays in use.
func TestADamagedFormatFileIsMended(t *testing.T) {
	fs := vfs.NewMem()
	makeStore(t, fs, "a", "b", "c")
	b, err := diskio.ReadFile(fs, "b/"+formatName)
	require.NoError(t, err)
	b[20] ^= 1
	require.NoError(t, diskio.WriteFile(fs, "b", formatName, b))
	s, err := Open(Options{Dirs: []string{"a", "b", "c"}, FS: fs})
	require.NoError(t, err)
	assert.False(t, s.Health().Degraded)
	require.NoError(t, s.Close())
	b, err = diskio.ReadFile(fs, "b/"+formatName)
	require.NoError(t, err)
	_, whole, err := decodeFormat(b)
	require.NoError(t, err)
	assert.True(t, whole)
}

// TestTheNewestEpochDecides: metadata that went on without a disk is never read from that disk again.
func TestTheNewestEpochDecides(t *testing.T) {
	fs := vfs.NewMem()
	makeStore(t, fs, "a", "b", "c") // metadata on a and b
	put := func(dirs []string, value string) {
		s, err := Open(Options{Dirs: dirs, FS: fs})
		require.NoError(t, err)
		require.NoError(t, s.Update(t.Context(), []byte("k"), func(tx engine.Tx) error {
			tx.Set(engine.SpaceEntity, []byte("k"), []byte(value))
			return nil
		}))
		require.NoError(t, s.Close())
	}
	put([]string{"a", "b", "c"}, "old")
	put([]string{"b", "c"}, "new") // a is away
	// Without b nobody has current metadata, and c knows it.
	_, err := Open(Options{Dirs: []string{"a", "c"}, FS: fs})
	assert.ErrorIs(t, err, engine.ErrUnavailable)
	assert.ErrorContains(t, err, "no disk with current metadata")
	for _, dirs := range [][]string{{"a", "b", "c"}, {"a", "c"}} { // a is filled from b, and can stand in for it then
		s, err := Open(Options{Dirs: dirs, FS: fs})
		require.NoError(t, err)
		require.NoError(t, s.View(t.Context(), []byte("k"), func(r engine.Reader) error {
			v, err := r.Get(engine.SpaceEntity, []byte("k"))
			assert.Equal(t, "new", string(v))
			return err
		}))
		require.NoError(t, s.Close())
	}
}
