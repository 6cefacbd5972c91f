//go:build unix

package local_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
)

// onDisk writes an image to real directories.
func (img image) onDisk(t *testing.T) (root string, o local.Options) {
	t.Helper()
	root, o = t.TempDir(), img.opts
	for name, b := range contents(t, img.mem) {
		name = filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
		require.NoError(t, os.WriteFile(name, b, 0o600))
	}
	o.FS, o.Dirs = nil, nil
	for _, dir := range img.opts.Dirs {
		o.Dirs = append(o.Dirs, filepath.Join(root, dir))
	}
	return root, o
}

// goesOn reads everything, writes, and finds all of it after another start. An error is of kind errDetected if the store told of what it
// met.
func (img image) goesOn(o local.Options) error {
	for i := range 2 {
		s, err := local.Open(o)
		if err != nil {
			return fmt.Errorf("%w at open %d: %w", errDetected, i, err)
		}
		more := map[string]object{}
		for j := range 3 {
			name := fmt.Sprintf("more%d/", j)
			err = errors.Join(err, s.View(background, []byte(name), func(r engine.Reader) (err error) {
				more[name], err = load(r, name)
				return err
			}))
			if o := more[name]; i > 0 && err == nil {
				if o.seed != uint64(i) {
					err = fmt.Errorf("%s: %d instead of what was acknowledged", name, o.seed)
				} else {
					err = verify(s, name, o)
				}
			}
			o := object{seed: uint64(i + 1), sizes: [3]int{100 + 30_000*j}}
			if j > 0 {
				err = errors.Join(err, put(s, &o))
			}
			err = errors.Join(err, store(s, name, &o))
			s.Forget(o.refs[:]...)
		}
		all := func() error {
			found, err := consistent(s)
			for name, want := range img.objects {
				if err == nil && found[name] != want {
					err = fmt.Errorf("%s is %+v instead of %+v", name, found[name], want)
				}
			}
			return err
		}
		if err = errors.Join(err, all(), s.Collect(background), all(), s.Close()); err != nil {
			return fmt.Errorf("start %d: %w", i, err)
		}
	}
	return nil
}

// plant puts something where a file or folder may have been.
func plant(t *testing.T, name, what string) {
	t.Helper()
	if what != "junk" {
		aside := name + ".aside"
		if err := os.Rename(name, aside); !os.IsNotExist(err) {
			require.NoError(t, err)
		}
		if what == "link to it" {
			require.NoError(t, os.Rename(aside, filepath.Join(filepath.Dir(filepath.Dir(filepath.Dir(name))), filepath.Base(name))))
			aside = filepath.Join(filepath.Dir(filepath.Dir(filepath.Dir(name))), filepath.Base(name))
		} else {
			require.NoError(t, os.RemoveAll(aside))
		}
		switch what {
		case "pipe":
			require.NoError(t, syscall.Mkfifo(name, 0o600))
		case "link to it":
			require.NoError(t, os.Symlink(aside, name))
		case "link to nothing":
			require.NoError(t, os.Symlink("/nowhere/at/all", name))
		case "folder":
			require.NoError(t, os.Mkdir(name, 0o700))
		}
		return
	}
	require.NoError(t, os.WriteFile(name, []byte(strings.Repeat("something else entirely ", 500)), 0o600))
}

// TestSomethingElseInPlaceOfAFile: a named pipe, a link or a folder that has the name of a file or folder of the store is told of by that
// name, and nothing waits for it; with redundancy the store does without the disk.
func TestSomethingElseInPlaceOfAFile(t *testing.T) {
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d disks", n), func(t *testing.T) {
			t.Parallel()
			img := makeImage(t, n, false)
			names := map[string]string{"meta": "d0/meta", "extents": "d0/extents"}
			for _, name := range slices.Sorted(maps.Keys(contents(t, img.mem))) {
				if strings.HasPrefix(name, "d0/") { // one of each kind
					base := path.Base(name)
					kind := strings.Trim(strings.TrimLeft(base, "0123456789"), "0123456789")
					names[path.Dir(name)+kind] = name
				}
			}
			for _, name := range slices.Sorted(maps.Values(names)) {
				for _, what := range []string{"pipe", "link to it", "link to nothing", "folder", "junk"} {
					folder := path.Base(name) == "meta" || path.Base(name) == "extents"
					if n == 3 && strings.HasPrefix(what, "link") || what == "folder" && folder || what == "junk" && !folder || path.Base(name) == "LOCK" {
						continue
					}
					root, o := img.onDisk(t)
					if folder && what == "junk" {
						require.NoError(t, os.RemoveAll(filepath.Join(root, name)))
					}
					plant(t, filepath.Join(root, name), what)
					err := img.goesOn(o)
					if errors.Is(err, errDetected) && n == 1 {
						err = named(err, name)
					}
					assert.NoError(t, err, "%s in place of %s", what, name)
				}
			}
		})
	}
}

// TestFilesThatAreNotOfTheStore: junk under names that the store could give, up to the highest, and such that it could not, has no effect,
// or is told of by name.
func TestFilesThatAreNotOfTheStore(t *testing.T) {
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d disks", n), func(t *testing.T) {
			t.Parallel()
			img := makeImage(t, n, false)
			for _, name := range []string{
				"extents/ffffffffffffffff.00", "extents/fffffffffffffffe.00", "extents/7fffffffffffffff.00", "extents/00000000000000ff.00",
				"extents/0000000000000000.00", "extents/0000000000000001.0", "extents/0000000000000001.99", "extents/0000000000000001.00.bak",
				"extents/0000000000000001.00.tmp", "extents/+000000000000001.00", "extents/000000000000001.000",
				"meta/18446744073709551615.sst", "meta/18446744073709551614.log", "meta/9223372036854775807.log", "meta/9223372036854775807.sst",
				"meta/99999999999999999999999999.sst", "meta/4294967295.log", "meta/4294967296.log", "meta/MANIFEST-18446744073709551615",
				"meta/18446744073709551615.blob", "meta/OPTIONS-18446744073709551615", "meta/4000000000.log",
				"meta/900000.sst", "meta/900000.log", "meta/MANIFEST-900000", "meta/1.log", "meta/0000001.log", "meta/000001.log.bak", "meta/000001-001.log", "meta/1.sst",
				"meta/marker.manifest.999999.MANIFEST-000001", "meta/marker.manifest.18446744073709551615.MANIFEST-000001", "meta/marker.format-version.x.y",
				"meta/LOGS.tmp", "meta/LOGS.bak", "meta/x", "blobd.format.tmp", "blobd.format.bak", "x",
			} {
				for _, what := range []string{"junk", "pipe", "folder"} {
					if what != "junk" && n > 1 {
						continue
					}
					root, o := img.onDisk(t)
					plant(t, filepath.Join(root, "d0", name), what)
					err := img.goesOn(o)
					if errors.Is(err, errDetected) {
						err = named(err, name)
					}
					assert.NoError(t, err, "%s at %s", what, name)
				}
			}
		})
	}
}
