package local_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
)

var scrubFlips = flag.Int("scrubflips", 30, "passes of a scrub over flipped bits, for each layout")

// scrubbed tells whether a scrub is to heal a file of a store with parity at once. The list of the logs and the log that is written to
// are anew soon; the room behind the end of a log is nobody's.
func scrubbed(name string) bool {
	kind := kindOf(name)
	return kind != "loglist" && kind != "log" && path.Base(name) != "LOCK" && kind != "tmp"
}

// openWhole opens a copy of an image for the length of a test. Nothing is left to collect, and a scrub finds nothing.
func openWhole(t *testing.T, img image) (local.Options, *local.Store) {
	t.Helper()
	o := img.clone()
	s, err := local.Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	s.Collected()
	s.Idle()
	found, err := s.ScrubPass(background)
	require.NoError(t, err)
	require.Zero(t, found.Found, "%+v", found)
	require.Positive(t, found.Bytes)
	return o, s
}

// TestScrubFindsAndHeals flips a bit on each of m disks of a store that is open, in a file of any kind, and has the scrub pass by. No
// reader comes near it. Everything is as it was; so it is with a file that is removed.
func TestScrubFindsAndHeals(t *testing.T) {
	const seed = 17
	for disks, m := range map[int]int{2: 1, 3: 1, 6: 2} {
		t.Run(fmt.Sprintf("%d+%d", disks-m, m), func(t *testing.T) {
			t.Parallel()
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, uint64(disks)))
			img := makeImage(t, disks, true)
			o, s := openWhole(t, img)
			kinds := map[string]int{}
			for i := range *scrubFlips {
				all := contents(t, o.FS)
				what := ""
				var places []place
				for d := range m {
					dir := o.Dirs[(i+d)%disks]
					var names []string
					for name := range all {
						if strings.HasPrefix(name, dir+"/") && scrubbed(name) {
							names = append(names, name)
						}
					}
					slices.Sort(names)
					name := names[rng.IntN(len(names))]
					kinds[kindOf(name)]++
					size := len(all[name])
					if size > 0 && (rng.IntN(8) > 0 || kindOf(name) == "manifest" || kindOf(name) == "companion" || kindOf(name) == "format") {
						at := rng.IntN(size)
						what += fmt.Sprintf("byte %d of %d of %s, ", at, size, name)
						require.NoError(t, flip(o.FS, name, at, 1<<rng.IntN(8)))
						places = append(places, place{name, at})
					} else {
						what += name + " gone, "
						require.NoError(t, o.FS.Remove(name))
						if size > 0 {
							places = append(places, place{name, rng.IntN(size)})
						}
					}
				}
				found, err := s.ScrubPass(background)
				require.NoError(t, err, what)
				require.Equal(t, found.Found, found.Healed, what)
				require.Zero(t, found.Lost, what)
				after := contents(t, o.FS)
				for _, p := range places {
					if kindOf(p.file) == "extent" && p.at >= len(after[p.file])-extentFooter {
						continue // sealed anew, over padding that nobody reads
					}
					require.Less(t, p.at, len(after[p.file]), "%s%+v", what, found)
					if after[p.file][p.at] != all[p.file][p.at] {
						// Between the blocks of an extent lies nothing to restore: it is sealed anew.
						require.Equal(t, "extent", kindOf(p.file), "%s%+v", what, found)
						require.Zero(t, all[p.file][p.at], "%s%+v", what, found)
					}
				}
				again, err := s.ScrubPass(background)
				require.NoError(t, err)
				require.Zero(t, again.Found, "%snot healed: %+v, then %+v", what, found, again)
			}
			t.Logf("kinds: %v", kinds)
			require.NoError(t, img.read(s))
			require.Empty(t, s.Health().Scrub.Damaged)
		})
	}
}

// TestScrubWritesTheLogListAnew: the list of the logs, which only a start reads, is whole again where a bit in it is another or it is gone,
// on one disk too.
func TestScrubWritesTheLogListAnew(t *testing.T) {
	for _, disks := range []int{1, 3} {
		t.Run(fmt.Sprint(disks), func(t *testing.T) {
			t.Parallel()
			img := makeImage(t, disks, true)
			o, s := openWhole(t, img)
			name := o.Dirs[0] + "/meta/LOGS"
			if disks > 1 {
				name = o.Dirs[1] + "/meta/LOGS"
			}
			all := contents(t, o.FS)[name]
			for at := 0; at < len(all)+12; at += 11 {
				before := contents(t, o.FS)[name]
				if at < len(before) {
					require.NoError(t, flip(o.FS, name, at, 4))
				} else {
					require.NoError(t, o.FS.Remove(name))
				}
				found, err := s.ScrubPass(background)
				require.NoError(t, err)
				require.EqualValues(t, 1, found.Found, "byte %d of %d: %+v", at, len(before), found)
				require.EqualValues(t, 1, found.Healed)
				found, err = s.ScrubPass(background)
				require.NoError(t, err)
				require.Zero(t, found.Found, "byte %d of %d: %+v", at, len(before), found)
			}
			after := o
			after.FS = o.FS.(interface {
				CrashClone(vfs.CrashCloneCfg) *vfs.MemFS
			}).CrashClone(vfs.CrashCloneCfg{})
			again, err := local.Open(after)
			require.NoError(t, err)
			require.NoError(t, img.read(again))
			require.NoError(t, again.Close())
		})
	}
}

// TestScrubNamesWhatIsLost: on one disk nothing can be healed but what vouches for the content. What a reader would be refused the scrub
// has named before, once, also over a restart; what is deleted is forgotten.
func TestScrubNamesWhatIsLost(t *testing.T) {
	const seed = 19
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	img := makeImage(t, 1, true)
	named := 0
	for range *scrubFlips / 2 {
		o := img.clone()
		s, err := local.Open(o)
		require.NoError(t, err)
		s.Collected()
		s.Idle()
		s.NameChunks(func(_ context.Context, refs []engine.Ref) map[engine.Ref][]string {
			names := map[engine.Ref][]string{}
			for _, ref := range refs {
				for name, o := range img.objects {
					if slices.Contains(o.refs[:], ref) {
						names[ref] = append(names[ref], name)
					}
				}
			}
			return names
		})
		all := contents(t, o.FS)
		names := slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(name string) bool {
			return kindOf(name) != "extent" && kindOf(name) != "sst" || len(all[name]) == 0
		})
		name := names[rng.IntN(len(names))]
		at := rng.IntN(len(all[name]))
		require.NoError(t, flip(o.FS, name, at, 1<<rng.IntN(8)))
		what := fmt.Sprintf("byte %d of %s", at, name)
		_, err = s.ScrubPass(background)
		require.NoError(t, err, what)
		damaged := s.Health().Scrub.Damaged
		require.NoError(t, s.Close())
		s, err = local.Open(o)
		if kindOf(name) == "sst" && err != nil { // it is one without which nothing can be read
			require.NotEmpty(t, damaged, "%s: %v", what, err)
			continue
		}
		require.NoError(t, err, what)
		err = img.read(s)
		require.True(t, err == nil || errors.Is(err, errDetected), "%s: %v", what, err)
		if err != nil {
			require.NotEmpty(t, damaged, "%s: %v", what, err)
		}
		require.Equal(t, damaged, s.Health().Scrub.Damaged, what)
		for _, d := range damaged {
			if kindOf(name) == "sst" {
				require.Contains(t, d.What, path.Base(name))
				continue
			}
			require.Len(t, d.Names, 1, what)
			require.Error(t, err, what)
			named++
			require.NoError(t, remove(s, d.Names[0]))
		}
		if len(damaged) > 0 && kindOf(name) == "extent" {
			_, err = s.ScrubPass(background)
			require.NoError(t, err)
			require.Empty(t, s.Health().Scrub.Damaged, what)
		}
		require.NoError(t, s.Close())
	}
	require.Positive(t, named)
}

// TestScrubBesideEverything: copies, snapshots, deletes, reads, collections and flipped bits, and the scrub all the time. What it finds is what
// was flipped and nothing else, and everything is what was acknowledged last.
func TestScrubBesideEverything(t *testing.T) {
	for _, disks := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d disks", disks), func(t *testing.T) {
			t.Parallel()
			const seed = 23
			t.Logf("seed %d", seed)
			o := small(disks)
			o.SealGarbage = 1
			o.FS = vfs.NewMem()
			s, err := local.Open(o)
			require.NoError(t, err)
			rng := rand.New(rand.NewPCG(seed, uint64(disks)))
			b := &bustle{t: t, acked: map[string]uint64{}}
			b.turn.L = &b.mu
			var end atomic.Bool
			ended := make(chan int64)
			go func() {
				var found int64
				for !end.Load() {
					f, err := s.ScrubPass(background)
					assert.NoError(t, err)
					found += f.Found + f.Lost
				}
				ended <- found
			}()
			b.round(s, rng, *collections/6)
			end.Store(true)
			require.Zero(t, <-ended)
			b.check(s)
			require.NoError(t, s.Close())
		})
	}
}
