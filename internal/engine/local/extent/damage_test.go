package extent

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/siphash"
)

// content reads a whole file.
func content(t testing.TB, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	require.NoError(t, err)
	defer f.Close()
	info, err := f.Stat()
	require.NoError(t, err)
	b := make([]byte, info.Size())
	if len(b) > 0 {
		_, err = f.ReadAt(b, 0)
		require.NoError(t, err)
	}
	return b
}

// overwrite changes a few bytes of a file.
func overwrite(t testing.TB, fs vfs.FS, path string, off int64, p []byte) {
	t.Helper()
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.WriteAt(p, off)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// sealedStore makes a store with chunks of the given sizes in one extent and closes it sealed. The i-th chunk is pattern(i).
func sealedStore(t testing.TB, opts Options, sizes []int64) []engine.Ref {
	t.Helper()
	s, err := Open(opts)
	require.NoError(t, err)
	refs := make([]engine.Ref, len(sizes))
	for i, n := range sizes {
		refs[i] = put(t, s, pattern(uint64(i), n))
		require.Equal(t, ID(refs[0]), ID(refs[i]))
	}
	require.NoError(t, s.Seal(ID(refs[0])))
	s.work.idle()
	require.NoError(t, s.Close())
	return refs
}

// columnPaths finds the files of an extent, by column.
func columnPaths(t testing.TB, disks []Disk, id uint64, columns int) []string {
	t.Helper()
	paths := make([]string, columns)
	for _, d := range disks {
		for c := range columns {
			path := d.FS.PathJoin(d.Dir, columnName(id, c))
			if _, err := d.FS.Stat(path); err == nil {
				paths[c] = path
			}
		}
	}
	return paths
}

// TestEveryColumnButK takes away every choice of m columns, or of m neighbours, in three ways. All data is served; afterwards the columns are there
// again, byte for byte.
func TestEveryColumnButK(t *testing.T) {
	harm := map[string]func(t *testing.T, fs vfs.FS, path string){
		"deleted": func(t *testing.T, fs vfs.FS, path string) { require.NoError(t, fs.Remove(path)) },
		"overwritten": func(t *testing.T, fs vfs.FS, path string) {
			// All but the header, which alone makes it a column of this store.
			overwrite(t, fs, path, headerSize, pattern(99, int64(len(content(t, fs, path))-headerSize)))
		},
		"emptied": func(t *testing.T, fs vfs.FS, path string) {
			require.NoError(t, fs.Remove(path))
			f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
			require.NoError(t, err)
			require.NoError(t, f.Close())
		},
	}
	sizes := []int64{1, 20_000, 64 << 10, 70_000, 300_000, 600_001}
	for _, w := range widths[1:] {
		for name, do := range harm {
			t.Run(fmt.Sprintf("%d+%d/%s", w.k, w.m, name), func(t *testing.T) {
				n := w.k + w.m
				for a := range n {
					for b := a; b < n; b++ {
						if (a == b) != (w.m == 1) || name != "deleted" && b > a+1 {
							continue
						}
						fs := vfs.NewMem()
						opts := options(w.k, w.m, disksOn(fs, n))
						refs := sealedStore(t, opts, sizes)
						paths := columnPaths(t, opts.Disks, ID(refs[0]), n)
						lost := []int{a, b}[:w.m]
						var before [][]byte
						for _, c := range lost {
							before = append(before, content(t, fs, paths[c]))
							do(t, fs, paths[c])
						}
						s := open(t, opts)
						for i, size := range sizes {
							requireContent(t, s, refs[i], pattern(uint64(i), size))
						}
						_, err := s.Heal(context.Background(), ID(refs[0]))
						require.NoError(t, err)
						s.work.idle()
						rep, err := s.Verify(context.Background(), ID(refs[0]))
						require.NoError(t, err)
						if name != "overwritten" {
							require.Empty(t, rep.Bad)
						}
						paths = columnPaths(t, opts.Disks, ID(refs[0]), n)
						for i, c := range lost {
							got := content(t, fs, paths[c])
							require.Len(t, got, len(before[i]))
							if name != "overwritten" { // what lies between the blocks is nobody's
								// The header names the disk, which may be another, and the footer sums the header.
								end := len(got) - footerSize
								require.True(t, bytes.Equal(before[i][headerSize:end], got[headerSize:end]), "column %d is not what it was", c)
							}
						}
						rebuilt := s.Rebuilt()
						for i, size := range sizes {
							requireContent(t, s, refs[i], pattern(uint64(i), size))
						}
						require.Equal(t, rebuilt, s.Rebuilt(), "what was repaired need not be rebuilt again")
						require.NoError(t, s.Close())
					}
				}
			})
		}
	}
}

// TestReadersHaveWhatTheyMeetRepaired: no scrub is needed for a block that is read.
func TestReadersHaveWhatTheyMeetRepaired(t *testing.T) {
	fs := vfs.NewMem()
	opts := options(2, 1, disksOn(fs, 3))
	refs := sealedStore(t, opts, []int64{500_000})
	path := columnPaths(t, opts.Disks, 1, 3)[1]
	before := content(t, fs, path)
	overwrite(t, fs, path, headerSize+200, []byte("damage"))
	s := open(t, opts)
	requireContent(t, s, refs[0], pattern(0, 500_000))
	require.EqualValues(t, 1, s.Rebuilt())
	s.work.idle()
	require.True(t, bytes.Equal(before, content(t, fs, path)))

	require.NoError(t, fs.Remove(path))
	require.NoError(t, s.Close())
	s = open(t, opts)
	requireContent(t, s, refs[0], pattern(0, 500_000))
	s.work.idle()
	require.True(t, bytes.Equal(before, content(t, fs, path)))
}

// TestABitInEveryByte flips one bit in every byte of a column, one at a time. No read ever returns other bytes than were put.
// With parity all reads succeed and the column is repaired to the byte; without, the damage is found or does not matter.
func TestABitInEveryByte(t *testing.T) {
	sizes := []int64{100, 33, 700} // small, so that every byte can have its turn
	for _, w := range []struct{ k, m int }{{1, 0}, {1, 1}, {2, 1}} {
		t.Run(fmt.Sprintf("%d+%d", w.k, w.m), func(t *testing.T) {
			const seed = 31
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 0))
			fs := vfs.NewMem()
			opts := options(w.k, w.m, disksOn(fs, w.k+w.m))
			refs := sealedStore(t, opts, sizes)
			for c, path := range columnPaths(t, opts.Disks, 1, w.k+w.m) {
				before := content(t, fs, path)
				lost := 0
				for off := range before {
					if off > 100 && off < headerSize-16 && off%64 != 0 {
						continue // the empty part of the header: every 64th will do
					}
					overwrite(t, fs, path, int64(off), []byte{before[off] ^ 1<<rng.IntN(8)})
					s, err := Open(opts)
					require.NoError(t, err, "column %d, byte %d", c, off)
					for i, n := range sizes {
						got, err := read(s, refs[i], 0, n)
						if err != nil {
							require.Zero(t, w.m, "column %d, byte %d", c, off)
							require.ErrorIs(t, err, engine.ErrCorrupt)
							require.GreaterOrEqual(t, off, headerSize, "a chunk is lost with the file header")
							lost++
							continue
						}
						require.True(t, bytes.Equal(pattern(uint64(i), n), got), "column %d, byte %d: other bytes than were put", c, off)
					}
					rep, err := s.Heal(context.Background(), 1)
					require.NoError(t, err)
					require.NoError(t, s.Close())
					after := content(t, fs, path)
					if len(rep.Bad) == 0 { // a reader met it, and it was repaired before Heal came
						require.True(t, bytes.Equal(before, after), "column %d, byte %d: not found", c, off)
					}
					// Between the blocks there is nothing to restore a byte from, and no need to: the footer is made to fit.
					require.Len(t, after, len(before))
					for i := range len(after) - footerSize {
						if after[i] != before[i] {
							require.Equal(t, off, i, "column %d, byte %d: the repair changed another", c, off)
							require.True(t, w.m == 0 || between(before, off), "column %d, byte %d is not repaired", c, off)
						}
					}
					overwrite(t, fs, path, 0, before)
				}
				if w.m == 0 {
					require.Greater(t, lost, 100+33+700, "every byte of every payload counts")
				}
			}
		})
	}
}

// between tells whether a byte of a column lies between its blocks, where all bytes are zero.
func between(column []byte, off int) bool {
	for at := headerSize; at < len(column)-footerSize; {
		f, err := decodeFrame(column[at:], tagAt(column[at+5], at))
		if err != nil {
			at += rowAlign
			continue
		}
		n := headSize(int(f.k), int(f.m)) + int(f.length)
		if off >= at && off < at+n {
			return false
		}
		at += alignUp(n)
	}
	return off >= headerSize && column[off] == 0
}

// TestBlocksOutOfPlace: a block with a good sum that belongs elsewhere is as bad as any other.
func TestBlocksOutOfPlace(t *testing.T) {
	frame := newGeometry(1, 0).frame()
	data := func(i uint64) []byte { return pattern(i, blockSize) }
	setup := func(t *testing.T) (vfs.FS, Options, []engine.Ref, string) {
		fs := vfs.NewMem()
		opts := options(1, 0, disksOn(fs, 1))
		refs := sealedStore(t, opts, []int64{blockSize, blockSize})
		return fs, opts, refs, columnPaths(t, opts.Disks, 1, 1)[0]
	}
	requireCorrupt := func(t *testing.T, opts Options, ref engine.Ref) {
		s := open(t, opts)
		_, err := read(s, ref, 0, 10)
		require.ErrorIs(t, err, engine.ErrCorrupt)
	}
	t.Run("of another offset", func(t *testing.T) {
		fs, opts, refs, path := setup(t)
		overwrite(t, fs, path, int64(headerSize+frame), content(t, fs, path)[headerSize:headerSize+frame])
		requireCorrupt(t, opts, refs[1])
		s := open(t, opts)
		requireContent(t, s, refs[0], data(0))
	})
	t.Run("of another store", func(t *testing.T) {
		fs, opts, refs, path := setup(t)
		other := options(1, 0, disksOn(vfs.NewMem(), 1))
		other.StoreID, other.Secret = [16]byte{1}, siphash.Key{1}
		sealedStore(t, other, []int64{blockSize, blockSize})
		foreign := content(t, other.Disks[0].FS, columnPaths(t, other.Disks, 1, 1)[0])
		overwrite(t, fs, path, headerSize, foreign[headerSize:headerSize+frame])
		requireCorrupt(t, opts, refs[0])
	})
	t.Run("of another extent", func(t *testing.T) {
		fs, opts, refs, path := setup(t)
		s := open(t, opts)
		ref := put(t, s, data(7))
		require.NoError(t, s.Close())
		other := content(t, fs, columnPaths(t, opts.Disks, ID(ref), 1)[0])
		overwrite(t, fs, path, headerSize, other[headerSize:headerSize+frame])
		requireCorrupt(t, opts, refs[0])
	})
	t.Run("a whole file of another disk", func(t *testing.T) {
		fs, opts, refs, _ := setup(t)
		_ = fs
		opts.Disks[0].ID = [16]byte{9}
		requireCorrupt(t, opts, refs[0])
	})
}

// TestAMissingDisk: with a disk away everything is read and written on, and what it lacks is made when it is back.
func TestAMissingDisk(t *testing.T) {
	for _, w := range []struct{ k, m int }{{2, 2}, {4, 2}} {
		t.Run(fmt.Sprintf("%d+%d", w.k, w.m), func(t *testing.T) {
			fs := vfs.NewMem()
			n := w.k + w.m
			opts := options(w.k, w.m, disksOn(fs, n))
			sizes := []int64{100, 70_000, 800_000}
			refs := sealedStore(t, opts, sizes)

			opts.Disks[2].OK = false
			s := open(t, opts)
			for i, size := range sizes {
				requireContent(t, s, refs[i], pattern(uint64(i), size))
			}
			h := s.Health()
			require.True(t, h.Writable)
			require.True(t, h.Degraded)
			more := put(t, s, pattern(50, 333_333))
			require.NoError(t, s.Close())

			opts.Disks[2].OK = true
			s = open(t, opts)
			requireContent(t, s, more, pattern(50, 333_333))
			_, err := s.Heal(context.Background(), ID(more))
			require.NoError(t, err)
			for _, info := range s.Extents() {
				require.Zero(t, info.Missing)
				rep, err := s.Verify(context.Background(), info.ID)
				require.NoError(t, err)
				require.Empty(t, rep.Bad)
			}
			require.NoError(t, s.Close())

			// Too many away: nothing is corrupt, it is just not there; and no write is taken.
			for i := range w.m + 1 {
				opts.Disks[i].OK = false
			}
			s = open(t, opts)
			_, err = read(s, more, 0, 333_333)
			require.ErrorIs(t, err, engine.ErrUnavailable)
			require.NotErrorIs(t, err, engine.ErrCorrupt)
			_, err = s.Put(context.Background(), bytes.NewReader(pattern(1, 10)), 10)
			require.ErrorIs(t, err, engine.ErrUnavailable)
			require.False(t, s.Health().Writable)
		})
	}
}
