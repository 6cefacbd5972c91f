package local_test

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
)

var cutStep = flag.Int("cutstep", 16, "remove one in so many files, and cut at one in so many blocks")

const diskBlock = 4096

// rewrite replaces a file; nil removes it.
func rewrite(fs vfs.FS, name string, b []byte) error {
	if err := fs.Remove(name); err != nil && b == nil {
		return err
	}
	if b == nil {
		return nil
	}
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(slices.Clone(b))
	return errors.Join(err, f.Close())
}

// whole opens a store, reads everything, collects and reads everything again.
func (img image) whole(o local.Options) error {
	s, err := local.Open(o)
	if err != nil {
		return fmt.Errorf("%w at open: %w", errDetected, err)
	}
	defer func() { _ = s.Close() }()
	if err := img.read(s); err != nil {
		return err
	}
	if err := s.Collect(background); err != nil {
		return err
	}
	return img.read(s)
}

// named returns an error unless err says that a file, or the store without it, is not what it was, and names it.
func named(err error, file string) error {
	base := path.Base(file)
	if strings.HasPrefix(base, "marker.") {
		base = strings.Join(strings.Split(base, ".")[:2], ".")
	}
	if errors.Is(err, errDetected) && errors.Is(err, engine.ErrCorrupt) && strings.Contains(err.Error(), strings.TrimSuffix(base, path.Ext(base))) {
		return nil
	}
	return fmt.Errorf("unclear: %w", err)
}

// TestMissingAndCutFiles removes every file of a store, and cuts it off at every block of the disk. On one disk that is told of, by name,
// or without effect, and once the file is back all is well: nothing was deleted for the lack of it. With parity all is read.
func TestMissingAndCutFiles(t *testing.T) {
	for _, n := range []int{1, 3} {
		for _, closed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d disks, closed=%v", n, closed), func(t *testing.T) {
				t.Parallel()
				img := makeImage(t, n, closed)
				require.NoError(t, img.whole(img.clone()), "undamaged")
				all := contents(t, img.mem)
				cases, told, turn := 0, 0, 0
				for _, name := range slices.Sorted(maps.Keys(all)) {
					if path.Base(name) == "LOCK" {
						continue
					}
					cuts := []int{-1}
					for at := 0; at < len(all[name]); at += diskBlock {
						cuts = append(cuts, at)
					}
					for _, at := range cuts {
						if turn++; turn%*cutStep != 0 {
							continue
						}
						o, what := img.clone(), all[name]
						if at >= 0 {
							what = what[:at]
						} else {
							what = nil
						}
						require.NoError(t, rewrite(o.FS, name, what))
						err := img.whole(o)
						cases++
						if errors.Is(err, errDetected) && n == 1 {
							told++
							if err = named(err, name); err == nil {
								require.NoError(t, rewrite(o.FS, name, all[name]))
								if err = img.whole(o); err != nil {
									err = fmt.Errorf("once it is back: %w", err)
								}
							}
						}
						if err != nil {
							t.Errorf("%s of %d bytes cut to %d: %v", name, len(all[name]), at, err)
						}
					}
				}
				t.Logf("%d files removed or cut, %d told of, the others without effect", cases, told)
			})
		}
	}
}

// TestMissingFolders: a store does not begin anew where one of its folders is gone.
func TestMissingFolders(t *testing.T) {
	for _, n := range []int{1, 2, 3, 6} {
		for _, closed := range []bool{true, false} {
			img := makeImage(t, n, closed)
			for d := range n {
				for _, folder := range []string{"meta", "extents"} {
					o := img.clone()
					dir := fmt.Sprintf("d%d/%s", d, folder)
					require.NoError(t, o.FS.RemoveAll(dir))
					err := img.whole(o)
					if n == 1 {
						require.NoError(t, named(err, dir), "%s", dir)
					} else {
						require.NoError(t, err, "%s", dir)
					}
				}
			}
		}
	}
}

// TestWhatIsLostCanBeAccepted: each refusal names the word by which the store goes on without what is lost.
func TestWhatIsLostCanBeAccepted(t *testing.T) {
	img := makeImage(t, 1, false)
	for name := range contents(t, img.mem) {
		if kindOf(name) != "log" && kindOf(name) != "extent" && kindOf(name) != "loglist" {
			continue
		}
		o := img.clone()
		require.NoError(t, o.FS.Remove(name))
		_, err := local.Open(o)
		if err == nil {
			continue
		}
		o.AcceptMissing = acceptable(err)
		require.Len(t, o.AcceptMissing, 1, "%v", err)
		for range 2 {
			s, err := local.Open(o)
			require.NoError(t, err, "%s", name)
			writeMore(t, s)
			require.NoError(t, s.Collect(background))
			require.NoError(t, s.Close())
			o.AcceptMissing = nil // it is written down
		}
	}
}
