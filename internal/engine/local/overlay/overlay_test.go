package overlay

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// content reads what a directory holds.
func content(t *testing.T, fs vfs.FS) map[string]string {
	t.Helper()
	names, err := fs.List("d")
	require.NoError(t, err)
	all := map[string]string{}
	for _, name := range names {
		f, err := fs.Open("d/" + name)
		require.NoError(t, err)
		b, err := io.ReadAll(f)
		require.NoError(t, errors.Join(err, f.Close()))
		info, err := fs.Stat("d/" + name)
		require.NoError(t, err)
		require.EqualValues(t, len(b), info.Size())
		all[name] = string(b)
	}
	return all
}

// step does something at random to a file system, and tells how it ended.
func step(fs vfs.FS, rng *rand.Rand) (what string, err error) {
	name, other := fmt.Sprintf("d/%d", rng.IntN(6)), fmt.Sprintf("d/%d", rng.IntN(6))
	p := make([]byte, rng.IntN(9000))
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
	off := int64(rng.IntN(9000))
	switch rng.IntN(6) {
	case 0:
		f, err := fs.Create(name, "")
		if err == nil {
			_, err = f.Write(p)
			err = errors.Join(err, f.Sync(), f.Close())
		}
		return "create " + name, err
	case 1, 2:
		if _, err := fs.Stat(name); err != nil {
			return "stat " + name, err
		}
		f, err := fs.OpenReadWrite(name, "")
		if err == nil {
			_, err = f.WriteAt(p, off)
			err = errors.Join(err, f.Close())
		}
		return "write " + name, err
	case 3:
		if name == other {
			return "", nil
		}
		return "rename " + name + " " + other, fs.Rename(name, other)
	case 4:
		return "remove " + name, fs.Remove(name)
	default:
		f, err := fs.Open(name)
		if err != nil {
			return "open " + name, err
		}
		b := make([]byte, 3000)
		n, err := f.ReadAt(b, off)
		return fmt.Sprintf("read %s %x %v", name, b[:n], err), f.Close()
	}
}

// TestLikeAFileSystem: what is done on it has the outcome that it has on any other, and what is below stays as it is.
func TestLikeAFileSystem(t *testing.T) {
	const seed = 3
	t.Logf("seed %d", seed)
	for round := range uint64(8) {
		base, like := vfs.NewMem(), vfs.NewMem()
		for _, fs := range []vfs.FS{base, like} {
			require.NoError(t, fs.MkdirAll("d", 0o755))
			rng := rand.New(rand.NewPCG(seed, round))
			for range 20 {
				_, _ = step(fs, rng)
			}
		}
		before := content(t, base)
		over := New(base)
		one, two := rand.New(rand.NewPCG(seed, round+1000)), rand.New(rand.NewPCG(seed, round+1000))
		for i := range 100 {
			want, werr := step(like, one)
			got, gerr := step(over, two)
			require.Equal(t, want, got, "round %d, step %d", round, i)
			require.Equal(t, errors.Is(werr, os.ErrNotExist), errors.Is(gerr, os.ErrNotExist), "round %d, step %d: %s: %v, %v", round, i, want, werr, gerr)
			require.Equal(t, werr == nil, gerr == nil, "round %d, step %d: %s: %v, %v", round, i, want, werr, gerr)
		}
		require.Equal(t, content(t, like), content(t, over))
		require.Equal(t, before, content(t, base))
	}
}
