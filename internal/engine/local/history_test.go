package local_test

import (
	"errors"
	"flag"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
)

var startDepth = flag.Int("startdepth", 1, "starts in a row, each with every subset of the disks")

// start is one start of a store on some of its disks, with the word of the operator for the others or without.
type start struct {
	disks uint32
	word  bool
}

func (s start) String() string { return fmt.Sprintf("%b word=%v", s.disks, s.word) }

// history is what happened to a store: its disks now, and what was acknowledged by whom.
type history struct {
	fs     *vfs.MemFS
	starts []start
	last   object // acknowledged by the newest start that served
	parted bool   // parts went on without each other, by the operator's word
	wrote  uint32 // disks that it was written to
	left   uint32 // disks that the newest history goes on without
}

// startOn opens the store on the disks, checks what it finds and writes.
func (h *history) startOn(t *testing.T, n, m int, st start) {
	o := small(n)
	o.FS, o.Dirs = h.fs, nil
	for i := range n {
		if st.disks&(1<<i) != 0 {
			o.Dirs = append(o.Dirs, fmt.Sprintf("d%d", i))
		}
	}
	s, err := local.Open(o)
	if err != nil && st.word {
		if o.AcceptMissing = acceptable(err); len(o.AcceptMissing) > 0 {
			s, err = local.Open(o)
		}
	}
	name := fmt.Sprintf("%v", append(h.starts, st))
	k, here := n-m, bits.OnesCount32(st.disks)
	switch {
	case err != nil && !errors.Is(err, engine.ErrUnavailable) && !errors.Is(err, engine.ErrCorrupt):
		t.Errorf("%s: an error without a kind: %v", name, err)
	case err != nil && here == n && !h.parted:
		t.Errorf("%s: all disks are there, and there is one history: %v", name, err)
	}
	if err != nil {
		return
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Errorf("%s: close: %v", name, err)
		}
	}()
	if here < k || !h.parted && 2*here <= n-bits.OnesCount32(h.left) && !st.word && st.disks&^h.left != (1<<n-1)&^h.left {
		t.Errorf("%s: it starts on %d of %d disks", name, here, n)
	}
	var got object
	err = s.View(background, []byte("o/"), func(r engine.Reader) (err error) {
		got, err = load(r, "o/")
		return err
	})
	if err == nil && got.seed != 0 {
		err = verify(s, "o/", got)
	}
	if errors.Is(err, engine.ErrUnavailable) && bits.OnesCount32(st.disks&h.wrote) < k {
		err = nil // it was written without redundancy, and a part is away
	}
	switch {
	case err != nil:
		t.Errorf("%s: %v", name, err)
	case got != h.last && !st.word && !h.parted:
		t.Errorf("%s: it has %+v, acknowledged was %+v", name, got.seed, h.last.seed)
	case got != h.last && h.parted:
		// The disks of one part alone: any of the parts may be what the operator wants. Both together are refused.
	case got != h.last:
		h.parted = true // it was the operator's word that there is nothing else
	}
	o2 := object{seed: got.seed + 2*uint64(len(h.starts)) + 1, sizes: [3]int{70_000}}
	if err := put(s, &o2); err != nil {
		t.Errorf("%s: put: %v", name, err)
		return
	}
	if err := store(s, "o/", &o2); err != nil {
		t.Errorf("%s: store: %v", name, err)
		return
	}
	s.Forget(o2.refs[:]...)
	h.last, h.wrote = o2, st.disks
	if len(h.starts)%2 == 1 { // this run ends by a power cut
		h.fs = h.fs.CrashClone(vfs.CrashCloneCfg{})
	}
	if len(o.AcceptMissing) > 0 {
		h.left = (1<<n - 1) &^ st.disks
	} else {
		h.left &^= st.disks
	}
}

// TestEverySequenceOfStarts starts a store on every subset of its disks, then on every subset again, with writes between: each start has
// what was acknowledged before it, or is refused.
func TestEverySequenceOfStarts(t *testing.T) {
	for _, layout := range [][3]int{{1, 0, 2}, {2, 1, 3}, {3, 1, 2}, {4, 2, 1}, {5, 2, 1}, {6, 2, 1}} {
		n, m, depth := layout[0], layout[1], layout[2]+*startDepth-1
		t.Run(fmt.Sprintf("%d+%d", n-m, m), func(t *testing.T) {
			t.Parallel()
			served := 0
			var explore func(h history, depth int)
			explore = func(h history, depth int) {
				for disks := uint32(1); disks < 1<<n; disks++ {
					// Words are for those who have half of the disks; others get the same answer with them.
					for _, word := range []bool{false, true} {
						if word && (2*bits.OnesCount32(disks) > n || bits.OnesCount32(disks) < n-m) || t.Failed() {
							continue
						}
						next := h
						next.fs = h.fs.CrashClone(vfs.CrashCloneCfg{})
						next.starts = slices.Clone(h.starts)
						st := start{disks, word}
						next.startOn(t, n, m, st)
						next.starts = append(next.starts, st)
						if next.last == h.last {
							continue // refused: what follows is as if it had not been
						}
						served++
						if depth > 1 {
							explore(next, depth-1)
						}
					}
				}
			}
			first := history{fs: vfs.NewCrashableMem()}
			first.startOn(t, n, m, start{disks: 1<<n - 1})
			explore(first, depth)
			t.Logf("%d starts served", served)
		})
	}
}

// TestStartsThatAreCutOff cuts starts on some disks off at every file operation, twice, and goes on with others: what a start has left half
// done outranks no start that served.
func TestStartsThatAreCutOff(t *testing.T) {
	step := int64(1)
	layouts := [][2]int{{3, 1}, {4, 2}}
	if *startDepth < 2 {
		step, layouts = 11, layouts[:1]
	}
	for _, layout := range layouts {
		n, m := layout[0], layout[1]
		for a := uint32(1); a < 1<<n; a++ {
			if 2*bits.OnesCount32(a) <= n {
				continue
			}
			t.Run(fmt.Sprintf("%d+%d on %b", n-m, m, a), func(t *testing.T) {
				t.Parallel()
				h := history{fs: vfs.NewCrashableMem()}
				h.startOn(t, n, m, start{disks: 1<<n - 1})
				for at := int64(0); !t.Failed(); at += step {
					cut := h
					cut.fs = h.fs.CrashClone(vfs.CrashCloneCfg{})
					if !cut.cutOff(t, n, a, at) {
						return
					}
					cut.cutOff(t, n, a, at)
					for b := uint32(1); b < 1<<n; b++ {
						if b == a || 2*bits.OnesCount32(b) <= n || *startDepth < 2 && int64(b)%3 != at%3 {
							continue
						}
						next := cut
						next.fs = cut.fs.CrashClone(vfs.CrashCloneCfg{})
						next.starts = []start{{disks: a}}
						next.startOn(t, n, m, start{disks: b})
						next.starts = append(next.starts, start{disks: b})
						for _, c := range []uint32{a, 1<<n - 1} {
							last := next
							last.fs = next.fs.CrashClone(vfs.CrashCloneCfg{})
							last.startOn(t, n, m, start{disks: c})
						}
					}
				}
			})
		}
	}
}

// cutOff begins a start that loses its power at an operation. It reports whether there was such an operation.
func (h *history) cutOff(t *testing.T, n int, disks uint32, at int64) bool {
	o := small(n)
	o.Dirs = nil
	for i := range n {
		if disks&(1<<i) != 0 {
			o.Dirs = append(o.Dirs, fmt.Sprintf("d%d", i))
		}
	}
	var count atomic.Int64
	var once sync.Once
	var left *vfs.MemFS
	mem := h.fs
	o.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && count.Add(1) > at {
			once.Do(func() { left = mem.CrashClone(vfs.CrashCloneCfg{}) })
		}
		return nil
	}))
	s, err := local.Open(o)
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		t.Errorf("%b: %v", disks, err)
	}
	if left == nil {
		return false
	}
	h.fs = left
	return true
}

// TestTwoHistoriesAreRefused: two halves that went on, each by the operator's word for the other, are never taken for one store.
func TestTwoHistoriesAreRefused(t *testing.T) {
	for _, n := range []int{2, 4} {
		for _, order := range []bool{false, true} {
			h := history{fs: vfs.NewCrashableMem()}
			half := uint32(1)<<(n/2) - 1
			all := uint32(1)<<n - 1
			parts := []uint32{half, all &^ half}
			if order {
				slices.Reverse(parts)
			}
			h.startOn(t, n, n/2, start{disks: all})
			var seeds []uint64
			for i, part := range parts {
				if i == 1 {
					h.parted = true
				}
				h.startOn(t, n, n/2, start{disks: part, word: true})
				seeds = append(seeds, h.last.seed)
			}
			require.Len(t, seeds, 2)
			for disks := range all + 1 {
				o := small(n)
				o.FS, o.Dirs = h.fs.CrashClone(vfs.CrashCloneCfg{}), nil
				for i := range n {
					if disks&(1<<i) != 0 {
						o.Dirs = append(o.Dirs, fmt.Sprintf("d%d", i))
					}
				}
				if disks&parts[0] == 0 || disks&parts[1] == 0 {
					continue
				}
				_, err := local.Open(o)
				require.Error(t, err, "disks %b", disks)
				if bits.OnesCount32(disks) >= n/2 {
					assert.ErrorContains(t, err, "went on without each other", "disks %b", disks)
				}
			}
		}
	}
}

// mixedWith returns the store as it is, on n disks of which the taken are another's.
func (h *history) mixedWith(t *testing.T, other history, n int, taken uint32) local.Options {
	t.Helper()
	mixed := h.fs.CrashClone(vfs.CrashCloneCfg{})
	o := small(n)
	o.FS = mixed
	for i, dir := range o.Dirs {
		if taken&(1<<i) != 0 {
			replaceFrom(t, mixed, other.fs, dir)
		}
	}
	return o
}

// replaceFrom puts what another file system has at a path in the place of what is there.
func replaceFrom(t *testing.T, to, from *vfs.MemFS, path string) {
	t.Helper()
	require.NoError(t, to.RemoveAll(path))
	_, err := vfs.Clone(from, to, path, path, vfs.CloneSync)
	require.NoError(t, err)
}

// TestTwoCopiesThatWentOnAreRefused: a store and a copy of it, started as often as each other, have the same epoch and members; no start
// takes disks of both for those of one.
func TestTwoCopiesThatWentOnAreRefused(t *testing.T) {
	for n, m := range map[int]int{2: 1, 3: 1, 4: 2} {
		all := uint32(1)<<n - 1
		h := history{fs: vfs.NewCrashableMem()}
		h.startOn(t, n, m, start{disks: all})
		other := h
		other.fs = h.fs.CrashClone(vfs.CrashCloneCfg{})
		h.startOn(t, n, m, start{disks: all})
		other.startOn(t, n, m, start{disks: all})
		for taken := uint32(1); taken < all; taken++ {
			_, err := local.Open(h.mixedWith(t, other, n, taken))
			require.ErrorContains(t, err, "went on without each other", "%b of %d disks from the copy", taken, n)
		}
	}
}

// TestAnOldCopyOfADisk: a replica that was put back from an earlier time is not current, and where no current one is there, that is said.
func TestAnOldCopyOfADisk(t *testing.T) {
	fs := vfs.NewCrashableMem()
	h := history{fs: fs}
	h.startOn(t, 3, 1, start{disks: 7})
	old := fs.CrashClone(vfs.CrashCloneCfg{})
	h.startOn(t, 3, 1, start{disks: 7})
	putBack := func(to *vfs.MemFS, dir string) { replaceFrom(t, to, old, dir) }
	with := fs.CrashClone(vfs.CrashCloneCfg{})
	putBack(with, "d0")
	again := h
	again.fs = with
	again.startOn(t, 3, 1, start{disks: 7})

	putBack(fs, "d0")
	o := small(3)
	o.FS, o.Dirs = fs, []string{"d0", "d2"}
	_, err := local.Open(o)
	require.ErrorIs(t, err, engine.ErrUnavailable)
	assert.ErrorContains(t, err, "d0 is out of date")

	// On one disk: metadata that is older than the disk.
	fs = vfs.NewCrashableMem()
	h = history{fs: fs}
	h.startOn(t, 1, 0, start{disks: 1})
	old = fs.CrashClone(vfs.CrashCloneCfg{})
	h.startOn(t, 1, 0, start{disks: 1})
	putBack(fs, "d0/meta")
	o = small(1)
	o.FS = fs
	_, err = local.Open(o)
	require.ErrorIs(t, err, engine.ErrCorrupt)
	assert.ErrorContains(t, err, "older files were put back")
}

// TestExistingMakesNoStore: what looks like a new store may be one whose disks are not mounted.
func TestExistingMakesNoStore(t *testing.T) {
	for _, n := range []int{1, 3} {
		o := small(n)
		mem := vfs.NewMem()
		o.FS, o.Existing = mem, true
		for _, dirs := range []bool{false, true} {
			if dirs {
				for _, dir := range o.Dirs {
					require.NoError(t, mem.MkdirAll(dir, 0o700))
				}
			}
			_, err := local.Open(o)
			require.ErrorIs(t, err, engine.ErrUnavailable)
			assert.ErrorContains(t, err, "mount their disks")
			for name := range files(t, mem, "") {
				assert.True(t, strings.HasSuffix(name, "/LOCK"), name)
			}
		}
		o.Existing = false
		s, err := local.Open(o)
		require.NoError(t, err)
		require.NoError(t, s.Close())
		o.Existing = true
		s, err = local.Open(o)
		require.NoError(t, err)
		require.NoError(t, s.Close())
	}
}

// TestABadDiskAtTheStart: a store with redundancy starts without a disk that does not work, and says so.
func TestABadDiskAtTheStart(t *testing.T) {
	broken := errors.New("broken")
	for _, bad := range []struct {
		name string
		fail func(op errorfs.Op) bool
	}{
		{"read-only", func(op errorfs.Op) bool { return op.Kind.ReadOrWrite() == errorfs.OpIsWrite }},
		{"dead", func(op errorfs.Op) bool { return true }},
		{"unreadable", func(op errorfs.Op) bool { return op.Kind.ReadOrWrite() == errorfs.OpIsRead }},
	} {
		for _, n := range []int{1, 2, 3, 4, 6} {
			for d := range n {
				t.Run(fmt.Sprintf("%s disk %d of %d", bad.name, d, n), func(t *testing.T) {
					img := makeImage(t, n, false)
					o := img.clone()
					dir := fmt.Sprintf("d%d", d)
					o.FS = errorfs.Wrap(o.FS, errorfs.InjectorFunc(func(op errorfs.Op) error {
						if (op.Path == dir || strings.HasPrefix(op.Path, dir+"/")) && bad.fail(op) {
							return broken
						}
						return nil
					}))
					s, err := local.Open(o)
					if err != nil && n == 2 && bad.name != "read-only" { // the other may have gone on: the operator says
						o.AcceptMissing = acceptable(err)
						s, err = local.Open(o)
					}
					if n == 1 {
						require.Error(t, err)
						assert.ErrorContains(t, err, "d0")
						return
					}
					require.NoError(t, err)
					require.NoError(t, img.read(s))
					health := s.Health()
					assert.True(t, health.Degraded)
					assert.True(t, health.Writable)
					assert.False(t, health.Disks[d].OK)
					writeMore(t, s)
					require.NoError(t, s.Close())
				})
			}
		}
	}
}

// TestALostFormatFile: a disk is recognised without it, and it is written again.
func TestALostFormatFile(t *testing.T) {
	for _, n := range []int{1, 2, 3, 4, 6} {
		for d := range n {
			for _, damaged := range []bool{false, true} {
				t.Run(fmt.Sprintf("disk %d of %d, damaged=%v", d, n, damaged), func(t *testing.T) {
					img := makeImage(t, n, true)
					o := img.clone()
					name := fmt.Sprintf("d%d/blobd.format", d)
					if damaged {
						for _, at := range []int{100, 4196} {
							require.NoError(t, flip(o.FS, name, at, 1))
						}
					} else {
						require.NoError(t, o.FS.Remove(name))
					}
					s, err := local.Open(o)
					if n <= 2 {
						require.Error(t, err)
						assert.ErrorContains(t, err, "blobd.format")
						if n == 1 {
							return
						}
						o.AcceptMissing = acceptable(err)
						s, err = local.Open(o)
					}
					require.NoError(t, err)
					require.NoError(t, s.Heal(background))
					assert.False(t, s.Health().Degraded, "%+v", s.Health())
					require.NoError(t, img.read(s))
					require.NoError(t, s.Close())

					o.AcceptMissing = nil
					other := fmt.Sprintf("d%d", (d+1)%n)
					require.NoError(t, o.FS.RemoveAll(other))
					if n == 2 {
						_, err := local.Open(o)
						o.AcceptMissing = acceptable(err)
					}
					require.NoError(t, img.outcome(o), "without %s", other)
				})
			}
		}
	}
}

// TestACopyThatWentFurtherIsRefused: of a store and a copy of it, one was started more often than the other: its disks are not filled up with
// the other's, whose extents have the same numbers.
func TestACopyThatWentFurtherIsRefused(t *testing.T) {
	for n, m := range map[int]int{2: 1, 3: 1, 4: 2} {
		all := uint32(1)<<n - 1
		h := history{fs: vfs.NewCrashableMem()}
		h.startOn(t, n, m, start{disks: all})
		other := h
		other.fs = h.fs.CrashClone(vfs.CrashCloneCfg{})
		h.startOn(t, n, m, start{disks: all})
		for further := range 5 {
			other.startOn(t, n, m, start{disks: all})
			for taken := uint32(1); taken < all; taken++ {
				_, err := local.Open(h.mixedWith(t, other, n, taken))
				require.ErrorContains(t, err, "went on without each other", "%b of %d disks from the copy, %d starts further", taken, n, further)
			}
		}
	}
}

// TestMetadataThatIsOlderThanItsColumns: a disk whose metadata was put back from an older copy, and not its extents, is refused at every
// try, until the operator gives up what was acknowledged since.
func TestMetadataThatIsOlderThanItsColumns(t *testing.T) {
	fs := vfs.NewCrashableMem()
	h := history{fs: fs}
	h.startOn(t, 1, 0, start{disks: 1})
	first := h.last
	old := fs.CrashClone(vfs.CrashCloneCfg{})
	h.starts = append(h.starts, start{})
	h.startOn(t, 1, 0, start{disks: 1})
	fs = h.fs
	for _, name := range []string{"d0/blobd.format", "d0/meta"} {
		replaceFrom(t, fs, old, name)
	}
	o := small(1)
	o.FS = fs
	for range 3 {
		_, err := local.Open(o)
		require.ErrorIs(t, err, engine.ErrCorrupt)
		require.ErrorContains(t, err, "the newest column in d0/extents is of start 2")
	}
	o.AcceptMissing = []string{"LOGS"}
	s, err := local.Open(o)
	require.NoError(t, err)
	require.NoError(t, verify(s, "o/", first))
	require.NoError(t, s.Close())
}
