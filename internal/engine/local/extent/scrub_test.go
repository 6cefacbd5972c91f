package extent

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

func unpaced(context.Context, int) {}

// scrubAll scrubs an extent of a store that was just opened, and once more: what the first one healed the second does not find.
func scrubAll(t *testing.T, opts Options, what string) (first, second Scrubbed) {
	t.Helper()
	s, err := Open(opts)
	require.NoError(t, err, what)
	s.work.idle()
	first, err = s.Scrub(context.Background(), 1, unpaced)
	require.NoError(t, err, what)
	second, err = s.Scrub(context.Background(), 1, unpaced)
	require.NoError(t, err, what)
	require.NoError(t, s.Close())
	return first, second
}

// TestScrubHealsABitInEveryByte flips a bit in a byte of m columns at a time, headers, blocks, parity and footers, at other places in each.
// No reader comes: the scrub finds it, and the columns are again what they were.
func TestScrubHealsABitInEveryByte(t *testing.T) {
	sizes := []int64{100, 33, 700, 3000}
	const step = 29 // of the bytes; each has its turn in some column or test of another step
	for _, w := range widths {
		t.Run(fmt.Sprintf("%d+%d", w.k, w.m), func(t *testing.T) {
			const seed = 5
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, uint64(w.k)))
			fs := vfs.NewMem()
			opts := options(w.k, w.m, disksOn(fs, w.k+w.m))
			sealedStore(t, opts, sizes)
			paths := columnPaths(t, opts.Disks, 1, w.k+w.m)
			var before [][]byte
			for _, path := range paths {
				before = append(before, content(t, fs, path))
			}
			got, _ := scrubAll(t, opts, "undamaged")
			require.Equal(t, Scrubbed{Bytes: got.Bytes}, got, "nothing is wrong")
			doubts := 0
			for start := range max(1, len(before[0])/step) {
				what, hit := "", map[int]int{}
				for i := range max(1, w.m) {
					c := (start + i) % len(paths)
					off := (start*step + i*len(before[c])/2 + rng.IntN(step)) % len(before[c])
					hit[c] = off
					overwrite(t, fs, paths[c], int64(off), []byte{before[c][off] ^ 1<<rng.IntN(8)})
					what += fmt.Sprintf("column %d byte %d of %d; ", c, off, len(before[c]))
				}
				first, second := scrubAll(t, opts, what)
				require.Equal(t, first.Found-first.Healed, second.Found, "%s%+v, then %+v", what, first, second)
				for c, off := range hit {
					after := content(t, fs, paths[c])
					switch {
					case bytes.Equal(before[c], after): // headers and footers are healed at the start already
						require.Equal(t, first.Found, first.Healed, "%s%+v", what, first)
					case w.m == 0: // nothing to rebuild a block from
						require.True(t, first.Found > 0 || first.Doubt, "%s%+v", what, first)
						doubts++
					default:
						require.True(t, between(before[c], off), "%sis not repaired: %+v", what, first)
					}
					overwrite(t, fs, paths[c], 0, before[c])
				}
			}
			if w.m == 0 {
				require.Positive(t, doubts)
			}
		})
	}
}

// TestScrubRebuildsColumns: one that is gone, or cut off, or empty is made again without a reader.
func TestScrubRebuildsColumns(t *testing.T) {
	for _, w := range widths[1:] {
		for name, harm := range map[string]func(fs vfs.FS, path string) error{
			"gone": func(fs vfs.FS, path string) error { return fs.Remove(path) },
			"cut":  func(fs vfs.FS, path string) error { return cut(fs, path, headerSize+100) },
		} {
			t.Run(fmt.Sprintf("%d+%d/%s", w.k, w.m, name), func(t *testing.T) {
				fs := vfs.NewMem()
				opts := options(w.k, w.m, disksOn(fs, w.k+w.m))
				sealedStore(t, opts, []int64{1, 20_000, 300_000})
				for c, path := range columnPaths(t, opts.Disks, 1, w.k+w.m) {
					before := content(t, fs, path)
					s := open(t, opts)
					s.work.idle()
					require.NoError(t, harm(fs, path))
					first, err := s.Scrub(context.Background(), 1, unpaced)
					require.NoError(t, err)
					require.Positive(t, first.Healed, "column %d: %+v", c, first)
					require.True(t, bytes.Equal(before, content(t, fs, path)), "column %d", c)
					second, err := s.Scrub(context.Background(), 1, unpaced)
					require.NoError(t, err)
					require.Zero(t, second.Found)
					require.NoError(t, s.Close())
				}
			})
		}
	}
}

// cut replaces a file by its beginning.
func cut(fs vfs.FS, path string, n int) error {
	f, err := fs.Open(path)
	if err != nil {
		return err
	}
	b := make([]byte, n)
	if _, err := f.ReadAt(b, 0); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if f, err = fs.Create(path, vfs.WriteCategoryUnspecified); err != nil {
		return err
	}
	if _, err := f.Write(b); err != nil {
		return err
	}
	return f.Close()
}

// TestScrubOfAnOpenExtent: what is being written there is left alone, and what is bad is told of.
func TestScrubOfAnOpenExtent(t *testing.T) {
	fs := vfs.NewMem()
	opts := options(2, 1, disksOn(fs, 3))
	s := open(t, opts)
	ref := put(t, s, pattern(1, 100_000))
	got, err := s.Scrub(context.Background(), ID(ref), unpaced)
	require.NoError(t, err)
	require.Equal(t, Scrubbed{Bytes: got.Bytes}, got)
	path := columnPaths(t, opts.Disks, 1, 3)[1]
	before := content(t, fs, path)
	overwrite(t, fs, path, headerSize+200, []byte("damage"))
	got, err = s.Scrub(context.Background(), ID(ref), unpaced)
	require.NoError(t, err)
	require.True(t, got.Open)
	require.Zero(t, got.Found)
	require.NoError(t, s.Seal(ID(ref)))
	s.work.idle()
	got, err = s.Scrub(context.Background(), ID(ref), unpaced)
	require.NoError(t, err)
	require.Equal(t, got.Found, got.Healed)
	require.True(t, bytes.HasPrefix(content(t, fs, path), before))
}

// lyingFS takes writes to one file for done and keeps the old bytes, from when it is told to.
type lyingFS struct {
	vfs.FS
	path string
}

func (l *lyingFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := l.FS.OpenReadWrite(name, category, opts...)
	if err == nil && name == l.path {
		return lyingFile{f}, nil
	}
	return f, err
}

type lyingFile struct{ vfs.File }

func (lyingFile) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

// TestARepairIsReadBack: a disk that takes a repair and does not keep it takes no more writes.
func TestARepairIsReadBack(t *testing.T) {
	fs := &lyingFS{FS: vfs.NewMem()}
	opts := options(2, 1, disksOn(fs, 3))
	sealedStore(t, opts, []int64{100_000})
	path := columnPaths(t, opts.Disks, 1, 3)[1]
	overwrite(t, fs, path, headerSize+200, []byte("damage"))
	fs.path = path
	s := open(t, opts)
	s.work.idle()
	got, err := s.Scrub(context.Background(), 1, unpaced)
	require.NoError(t, err)
	require.Equal(t, 1, got.Found)
	require.Zero(t, got.Healed)
	require.Contains(t, s.Health().Detail, "does not give back")
}
