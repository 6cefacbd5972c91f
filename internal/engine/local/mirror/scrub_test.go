package mirror

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func unpaced(context.Context, int) {}

// contents reads all files of a replica.
func contents(t *testing.T, fs vfs.FS) map[string][]byte {
	t.Helper()
	names, err := fs.List("disk/meta")
	require.NoError(t, err)
	all := map[string][]byte{}
	for _, name := range names {
		all[name] = read(t, fs, "disk/meta/"+name)
	}
	return all
}

// TestScrubHealsEachKindOfFile flips a bit of every file, or removes it, on one replica of two after the other.
func TestScrubHealsEachKindOfFile(t *testing.T) {
	d := newDisks(2)
	fs := d.open(t)
	write(t, fs, "meta/000001.sst", random(3*sumBlock+100))
	write(t, fs, "meta/OPTIONS-000002", random(700))
	write(t, fs, "meta/MANIFEST-000001", logOf(t, 0, "edit one", "edit two", strings.Repeat("edit three", 500)))
	write(t, fs, "meta/marker.manifest.000001.MANIFEST-000001", nil)
	got, err := fs.Scrub(t.Context(), unpaced)
	require.NoError(t, err)
	require.Equal(t, Scrubbed{Bytes: got.Bytes}, got)
	require.Positive(t, got.Bytes)
	want := contents(t, d.fs[0])
	require.Len(t, want, 6)
	for r, replica := range d.fs {
		for _, name := range slices.Sorted(maps.Keys(want)) {
			size, gone := len(want[name]), !strings.HasPrefix(name, "MANIFEST")
			for _, at := range []int{-1, 0, size / 2, size - 1} {
				what := fmt.Sprintf("replica %d, byte %d of %s", r, at, name)
				switch {
				case at < 0 && gone:
					require.NoError(t, replica.Remove("disk/meta/"+name))
				case at >= 0 && size > 0:
					flip(t, replica, "disk/meta/"+name, at)
				default:
					continue
				}
				got, err := fs.Scrub(t.Context(), unpaced)
				require.NoError(t, err)
				assert.Equal(t, 1, got.Found, what)
				assert.Equal(t, 1, got.Healed, what)
				for _, replica := range d.fs {
					require.Equal(t, want, contents(t, replica), what)
				}
			}
		}
	}
	require.Empty(t, d.dropped)
}

// TestScrubNamesWhatNoReplicaHas: a block that is bad everywhere is no reason to touch anything.
func TestScrubNamesWhatNoReplicaHas(t *testing.T) {
	d := newDisks(2)
	fs := d.open(t)
	write(t, fs, "meta/000001.sst", random(3*sumBlock))
	for _, replica := range d.fs {
		flip(t, replica, "disk/meta/000001.sst", 5)
	}
	before := contents(t, d.fs[0])
	got, err := fs.Scrub(t.Context(), unpaced)
	require.NoError(t, err)
	assert.Equal(t, []string{"meta/000001.sst", "meta/000001.sst"}, got.Lost)
	assert.Zero(t, got.Healed)
	assert.Equal(t, before, contents(t, d.fs[0]))
}

// TestAManifestThatIsGoneDropsItsReplica: what is written to it from now on is nowhere there.
func TestAManifestThatIsGoneDropsItsReplica(t *testing.T) {
	d := newDisks(2)
	fs := d.open(t)
	write(t, fs, "meta/MANIFEST-000001", logOf(t, 0, "edit"))
	require.NoError(t, d.fs[1].Remove("disk/meta/MANIFEST-000001"))
	_, err := fs.Scrub(t.Context(), unpaced)
	require.NoError(t, err)
	assert.Equal(t, []int{1}, d.dropped)
}

// TestScrubBesideChanges: files that come, grow and go on one replica after the other are no findings.
func TestScrubBesideChanges(t *testing.T) {
	d := newDisks(2)
	fs := d.open(t)
	manifest, err := fs.Create("meta/MANIFEST-000001", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	records := bytes.SplitAfter(logOf(t, 0, slices.Repeat([]string{strings.Repeat("edit", 100)}, 300)...), []byte("editedit"))
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 300 {
			name := fmt.Sprintf("meta/%06d.sst", i)
			write(t, fs, name, random(100+i))
			if i%2 == 0 {
				assert.NoError(t, fs.Rename(name, name+"x"))
				name += "x"
			}
			assert.NoError(t, fs.Remove(name))
		}
	})
	wg.Go(func() {
		for i := range 300 {
			name := fmt.Sprintf("meta/MANIFEST-%06d", 2+i)
			write(t, fs, name, logOf(t, 0, "edit"))
			assert.NoError(t, fs.Remove(name))
		}
	})
	wg.Go(func() {
		for _, r := range records {
			_, err := manifest.Write(r)
			assert.NoError(t, err)
		}
	})
	ended := make(chan struct{})
	go func() { wg.Wait(); close(ended) }()
	for done := false; !done; {
		select {
		case <-ended:
			done = true
		default:
		}
		got, err := fs.Scrub(t.Context(), unpaced)
		require.NoError(t, err)
		require.Zero(t, got.Found, "%+v", got)
	}
	require.NoError(t, manifest.Close())
	require.Empty(t, d.dropped)
	require.Equal(t, contents(t, d.fs[0]), contents(t, d.fs[1]))
}
