package local_test

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
)

var bitFlips = flag.Int("bitflips", 5000, "bits to flip at random places")

// image is a store at rest: disks to clone, and what is on them.
type image struct {
	opts    local.Options
	mem     *vfs.MemFS
	objects map[string]object
}

// makeImage makes a store on n disks with some objects of all kinds. Closed or, as a crash leaves it, with a log to replay.
func makeImage(t *testing.T, n int, closed bool) image {
	t.Helper()
	img := image{opts: small(n), mem: vfs.NewCrashableMem(), objects: map[string]object{}}
	img.opts.FS = img.mem
	s, err := local.Open(img.opts)
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(uint64(n), 3))
	for i := range 24 {
		name := fmt.Sprintf("o%02d/", i)
		o := object{seed: rng.Uint64() | 1}
		if i%2 == 0 {
			o.sizes[0] = rng.IntN(engine.MaxInline)
		} else {
			o.sizes = [3]int{1 + rng.IntN(40_000), rng.IntN(3000)}
			require.NoError(t, put(s, &o))
		}
		require.NoError(t, store(s, name, &o))
		s.Forget(o.refs[:]...)
		img.objects[name] = o
	}
	img.take(t, s, closed)
	return img
}

// take ends the work of a store and takes its disks for the image.
func (img *image) take(t *testing.T, s *local.Store, closed bool) {
	t.Helper()
	// What follows a write tells that it was synced; of this last one it is not asked whether it is there.
	require.NoError(t, s.Update(background, []byte("last/"), func(tx engine.Tx) error {
		tx.Set(engine.SpaceTableQueue, []byte("last/"), nil)
		return nil
	}))
	if closed {
		require.NoError(t, s.Close())
	}
	img.mem = img.mem.CrashClone(vfs.CrashCloneCfg{})
	if !closed {
		require.NoError(t, s.Close())
	}
}

// clone returns a copy of the image's disks, and the options that open it.
func (img image) clone() local.Options {
	o := img.opts
	o.FS = img.mem.CrashClone(vfs.CrashCloneCfg{})
	return o
}

// files lists the files under a directory with their sizes.
func files(t *testing.T, fs vfs.FS, dir string) map[string]int {
	t.Helper()
	all := map[string]int{}
	names, err := fs.List(dir)
	require.NoError(t, err)
	for _, name := range names {
		p := fs.PathJoin(dir, name)
		info, err := fs.Stat(p)
		require.NoError(t, err)
		if info.IsDir() {
			for name, n := range files(t, fs, p) {
				all[name] = n
			}
		} else {
			all[p] = int(info.Size())
		}
	}
	return all
}

// flip turns one bit of a file.
func flip(fs vfs.FS, name string, at int, bit byte) error {
	f, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, int64(at)); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	b[0] ^= bit
	if _, err := f.WriteAt(b, int64(at)); err != nil {
		return err
	}
	return f.Close()
}

// outcome opens a damaged store and reads everything. It returns nil if all is right, an error of kind errDetected if damage was
// noticed, and another one for a wrong answer.
var errDetected = errors.New("detected")

func (img image) outcome(o local.Options) (err error) {
	s, err := local.Open(o)
	if err != nil {
		return fmt.Errorf("%w at open: %w", errDetected, err)
	}
	defer func() { _ = s.Close() }() // it may tell of the damage once more
	return img.read(s)
}

// read reads everything.
func (img image) read(s *local.Store) error {
	var detected error
	for name, want := range img.objects {
		var got object
		err := s.View(background, []byte(name), func(r engine.Reader) (err error) {
			got, err = load(r, name)
			return err
		})
		switch {
		case err != nil:
			detected = err
			continue
		case got != want:
			return fmt.Errorf("%s is %+v instead of %+v", name, got, want)
		}
		if err := verify(s, name, got); err != nil {
			if !errors.Is(err, engine.ErrCorrupt) {
				return err
			}
			detected = err
		}
	}
	var n int64
	if err := s.View(background, nil, func(r engine.Reader) (err error) {
		counted, err := r.Counter([]byte(objects))
		n = counted.Objects
		return err
	}); err != nil {
		detected = err
	} else if n != int64(len(img.objects)) {
		return fmt.Errorf("%d objects are counted instead of %d", n, len(img.objects))
	}
	if detected != nil {
		return fmt.Errorf("%w at read: %w", errDetected, detected)
	}
	return nil
}

// place is a byte of a file.
type place struct {
	file string
	at   int
}

// span returns the places of a file from one to before another.
func span(name string, from, to int) (places []place) {
	for at := max(0, from); at < to; at++ {
		places = append(places, place{name, at})
	}
	return places
}

// random returns n places, each file as likely as another.
func random(rng *rand.Rand, all map[string]int, n int) (places []place) {
	var names []string
	for name, size := range all {
		if size > 0 && !strings.HasSuffix(name, "/LOCK") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for range n {
		name := names[rng.IntN(len(names))]
		places = append(places, place{name, rng.IntN(all[name])})
	}
	return places
}

// TestBitFlips flips bits at random in all that a store consists of. Each flip is told of or without effect; with parity, it is
// without effect.
func TestBitFlips(t *testing.T) {
	const seed = 11
	for disks, share := range map[int]int{1: 4, 3: 8, 6: 8} {
		for _, closed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d disks, closed=%v", disks, closed), func(t *testing.T) {
				t.Parallel()
				t.Logf("seed %d", seed)
				rng := rand.New(rand.NewPCG(seed, uint64(disks)))
				img := makeImage(t, disks, closed)
				require.NoError(t, img.outcome(img.clone()), "undamaged")
				all := files(t, img.mem, "")
				detected, n := 0, *bitFlips/share
				for _, p := range random(rng, all, n) {
					o, bit := img.clone(), byte(1)<<rng.IntN(8)
					require.NoError(t, flip(o.FS, p.file, p.at, bit))
					err := img.outcome(o)
					if errors.Is(err, errDetected) && disks == 1 {
						detected++
						err = clear(err, p.file)
					}
					if err != nil {
						t.Errorf("bit %#x of byte %d of %d of %s: %v", bit, p.at, all[p.file], p.file, err)
					}
				}
				t.Logf("%d flips, %d detected, the others without effect", n, detected)
			})
		}
	}
}

func TestDisksThatAreGone(t *testing.T) {
	for _, n := range []int{2, 3, 4, 6} {
		img := makeImage(t, n, true)
		m := map[int]int{2: 1, 3: 1, 4: 2, 6: 2}[n]
		for first := range n {
			t.Run(fmt.Sprintf("%d of %d from %d", m, n, first), func(t *testing.T) {
				o := img.clone()
				gone := map[string]bool{}
				for i := range m {
					gone[fmt.Sprintf("d%d", (first+i)%n)] = true
				}
				for dir := range gone {
					require.NoError(t, o.FS.RemoveAll(dir))
				}
				if n == 2*m {
					// The other half may have gone on: only the operator can know.
					_, err := local.Open(o)
					require.ErrorIs(t, err, engine.ErrUnavailable)
					o.AcceptMissing = acceptable(err)
					require.Len(t, o.AcceptMissing, m)
				}
				require.NoError(t, img.outcome(o))
				o.AcceptMissing = nil // it is written down
				s, err := local.Open(o)
				require.NoError(t, err)
				h := s.Health()
				assert.True(t, h.Writable)
				assert.True(t, h.Degraded)
				for i, d := range h.Disks {
					assert.Equal(t, !d.OK, gone[fmt.Sprintf("d%d", i)] || d.Detail != "", "disk %d: %+v", i, d)
				}
				writeMore(t, s)
				require.NoError(t, s.Close())

				s, err = local.Open(o)
				require.NoError(t, err)
				found, err := consistent(s)
				require.NoError(t, err)
				assert.Len(t, found, len(img.objects)+8)
				require.NoError(t, s.Close())
			})
		}
	}
}

// acceptable returns the words that an error asks for.
func acceptable(err error) (words []string) {
	for _, m := range regexp.MustCompile(`--accept-missing ([^ :]+)`).FindAllStringSubmatch(err.Error(), -1) {
		words = append(words, m[1])
	}
	return words
}

// writeMore adds 8 objects.
func writeMore(t *testing.T, s *local.Store) {
	t.Helper()
	for i := range 8 {
		o := object{seed: uint64(1000 + i), sizes: [3]int{100 + 9000*i}}
		if i%2 == 1 {
			require.NoError(t, put(s, &o))
		}
		require.NoError(t, store(s, fmt.Sprintf("more%d/", i), &o))
		s.Forget(o.refs[:]...)
	}
}

// TestADiskThatWasAway: what was written while a disk was away is brought to it when it is back, so that others may go then.
func TestADiskThatWasAway(t *testing.T) {
	for away := range 3 {
		for crash := range 2 {
			t.Run(fmt.Sprintf("disk %d, crash %d", away, crash), func(t *testing.T) {
				img := makeImage(t, 3, crash == 0)
				o := img.clone()
				without := o
				without.Dirs = slices.Delete(slices.Clone(o.Dirs), away, away+1)
				s, err := local.Open(without)
				require.NoError(t, err)
				writeMore(t, s)
				require.NoError(t, s.Close())

				s, err = local.Open(o)
				require.NoError(t, err)
				require.NoError(t, s.Heal(background))
				assert.False(t, s.Health().Degraded, "%+v", s.Health())
				require.NoError(t, s.Close())

				other := (away + 1) % 3
				require.NoError(t, o.FS.RemoveAll(o.Dirs[other]))
				s, err = local.Open(o)
				require.NoError(t, err)
				found, err := consistent(s)
				require.NoError(t, err)
				assert.Len(t, found, len(img.objects)+8)
				require.NoError(t, s.Close())
			})
		}
	}
}
