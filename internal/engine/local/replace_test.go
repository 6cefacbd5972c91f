package local_test

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
)

// wipe replaces disks by empty directories, and returns their names.
func wipe(t *testing.T, o local.Options, mask uint) (names []string) {
	t.Helper()
	list, err := local.Disks(o)
	require.NoError(t, err)
	for i, d := range list {
		require.True(t, d.Good, "%+v", d)
		if mask&(1<<i) != 0 {
			names = append(names, d.Name)
			require.NoError(t, o.FS.RemoveAll(d.Dir))
			require.NoError(t, o.FS.MkdirAll(d.Dir, 0o700))
		}
	}
	return names
}

// TestEverySubsetOfDisksIsReplaced: m disks at a time are replaced by empty ones. While what was on them is rebuilt, everything is read and
// more is written; then any m others may go.
func TestEverySubsetOfDisksIsReplaced(t *testing.T) {
	for n, m := range map[int]int{2: 1, 3: 1, 4: 2, 6: 2} {
		t.Run(fmt.Sprintf("%d+%d", n-m, m), func(t *testing.T) {
			t.Parallel()
			img := makeImage(t, n, true)
			for mask := range uint(1) << n {
				if bits.OnesCount(mask) != m {
					continue
				}
				what := fmt.Sprintf("%0*b", n, mask)
				o := img.clone()
				o.Replace = wipe(t, o, mask)
				s, err := local.Open(o)
				require.NoError(t, err, what)
				var wg sync.WaitGroup
				wg.Go(func() {
					for name, o := range img.objects {
						assert.NoError(t, verify(s, name, o), what)
					}
				})
				wg.Go(func() { assert.NoError(t, s.Heal(background), what) })
				writeMore(t, s)
				wg.Wait()
				require.NoError(t, s.Heal(background), what)
				s.Idle()
				h := s.Health()
				require.False(t, h.Degraded, "%s: %+v", what, h)
				found, err := s.ScrubPass(background)
				require.NoError(t, err, what)
				require.Zero(t, found.Found+found.Lost, "%s: %+v", what, found)
				require.NoError(t, s.Close())

				o.Replace = nil
				for i := range m { // the first that were not replaced
					for j := range n {
						if mask&(1<<j) == 0 {
							mask |= 1 << j
							require.NoError(t, o.FS.RemoveAll(o.Dirs[j]), "%d", i)
							break
						}
					}
				}
				s, err = local.Open(o)
				if n == 2*m {
					require.ErrorIs(t, err, engine.ErrUnavailable)
					o.AcceptMissing = acceptable(err)
					s, err = local.Open(o)
				}
				require.NoError(t, err, what)
				all, err := consistent(s)
				require.NoError(t, err, what)
				require.Len(t, all, len(img.objects)+8, what)
				require.NoError(t, s.Close())
			}
		})
	}
}

// TestReplaceRefuses what is no replacement, and changes nothing.
func TestReplaceRefuses(t *testing.T) {
	img := makeImage(t, 3, true)
	o := img.clone()
	list, err := local.Disks(o)
	require.NoError(t, err)
	try := func(o local.Options, says string, words ...string) {
		t.Helper()
		o.Replace = words
		_, err := local.Open(o)
		require.ErrorContains(t, err, says)
	}
	try(o, "is there, in d1", list[1].Name)
	try(o, "has no disk 00000000", "00000000")
	require.NoError(t, o.FS.RemoveAll("d1"))
	try(o, "no empty directory", list[1].Name) // it may only not be mounted
	require.NoError(t, o.FS.MkdirAll("d1", 0o700))
	f, err := o.FS.Create("d1/photo.jpg", "")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	try(o, "not empty", list[1].Name)
	require.NoError(t, o.FS.Remove("d1/photo.jpg"))
	got, err := local.Disks(o)
	require.NoError(t, err)
	require.Equal(t, "missing: in none of the directories", got[1].State)
	require.Contains(t, got[3].State, "no disk of a store")
	s, err := local.Open(o)
	require.NoError(t, err)
	require.True(t, s.Health().Degraded, "an empty directory is not taken without a word")
	require.NoError(t, s.Close())
}

// TestTheOldDiskOfAReplacedOne is out of date, and never a source of what it missed. Beside its replacement it is refused.
func TestTheOldDiskOfAReplacedOne(t *testing.T) {
	for d := range 3 {
		img := makeImage(t, 3, true)
		o := img.clone()
		dir := o.Dirs[d]
		require.NoError(t, o.FS.Rename(dir, "old"))
		require.NoError(t, o.FS.MkdirAll(dir, 0o700))
		list, err := local.Disks(local.Options{FS: o.FS, Dirs: []string{"old"}})
		require.NoError(t, err)
		o.Replace = []string{list[d].Name}
		s, err := local.Open(o)
		require.NoError(t, err)
		require.NoError(t, s.Heal(background))
		writeMore(t, s)
		require.NoError(t, s.Close())

		o.Replace = nil
		both := o
		both.Dirs = append(slices.Clone(o.Dirs), "old")
		_, err = local.Open(both)
		require.ErrorContains(t, err, "copies of one disk")
		o.Dirs = slices.Clone(o.Dirs)
		o.Dirs[d] = "old"
		s, err = local.Open(o)
		require.NoError(t, err)
		require.NoError(t, s.Heal(background))
		all, err := consistent(s)
		require.NoError(t, err)
		require.Len(t, all, len(img.objects)+8)
		require.NoError(t, s.Close())
	}
}

// TestARebuildThatIsInterrupted goes on with the next start, which needs no word any more.
func TestARebuildThatIsInterrupted(t *testing.T) {
	img := makeImage(t, 3, true)
	for i := range 20 {
		o := img.clone()
		o.Replace = wipe(t, o, 1<<(i%3))
		s, err := local.Open(o)
		require.NoError(t, err)
		for range i * 60 {
			runtime.Gosched()
		}
		require.NoError(t, s.Close())
		o.Replace = nil
		s, err = local.Open(o)
		require.NoError(t, err)
		require.NoError(t, s.Heal(background))
		require.False(t, s.Health().Degraded, "%d: %+v", i, s.Health())
		found, err := s.ScrubPass(background)
		require.NoError(t, err)
		require.Zero(t, found.Found+found.Lost, "%d: %+v", i, found)
		require.NoError(t, s.Close())
	}
}

// TestReplacedTwiceInARow: a disk is replaced, and its replacement before anything is rebuilt there. All is read meanwhile; either of the
// former ones is out of date when it comes back, and filled.
func TestReplacedTwiceInARow(t *testing.T) {
	for d := range 3 {
		img := makeImage(t, 3, true)
		o := img.clone()
		list, err := local.Disks(o)
		require.NoError(t, err)
		dir := o.Dirs[d]
		for _, former := range []string{"first", "second"} {
			require.NoError(t, o.FS.Rename(dir, former))
			require.NoError(t, o.FS.MkdirAll(dir, 0o700))
			o.Replace = []string{list[d].Name}
			s, err := local.Open(o)
			require.NoError(t, err)
			require.NoError(t, img.read(s))
			require.NoError(t, s.Close())
		}
		o.Replace = nil
		for _, former := range []string{"second", "first", dir} {
			with := o
			with.Dirs = slices.Clone(o.Dirs)
			with.Dirs[d] = former
			s, err := local.Open(with)
			require.NoError(t, err, former)
			require.NoError(t, s.Heal(background))
			require.False(t, s.Health().Degraded, "%s: %+v", former, s.Health())
			found, err := s.ScrubPass(background)
			require.NoError(t, err)
			require.Zero(t, found.Found+found.Lost, "%s: %+v", former, found)
			requireKept(t, s, img.objects, former)
			writeMore(t, s)
			require.NoError(t, s.Close())
		}
	}
}

// TestReplacingTooMany: before what was on replaced disks is rebuilt, no other is given up that it is to be rebuilt from, but by the operator's
// word. Nothing is changed by the refusal.
func TestReplacingTooMany(t *testing.T) {
	for n, m := range map[int]int{2: 1, 3: 1, 4: 2, 6: 2} {
		img := makeImage(t, n, true)
		o := img.clone()
		list, err := local.Disks(o)
		require.NoError(t, err)
		take := func(d int) {
			t.Helper()
			require.NoError(t, o.FS.Rename(o.Dirs[d], fmt.Sprint("old", d)))
			require.NoError(t, o.FS.MkdirAll(o.Dirs[d], 0o700))
			o.Replace = append(o.Replace, list[d].Name)
		}
		for d := range m {
			take(d)
		}
		with := o
		with.FS = errorfs.Wrap(o.FS, errorfs.InjectorFunc(func(op errorfs.Op) error { // nothing is rebuilt
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.Contains(op.Path, "/extents/") && slices.ContainsFunc(o.Dirs[:m], func(dir string) bool { return strings.HasPrefix(op.Path, dir) }) {
				return syscall.ENOSPC
			}
			return nil
		}))
		s, err := local.Open(with)
		require.NoError(t, err)
		require.NoError(t, img.read(s))
		require.NoError(t, s.Close())

		o.Replace = nil
		take(m)
		f, err := o.FS.Create(o.Dirs[m]+"/LOCK", "") // it is made by whoever looks
		require.NoError(t, err)
		require.NoError(t, f.Close())
		lossy := o
		lossy.FS, lossy.Lossy = o.FS.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))}), true
		before := contents(t, o.FS)
		_, err = local.Open(o)
		if n > 2 {
			require.ErrorIs(t, err, engine.ErrUnavailable, "%d+%d", n-m, m)
			require.ErrorContains(t, err, "--lossy")
			require.Equal(t, before, contents(t, o.FS))
			s, err = local.Open(lossy)
			require.NoError(t, err)
			if n == 3 { // chunks that lie alone in their row can be had of its parity, too
				require.Error(t, img.read(s))
			}
			require.NoError(t, s.Close())
		} else { // no part is left
			require.ErrorContains(t, err, "is on no disk")
		}

		require.NoError(t, o.FS.RemoveAll(o.Dirs[m]))
		require.NoError(t, o.FS.Rename(fmt.Sprint("old", m), o.Dirs[m]))
		o.Replace = nil
		s, err = local.Open(o)
		require.NoError(t, err)
		require.NoError(t, s.Heal(background))
		require.False(t, s.Health().Degraded, "%+v", s.Health())
		require.NoError(t, img.read(s))
		require.NoError(t, s.Close())
	}

	// A disk that is back, and out of date, does not have what was written since.
	img := makeImage(t, 3, true)
	o := img.clone()
	list, err := local.Disks(o)
	require.NoError(t, err)
	without := o
	without.Dirs = o.Dirs[:2]
	s, err := local.Open(without)
	require.NoError(t, err)
	writeMore(t, s)
	require.NoError(t, s.Close())
	o.Replace = []string{list[0].Name}
	require.NoError(t, o.FS.Rename("d0", "old"))
	require.NoError(t, o.FS.MkdirAll("d0", 0o700))
	_, err = local.Open(o)
	require.ErrorContains(t, err, "1 of the disks that stay are up to date")
}
