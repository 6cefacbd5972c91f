package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/inspect"
	"github.com/blobd/blobd/internal/engine/local/diskio"
	"github.com/blobd/blobd/internal/engine/local/diskset"
	"github.com/blobd/blobd/internal/engine/local/extent"
)

// inspected makes a store of so many disks, sealed in part, and stops it.
func inspected(t *testing.T, disks int) (dirs []string) {
	root := t.TempDir()
	for i := range disks {
		dirs = append(dirs, filepath.Join(root, string(rune('a'+i))))
	}
	for part := range 2 {
		s, err := Open(Options{Dirs: dirs})
		require.NoError(t, err)
		for _, size := range []int{100, 20_000, 64 << 10, 300_000} {
			c, err := s.Put(t.Context(), bytes.NewReader(bytes.Repeat([]byte{byte(part + 1)}, size)), int64(size))
			require.NoError(t, err)
			require.NoError(t, s.Update(t.Context(), []byte("p/"), func(tx engine.Tx) error {
				tx.Retain(c.Ref)
				tx.Set(engine.SpaceEntity, append([]byte("p/"), c.Ref[:]...), bytes.Repeat([]byte("v"), size/10))
				return nil
			}))
			s.Forget(c.Ref)
		}
		require.NoError(t, s.Close())
	}
	return dirs
}

// tellable are the files of a store that can be told of.
func tellable(t *testing.T, dirs []string) (paths []string) {
	for _, dir := range dirs {
		require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			base := filepath.Base(path)
			if err == nil && !d.IsDir() && base != "LOCK" && base != "reserve" && !strings.HasPrefix(base, "marker.") {
				paths = append(paths, path)
			}
			return err
		}))
	}
	return paths
}

func inspectAll(t *testing.T, path string) (items []*inspect.Item, wrong []string) {
	require.NoError(t, Inspect(t.Context(), path, func(i *inspect.Item) error {
		items = append(items, i)
		if i.Wrong != "" {
			wrong = append(wrong, i.Wrong)
		}
		b, err := json.Marshal(i)
		require.NoError(t, err)
		require.True(t, json.Valid(b))
		require.NotContains(t, i.String(), "\n")
		return nil
	}), path)
	return items, wrong
}

// Every file of a store is told of, nothing is wrong with any of it, and whatever bit of it is another is told of.
func TestInspectTellsOfEveryFile(t *testing.T) {
	for _, disks := range []int{1, 3} {
		dirs := inspected(t, disks)
		frames, footers := 0, 0
		for _, path := range tellable(t, dirs) {
			items, wrong := inspectAll(t, path)
			require.NotEmpty(t, items, path)
			require.Empty(t, wrong, path)
			for _, i := range items {
				if strings.Contains(path, "extents") && i.What == "frame" {
					frames++
				}
				if i.What == "footer" {
					footers++
				}
			}
			if disks == 1 && (strings.HasSuffix(path, ".sst") || strings.Contains(path, "OPTIONS")) {
				continue // Pebble's
			}
			good, err := os.ReadFile(path)
			require.NoError(t, err)
			for at := 0; at < len(good); at += max(1, len(good)/11) {
				bad := bytes.Clone(good)
				bad[at] ^= 0x20
				require.NoError(t, os.WriteFile(path, bad, 0o600))
				var wrong []string
				if err := Inspect(t.Context(), path, func(i *inspect.Item) error {
					if i.Wrong != "" {
						wrong = append(wrong, i.Wrong)
					}
					return nil
				}); err != nil {
					wrong = append(wrong, err.Error())
				}
				if len(wrong) == 0 {
					// The last record of what is appended to, and what lies behind the end of a log, may be what a crash left.
					require.True(t, strings.HasSuffix(path, ".log") || strings.Contains(path, "MANIFEST"), "byte %d of %d of %s", at, len(good), path)
				}
			}
			require.NoError(t, os.WriteFile(path, good, 0o600))
		}
		require.Greater(t, frames, 8)
		require.Positive(t, footers)
		s, err := Open(Options{Dirs: dirs}) // nothing was changed
		require.NoError(t, err)
		require.NoError(t, s.Close())
	}
}

// Of a file that was taken out of its data directory what can be told is told.
func TestInspectWithoutTheDataDirectory(t *testing.T) {
	dirs := inspected(t, 1)
	alone := t.TempDir()
	for _, path := range tellable(t, dirs) {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		at := filepath.Join(alone, filepath.Base(path))
		require.NoError(t, os.WriteFile(at, b, 0o600))
		err = Inspect(t.Context(), at, func(*inspect.Item) error { return nil })
		if err != nil {
			require.Contains(t, path, "MANIFEST-") // its companion lies beside it
		}
	}
}

// FuzzInspect: whatever a file holds, it is told of without a panic, and in a bounded number of words.
func FuzzInspect(f *testing.F) {
	names := []string{diskset.FormatName, "LOGS", "000004.log", "000005.sst", "000005.sst.sum", "MANIFEST-000001", "MANIFEST-000001.synced", "0000000000000001.00", "0000000000000002.01"}
	mem := vfs.NewMem()
	set, err := diskset.Open(diskset.Options{FS: mem, Logger: zap.NewNop(), Dirs: []string{"d"}})
	require.NoError(f, err)
	require.NoError(f, set.Close())
	format, err := diskio.ReadFile(mem, mem.PathJoin("d", diskset.FormatName))
	require.NoError(f, err)
	for i := range names {
		f.Add(uint8(i), []byte(nil), true)
		f.Add(uint8(i), format, true)
		f.Add(uint8(i), []byte("bdLG\x00\x00\x00\x00bdFRblobdextblobdseaBLOBDSUMBLOBDLOG"), false)
	}
	f.Fuzz(func(t *testing.T, kind uint8, b []byte, known bool) {
		name := names[int(kind)%len(names)]
		n := 0
		visit := func(i *inspect.Item) error {
			if n++; n > len(b)+16 {
				t.Fatalf("%d bytes are told of in %d words", len(b), n)
			}
			_ = i.String()
			_, err := json.Marshal(i)
			return err
		}
		if extent.IsColumn(name) {
			var keys *extent.Keys
			if known {
				keys = &extent.Keys{Version2: 2}
			}
			if err := extent.Inspect(context.Background(), bytes.NewReader(b), int64(len(b)), name, keys, visit); err != nil {
				t.Fatal(err)
			}
			return
		}
		if err := inspectFile(filepath.Join("no such directory", "meta", name), b, visit); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	})
}
