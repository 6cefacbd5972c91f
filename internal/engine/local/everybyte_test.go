package local_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
)

var everyByte = flag.Int("everybyte", 1, "flip a bit in every so manieth byte")

// Lengths in the column of an extent; docs/format.md.
const (
	extentHeader = 4096
	extentFooter = 128
)

// tiny makes a store of a few kilobytes, so that every byte of every file can have its turn: two extents, one of them sealed,
// tables, a manifest of several edits. Closed, or cut: with an open extent and a log to replay.
func tiny(t *testing.T, n int, closed bool) image {
	t.Helper()
	img := image{opts: small(n), mem: vfs.NewCrashableMem(), objects: map[string]object{}}
	img.opts.FS = img.mem
	add := func(s *local.Store, name string, sizes ...int) {
		o := object{seed: uint64(len(img.objects))*2 + 1}
		copy(o.sizes[:], sizes)
		if len(sizes) > 1 {
			require.NoError(t, put(s, &o))
		}
		require.NoError(t, store(s, name, &o))
		s.Forget(o.refs[:]...)
		img.objects[name] = o
	}
	s, err := local.Open(img.opts)
	require.NoError(t, err)
	add(s, "a/", 40)
	add(s, "b/", 300, 33)
	require.NoError(t, s.Close())

	s, err = local.Open(img.opts)
	require.NoError(t, err)
	add(s, "c/", 50)
	add(s, "d/", 100, 200)
	awaitFooters(t, img.mem, n)
	img.take(t, s, closed)
	return img
}

// awaitFooters waits until the background has sealed an extent on n disks.
func awaitFooters(t *testing.T, fs *vfs.MemFS, n int) {
	for sealed := 0; sealed < n; runtime.Gosched() {
		sealed = 0
		for name, b := range contents(t, fs.CrashClone(vfs.CrashCloneCfg{})) {
			if kindOf(name) == "extent" && isSealed(b) {
				sealed++
			}
		}
	}
}

// isSealed tells whether the column of an extent has a footer.
func isSealed(b []byte) bool {
	return len(b) >= extentHeader+extentFooter && string(b[len(b)-extentFooter:][:8]) == "blobdsea"
}

// contents reads all files.
func contents(t *testing.T, fs vfs.FS) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for name := range files(t, fs, "") {
		f, err := fs.Open(name)
		require.NoError(t, err)
		all[name], err = io.ReadAll(f)
		require.NoError(t, errors.Join(err, f.Close()))
	}
	return all
}

// lanes returns the places to flip on a disk: the metadata and format files whole, headers and footers of extents; what lies between
// these, extent.TestABitInEveryByte flips. The lists have nothing to do with each other, so that with parity a place of each can be
// flipped at a time.
func lanes(all map[string][]byte, dir string) (lanes [][]place) {
	var meta []place
	for _, name := range slices.Sorted(maps.Keys(all)) {
		n := len(all[name])
		switch {
		case !strings.HasPrefix(name, dir+"/"):
		case kindOf(name) == "extent":
			lane := span(name, 0, extentHeader)
			if isSealed(all[name]) {
				lane = append(lane, span(name, n-extentFooter, n)...)
			}
			lanes = append(lanes, lane)
		case kindOf(name) == "format" || kindOf(name) == "options":
			lanes = append(lanes, span(name, 0, n))
		case kindOf(name) == "log":
			// Behind the end of a log there is room for more, in zeros that all mean the same: of most of them a sample will do.
			end := min(n, len(bytes.TrimRight(all[name], "\x00"))+64)
			meta = append(meta, span(name, 0, end)...)
			for ; end < n; end += 61 {
				meta = append(meta, span(name, end, end+1)...)
			}
		default:
			meta = append(meta, span(name, 0, n)...)
		}
	}
	return append(lanes, meta)
}

// runs returns what is flipped together: without parity one place at a time, with it one of each list of m disks.
func (img image) runs(all map[string][]byte, m int) (runs [][]place) {
	dirs := img.opts.Dirs
	if m == 0 {
		for _, p := range slices.Concat(lanes(all, dirs[0])...) {
			runs = append(runs, []place{p})
		}
		return runs
	}
	for group := range slices.Chunk(dirs, m) {
		var together [][]place
		for _, dir := range group {
			together = append(together, lanes(all, dir)...)
		}
		for i := 0; ; i++ {
			var run []place
			for _, lane := range together {
				if i < len(lane) {
					run = append(run, lane[i])
				}
			}
			if run == nil {
				break
			}
			runs = append(runs, run)
		}
	}
	return runs
}

// kindOf names the kind of a file.
func kindOf(name string) string {
	base := path.Base(name)
	switch {
	case path.Base(path.Dir(name)) == "extents":
		return "extent"
	case strings.HasSuffix(base, ".synced"):
		return "companion"
	case strings.HasSuffix(base, ".sum"):
		return "sidecar"
	case strings.HasPrefix(base, "MANIFEST-"):
		return "manifest"
	case strings.HasPrefix(base, "OPTIONS-"):
		return "options"
	case base == "LOGS":
		return "loglist"
	case base == "blobd.format":
		return "format"
	}
	return strings.TrimPrefix(path.Ext(base), ".")
}

// TestABitInEveryByte flips a bit in every byte of the headers, footers, format files and metadata files of a small store. On one disk
// each flip is told of, by the name of the file, or without effect. With parity, m disks have them at once, and yet the store opens,
// everything is read, and all of it is repaired.
func TestABitInEveryByte(t *testing.T) {
	const seed = 13
	for disks, m := range map[int]int{1: 0, 3: 1, 6: 2} {
		for _, closed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d+%d, closed=%v", disks-m, m, closed), func(t *testing.T) {
				t.Parallel()
				t.Logf("seed %d", seed)
				rng := rand.New(rand.NewPCG(seed, uint64(disks)))
				img := tiny(t, disks, closed)
				require.NoError(t, img.outcome(img.clone()), "undamaged")
				all := contents(t, img.mem)
				flips, detected := map[string]int{}, map[string]int{}
				runs := img.runs(all, m)
				for i := rng.IntN(*everyByte); i < len(runs); i += *everyByte {
					o, what := img.clone(), ""
					for _, p := range runs[i] {
						bit := byte(1) << rng.IntN(8)
						require.NoError(t, flip(o.FS, p.file, p.at, bit))
						flips[kindOf(p.file)]++
						what += fmt.Sprintf("bit %#x of byte %d of %d of %s, ", bit, p.at, len(all[p.file]), p.file)
					}
					var err error
					if m > 0 {
						err = img.repaired(o, all, runs[i], m, i%8 == 0)
					} else if err = img.outcome(o); errors.Is(err, errDetected) {
						detected[kindOf(runs[i][0].file)]++
						err = clear(err, runs[i][0].file)
					}
					if err != nil {
						t.Errorf("%s%v", what, err)
					}
				}
				t.Logf("flips: %v; detected: %v; the others without effect", flips, detected)
			})
		}
	}
}

// clear returns an error unless err says that a file is damaged, and which. A table is named by its number, an extent by its id.
func clear(err error, file string) error {
	if errors.Is(err, engine.ErrCorrupt) && strings.Contains(err.Error(), strings.TrimSuffix(path.Base(file), path.Ext(file))) {
		return nil
	}
	return fmt.Errorf("unclear: %w", err)
}

// repaired opens a damaged store, reads it, and sees that the damage is gone; if asked, it reads everything again from the damaged
// disks without m of the others.
func (img image) repaired(o local.Options, all map[string][]byte, damage []place, m int, again bool) error {
	s, err := local.Open(o)
	if err != nil {
		return err
	}
	if err := errors.Join(img.read(s), s.Heal(background)); err != nil {
		return errors.Join(err, s.Close())
	}
	s.Idle()
	if err := s.Close(); err != nil {
		return err
	}
	for _, p := range damage {
		if err := mended(o.FS, all, p); err != nil {
			return err
		}
	}
	if !again {
		return nil
	}
	left := o
	left.Dirs = slices.DeleteFunc(slices.Clone(o.Dirs), func(dir string) bool {
		hurt := slices.ContainsFunc(damage, func(p place) bool { return strings.HasPrefix(p.file, dir+"/") })
		if !hurt {
			m--
		}
		return !hurt && m >= 0
	})
	if err := img.outcome(left); err != nil {
		return fmt.Errorf("from %v: %w", left.Dirs, err)
	}
	return nil
}

// mended returns an error unless a place is again what it was, or gone with its file.
func mended(fs vfs.FS, all map[string][]byte, p place) error {
	f, err := fs.Open(p.file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	b, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if kindOf(p.file) == "loglist" {
		return nil // each start writes it anew
	}
	want := all[p.file]
	if kindOf(p.file) == "format" { // it may be of another epoch by now; its copies are alike
		want = slices.Concat(b[:512], make([]byte, 4096-512), b[:512])
	}
	if p.at >= len(b) || b[p.at] != want[p.at] { // an extent may be longer by its footer
		return fmt.Errorf("byte %d of %s was not repaired", p.at, p.file)
	}
	return nil
}
