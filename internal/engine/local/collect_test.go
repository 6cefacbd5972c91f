package local_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
	"github.com/blobd/blobd/internal/engine/local/extent"
)

// keep stores an object with one chunk of so many bytes.
func keep(t *testing.T, s *local.Store, name string, seed uint64, size int) object {
	t.Helper()
	o := object{seed: seed, sizes: [3]int{size}}
	require.NoError(t, put(s, &o))
	require.NoError(t, store(s, name, &o))
	s.Forget(o.refs[0])
	return o
}

// keepMany stores n objects and removes most of them again, but for the first of every so many.
func keepMany(t *testing.T, s *local.Store, n, every, size int) map[string]object {
	t.Helper()
	all := map[string]object{}
	for i := range n {
		name := fmt.Sprintf("o%04d/", i)
		all[name] = keep(t, s, name, uint64(i+1), size)
	}
	for i := range n {
		if name := fmt.Sprintf("o%04d/", i); i%every != 0 {
			require.NoError(t, remove(s, name))
			delete(all, name)
		}
	}
	return all
}

func requireObjects(t *testing.T, s *local.Store, want map[string]object) {
	t.Helper()
	found, err := consistent(s)
	require.NoError(t, err)
	require.Len(t, found, len(want))
	for name, o := range want {
		require.Equal(t, o.seed, found[name].seed, name)
	}
}

// TestHalfEmptied: a collection that ends between two runs of an extent leaves all chunks readable, also when the extent is dropped by
// another one that has nothing to move in it any more.
func TestHalfEmptied(t *testing.T) {
	var left atomic.Int64
	left.Store(1 << 40)
	o := small(1)
	o.ExtentSize = 8 << 20
	o.FS = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWriteAt && strings.Contains(op.Path, "extents") && left.Add(-1) < 0 {
			return syscall.ENOSPC
		}
		return nil
	}))
	s, err := local.Open(o)
	require.NoError(t, err)
	s.Collected()
	want := keepMany(t, s, 800, 5, 4000)
	left.Store(100) // of 160 chunks, in runs of 64
	require.ErrorIs(t, s.Collect(background), engine.ErrNoSpace)
	left.Store(1 << 40)
	requireObjects(t, s, want)

	moved := map[string]object{}
	for name, o := range want {
		at, err := s.Place(o.refs[0])
		require.NoError(t, err)
		if at != o.refs[0] {
			moved[name] = o
		} else {
			require.NoError(t, remove(s, name))
		}
	}
	require.Len(t, moved, 64)
	require.NoError(t, s.Collect(background))
	requireObjects(t, s, moved)
	require.NoError(t, s.Close())
}

// TestADamagedChunkStays: a collection moves what is good, says once what is not, and does not grow the disks by trying again.
func TestADamagedChunkStays(t *testing.T) {
	for _, disks := range []int{1, 3} {
		t.Run(fmt.Sprint(disks), func(t *testing.T) {
			core, logs := observer.New(zap.ErrorLevel)
			o := small(disks)
			o.ExtentSize, o.FS, o.Logger = 4<<20, vfs.NewMem(), zap.New(core)
			s, err := local.Open(o)
			require.NoError(t, err)
			s.Collected()
			want := keepMany(t, s, 100, 10, 30_000)
			require.NoError(t, s.Close())
			bad := "o0050/"
			spoil(t, o.FS, want[bad].refs[0])
			s, err = local.Open(o)
			require.NoError(t, err)
			s.Collected()
			s.Idle() // footers and repairs
			before := usage(t, o.FS, "extents")
			for range 5 {
				require.NoError(t, s.Collect(background))
			}
			s.Idle()
			assert.LessOrEqual(t, usage(t, o.FS, "extents"), before)
			assert.Equal(t, 1, logs.FilterMessageSnippet("a chunk is damaged").Len())
			for name, o := range want {
				if err := verify(s, name, o); name == bad {
					require.ErrorIs(t, err, engine.ErrCorrupt)
				} else {
					require.NoError(t, err)
					at, err := s.Place(o.refs[0])
					require.NoError(t, err)
					require.NotEqual(t, at, o.refs[0], "it is moved")
				}
			}
			require.NoError(t, remove(s, bad))
			delete(want, bad)
			require.NoError(t, s.Collect(background))
			requireObjects(t, s, want)
			s.Idle()
			assert.Less(t, usage(t, o.FS, "extents"), before/2, "the extent is gone")
			require.NoError(t, s.Close())
		})
	}
}

// spoil damages a chunk beyond repair: at its place in every column a bit of whatever lies there is turned.
func spoil(t *testing.T, fs vfs.FS, ref engine.Ref) {
	t.Helper()
	at := int(binary.BigEndian.Uint32(ref[8:])) + 200
	for name, size := range files(t, fs, "") {
		if strings.Contains(name, "/extents/"+fmt.Sprintf("%016x.", extent.ID(ref))) && at < size {
			require.NoError(t, flip(fs, name, at, 1))
		}
	}
}

// TestACountIsBuriedOnlyWithItsChunk: what a survey took for dead may be owned by the time that its count is removed.
func TestACountIsBuriedOnlyWithItsChunk(t *testing.T) {
	o := small(1)
	o.FS = vfs.NewMem()
	s, err := local.Open(o)
	require.NoError(t, err)
	s.Collected()
	first := object{seed: 1, sizes: [3]int{50_000}}
	require.NoError(t, put(s, &first))
	require.NoError(t, store(s, "a/", &first))
	require.NoError(t, remove(s, "a/")) // its count is zero, and it is pinned still
	require.NoError(t, store(s, "b/", &first))
	require.NoError(t, s.DropCounts(first.refs[0]))
	s.Forget(first.refs[0])
	require.NoError(t, s.DropCounts(first.refs[0]))
	requireObjects(t, s, map[string]object{"b/": first})
	require.NoError(t, s.Collect(background))
	requireObjects(t, s, map[string]object{"b/": first})
	require.NoError(t, s.Close())
}

// TestOpenFollowsFromItsOwnEnd: a reader that found a chunk in the middle of a chain of forwards finds it again when the chain was
// shortened past that place.
func TestOpenFollowsFromItsOwnEnd(t *testing.T) {
	o := small(1)
	o.FS = vfs.NewMem()
	s, err := local.Open(o)
	require.NoError(t, err)
	s.Collected()
	kept := keep(t, s, "kept/", 1, 50_000)
	places := []engine.Ref{kept.refs[0]}
	for round := range 3 {
		for i := range 3 {
			keep(t, s, fmt.Sprintf("%d/%d/", round, i), 2, 50_000)
			require.NoError(t, remove(s, fmt.Sprintf("%d/%d/", round, i)))
		}
		require.NoError(t, s.Collect(background))
		at, err := s.Place(kept.refs[0])
		require.NoError(t, err)
		places = append(places, at)
	}
	require.NoError(t, s.Collect(background))
	require.NoError(t, s.Collect(background))
	require.NotEqual(t, places[0], places[1])
	require.NotEqual(t, places[1], places[2])
	for _, at := range places {
		r, err := s.OpenAt(background, kept.refs[0], at, 0, 50_000)
		require.NoError(t, err)
		got, err := io.ReadAll(r)
		require.NoError(t, errors.Join(err, r.Close()))
		require.True(t, bytes.Equal(kept.content(0), got))
	}
	require.NoError(t, s.Close())
}

// TestShortLives: a process that lives for seconds leaves an extent of which little lives; the next ones give the room back.
func TestShortLives(t *testing.T) {
	for _, disks := range []int{1, 3} {
		t.Run(fmt.Sprint(disks), func(t *testing.T) {
			o := small(disks)
			o.FS = vfs.NewCrashableMem()
			want := map[string]object{}
			for life := range 40 {
				s, err := local.Open(o)
				require.NoError(t, err)
				s.Collected()
				for i := range 6 {
					name := fmt.Sprintf("%d/%d/", life, i)
					obj := keep(t, s, name, uint64(10*life+i+1), 40_000)
					if i == 3 && life%8 == 0 {
						want[name] = obj
					} else {
						require.NoError(t, remove(s, name))
					}
				}
				if life%2 == 0 {
					require.NoError(t, s.Close())
					continue
				}
				clone := o.FS.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{})
				require.NoError(t, s.Close())
				o.FS = clone
			}
			s, err := local.Open(o)
			require.NoError(t, err)
			s.Collected()
			requireObjects(t, s, want)
			require.NoError(t, s.Close())
			assert.Less(t, usage(t, o.FS, "extents"), 3*disks*len(want)*40_000, "on all disks")
		})
	}
}
