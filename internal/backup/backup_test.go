package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/backup"
	"github.com/blobd/blobd/internal/engine/local"
)

// A backup that is made beside writes, deletes and collections is one moment of the store, on any layout.
func TestBackupBesideWritesIsOneMoment(t *testing.T) {
	s := fill(t, 30)
	ctx, cancel := context.WithCancel(background)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	for w := range 2 {
		work.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			for n := 0; ctx.Err() == nil; n++ {
				id, err := rng.IntN(40), error(nil)
				if rng.IntN(3) == 0 {
					err = update(s, id, nil)
				} else {
					err = set(s, id, rng.Uint64()>>24)
				}
				if n%30 == 29 && err == nil {
					err = s.Collect(background)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	fs := vfs.NewMem()
	for i := range 3 {
		m := run(t, fs, s, backup.Options{PackSize: 1 << 20, Keep: 3})
		require.True(t, m.Complete)
		to := vfs.NewMem()
		disks := 1 + i
		require.NoError(t, restore(fs, to, disks, backup.RestoreOptions{}))
		restored := open(t, local.Options{Dirs: dirs(disks), FS: to, Existing: true})
		_, lost := state(t, restored)
		require.Empty(t, lost)
		require.NoError(t, set(restored, 1000, 1))
		require.NoError(t, restored.Close())
	}
}

// A second backup copies what is new, and no other; what no backup needs goes; each that is kept can be restored.
func TestBackupCopiesWhatIsNew(t *testing.T) {
	s, fs := fill(t, 40), vfs.NewMem()
	want := make(map[uint64]map[int]uint64)
	back := func(keep int) *backup.Manifest {
		m := run(t, fs, s, backup.Options{PackSize: 1 << 20, Keep: keep})
		want[m.Number], _ = state(t, s)
		return m
	}
	first := back(0)
	require.Equal(t, first.Bytes, first.Copied)
	require.Greater(t, len(first.Packs), 1)
	require.Zero(t, back(0).Copied)
	require.NoError(t, set(s, 7, 1_000_007))
	third := back(0)
	n := sizes(1_000_007)
	require.Equal(t, int64(n[0]+n[1]), third.Copied)

	// Most goes: what is left of the old files is copied, and they go with the backups that name them.
	for id := range 38 {
		require.NoError(t, update(s, id, nil))
	}
	fourth := back(0)
	require.Positive(t, fourth.Copied)
	list, err := backup.List(fs, dir)
	require.NoError(t, err)
	require.Len(t, list, 4)
	for _, m := range list {
		to := vfs.NewMem()
		var last backup.Progress
		require.NoError(t, restore(fs, to, 3, backup.RestoreOptions{Number: m.Number, Progress: func(p backup.Progress) {
			require.GreaterOrEqual(t, p.Done, last.Done)
			last = p
		}}))
		require.Equal(t, backup.Progress{Doing: "comparing", Done: 2 * m.Bytes, Total: 2 * m.Bytes}, last)
		restored := open(t, local.Options{Dirs: dirs(3), FS: to})
		got, lost := state(t, restored)
		require.Empty(t, lost)
		require.Equal(t, want[m.Number], got)
		require.NoError(t, restored.Close())
	}
	fifth := back(2)
	require.Zero(t, fifth.Copied)
	list, err = backup.List(fs, dir)
	require.NoError(t, err)
	require.Len(t, list, 2)
	names, err := fs.List(dir)
	require.NoError(t, err)
	require.Len(t, names, 2*3+len(fifth.Packs)+1, names)

	// A backup whose file has gone is made whole by the next.
	require.NoError(t, fs.Remove(fs.PathJoin(dir, fmt.Sprintf("%08d.pack", fifth.Packs[0].Number))))
	require.Positive(t, back(1).Copied)
	require.NoError(t, restore(fs, vfs.NewMem(), 1, backup.RestoreOptions{}))
}

// The directory of another store, of something else, or in use, is left alone; a store is not restored over another.
func TestBackupRefusesWhatIsNotItsOwn(t *testing.T) {
	s, fs := fill(t, 3), vfs.NewMem()
	run(t, fs, s, backup.Options{})
	_, err := backup.Run(background, fill(t, 2), backup.Options{Dir: dir, FS: fs})
	require.ErrorContains(t, err, "another store")
	f, err := fs.Create("backups/letter.txt", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = backup.Run(background, s, backup.Options{Dir: dir, FS: fs})
	require.ErrorContains(t, err, "letter.txt")
	require.NoError(t, fs.Remove("backups/letter.txt"))

	lock, err := fs.Lock(fs.PathJoin(dir, "LOCK"))
	require.NoError(t, err)
	_, err = backup.Run(background, s, backup.Options{Dir: dir, FS: fs})
	require.ErrorContains(t, err, "in use")
	require.NoError(t, lock.Close())

	to := vfs.NewMem()
	require.NoError(t, restore(fs, to, 1, backup.RestoreOptions{}))
	require.ErrorContains(t, restore(fs, to, 1, backup.RestoreOptions{}), "there is a store")
	require.ErrorContains(t, restore(fs, vfs.NewMem(), 1, backup.RestoreOptions{Number: 7}), "no backup 7")
	require.ErrorContains(t, restore(vfs.NewMem(), vfs.NewMem(), 1, backup.RestoreOptions{}), "backups")
}

// Content that cannot be read is named, and all else is in the backup.
func TestBackupOfADamagedStoreIsIncomplete(t *testing.T) {
	real := t.TempDir()
	o := local.Options{Dirs: []string{filepath.Join(real, "data")}}
	s := open(t, o)
	for id := range 10 {
		require.NoError(t, set(s, id, uint64(id)))
	}
	want, _ := state(t, s)
	require.NoError(t, s.Close())
	hurt(t, filepath.Join(real, "data"), 5)
	s = open(t, o)
	fs := vfs.NewMem()
	m := run(t, fs, s, backup.Options{})
	require.False(t, m.Complete)
	require.EqualValues(t, 1, m.Damaged)
	require.Len(t, m.Damage, 1)

	require.ErrorContains(t, restore(fs, vfs.NewMem(), 2, backup.RestoreOptions{}), "--incomplete")
	to := vfs.NewMem()
	require.NoError(t, restore(fs, to, 2, backup.RestoreOptions{Incomplete: true}))
	got, lost := state(t, open(t, local.Options{Dirs: dirs(2), FS: to}))
	require.Equal(t, want, got)
	require.Equal(t, []int{5}, lost)
}

// What was damaged after a backup is in the next ones too, also where little else is left of the file that has it; an incomplete one
// removes none.
func TestBackupKeepsWhatIsDamagedSince(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	o := local.Options{Dirs: []string{data}}
	s := open(t, o)
	for id := range 10 {
		require.NoError(t, set(s, id, uint64(id)))
	}
	fs := vfs.NewMem()
	run(t, fs, s, backup.Options{})
	for id := range 9 {
		if id != 5 {
			require.NoError(t, update(s, id, nil))
		}
	}
	require.NoError(t, set(s, 20, 21))
	want, _ := state(t, s)
	require.NoError(t, s.Close())
	hurt(t, data, 5)
	s = open(t, o)
	m := run(t, fs, s, backup.Options{Keep: 1})
	require.True(t, m.Complete)
	to := vfs.NewMem()
	require.NoError(t, restore(fs, to, 1, backup.RestoreOptions{}))
	got, lost := state(t, open(t, local.Options{Dirs: dirs(1), FS: to}))
	require.Equal(t, want, got)
	require.Empty(t, lost)

	require.NoError(t, set(s, 30, 31))
	require.NoError(t, s.Close())
	hurt(t, data, 31)
	s = open(t, o)
	require.False(t, run(t, fs, s, backup.Options{Keep: 1}).Complete)
	list, err := backup.List(fs, dir)
	require.NoError(t, err)
	require.Len(t, list, 2)
}

// hurt changes a byte of the second chunk of the thing of a seed.
func hurt(t *testing.T, data string, seed uint64) {
	t.Helper()
	columns, err := filepath.Glob(filepath.Join(data, "extents", "*.00"))
	require.NoError(t, err)
	for _, c := range columns {
		b, err := os.ReadFile(c)
		require.NoError(t, err)
		if at := strings.Index(string(b), string(content(seed+1<<32, sizes(seed)[1])[:64])); at >= 0 {
			b[at+10]++
			require.NoError(t, os.WriteFile(c, b, 0o600))
			return
		}
	}
	t.Fatal("there is no such content")
}

// files are those of the backups in a directory, with what is in them.
func files(t *testing.T, fs vfs.FS) map[string][]byte {
	all := make(map[string][]byte)
	names, err := fs.List(dir)
	require.NoError(t, err)
	for _, n := range names {
		f, err := fs.Open(fs.PathJoin(dir, n))
		require.NoError(t, err)
		info, err := f.Stat()
		require.NoError(t, err)
		b := make([]byte, info.Size())
		_, _ = f.ReadAt(b, 0)
		require.NoError(t, f.Close())
		all[n] = b
	}
	delete(all, "LOCK")
	return all
}

func write(t *testing.T, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Create(fs.PathJoin(dir, name), vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write(bytes.Clone(b)) // a file may change what it is given
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

// A file of a backup that is cut, gone, of another backup, or has a flipped bit anywhere is refused by its name, and makes no store.
func TestDamagedBackupIsRefused(t *testing.T) {
	s, fs := fill(t, 12), vfs.NewMem()
	run(t, fs, s, backup.Options{PackSize: 300_000})
	good := files(t, fs)
	refused := func(name, how string, exact bool) {
		t.Helper()
		to := vfs.NewMem()
		err := restore(fs, to, 1, backup.RestoreOptions{})
		require.Error(t, err, "%s %s", name, how)
		if exact {
			require.ErrorIs(t, err, backup.ErrDamaged, "%s %s", name, how)
			require.ErrorContains(t, err, name, "%s", how)
		}
		_, err = local.Open(local.Options{Dirs: dirs(1), FS: to, Existing: true})
		require.Error(t, err, "%s %s", name, how)
		_, err = backup.Verify(background, backup.RestoreOptions{Dir: dir, FS: fs})
		require.Error(t, err, "%s %s", name, how)
	}
	var last string
	for name, b := range good {
		manifest := strings.HasSuffix(name, ".backup")
		require.NoError(t, fs.Remove(fs.PathJoin(dir, name)))
		refused(name, "gone", !manifest)
		for _, n := range []int{0, 1, 63, 64, len(b) / 2, len(b) - 1} {
			write(t, fs, name, b[:n])
			refused(name, fmt.Sprint("cut to ", n), true)
		}
		rng := rand.New(rand.NewPCG(1, 1))
		for at := 0; at < len(b); at += 1 + rng.IntN(max(1, len(b)/8)) {
			bad := append([]byte(nil), b...)
			bad[at] ^= 1 << rng.IntN(8)
			write(t, fs, name, bad)
			refused(name, fmt.Sprint("flipped at ", at), true)
		}
		if other := good[last]; filepath.Ext(last) == filepath.Ext(name) {
			write(t, fs, name, other)
			refused(name, "in the place of another", true)
		}
		last = name
		write(t, fs, name, b)
	}
	require.NoError(t, restore(fs, vfs.NewMem(), 1, backup.RestoreOptions{}))
}

// A backup that is cut off, or fails, at any of its file operations leaves those before it whole, or is whole itself; the next one is
// made over what it left.
func TestBackupIsCutOffAnywhere(t *testing.T) {
	s := fill(t, 6)
	mem := vfs.NewCrashableMem()
	before, _ := state(t, s)
	run(t, mem, s, backup.Options{PackSize: 100_000})
	for id := range 4 {
		require.NoError(t, set(s, id, uint64(500+id)))
	}
	after, _ := state(t, s)
	require.False(t, maps.Equal(before, after))
	// start is a new disk with the first backup.
	written := files(t, mem)
	start := func() *vfs.MemFS {
		fs := vfs.NewCrashableMem()
		require.NoError(t, fs.MkdirAll(dir, 0o700))
		for name, b := range written {
			write(t, fs, name, b)
		}
		sync, err := fs.OpenDir(dir)
		require.NoError(t, err)
		require.NoError(t, sync.Sync())
		root, err := fs.OpenDir("")
		require.NoError(t, err)
		require.NoError(t, root.Sync())
		return fs
	}

	look := func(fs vfs.FS, how string) {
		list, err := backup.List(fs, dir)
		require.NoError(t, err, how)
		require.NotEmpty(t, list, how)
		want := after
		if list[len(list)-1].Number == 1 {
			want = before
		}
		to := vfs.NewMem()
		require.NoError(t, restore(fs, to, 1, backup.RestoreOptions{}), how)
		restored := open(t, local.Options{Dirs: dirs(1), FS: to})
		got, lost := state(t, restored)
		require.Empty(t, lost, how)
		require.Equal(t, want, got, how)
		require.NoError(t, restored.Close())
		run(t, fs, s, backup.Options{PackSize: 100_000, Keep: 1})
		_, err = backup.Verify(background, backup.RestoreOptions{Dir: dir, FS: fs})
		require.NoError(t, err, how)
	}
	for fail := range 2 {
		for n, over := 1, false; !over; n++ {
			over = true
			count := 0
			disk := start()
			var clones []*vfs.MemFS
			fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
					return nil
				}
				if count++; count != n {
					return nil
				}
				over = false
				if fail == 1 {
					return errors.New("injected")
				}
				for _, percent := range []int{0, 100}[n%2:] {
					clones = append(clones, disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(uint64(n), 1))}))
				}
				return nil
			}))
			_, err := backup.Run(background, s, backup.Options{Dir: dir, FS: fs, PackSize: 100_000, Keep: 1})
			if fail == 0 {
				require.NoError(t, err)
			} else if !over {
				look(disk, fmt.Sprint("failed at operation ", n))
			}
			for i, clone := range clones {
				look(clone, fmt.Sprintf("cut off at operation %d, %d", n, i))
			}
		}
	}
}

// A restore that is cut off at any file operation leaves no store, one that says it is not whole, or a whole one.
func TestRestoreIsCutOffAnywhere(t *testing.T) {
	s, fs := fill(t, 6), vfs.NewMem()
	want, _ := state(t, s)
	run(t, fs, s, backup.Options{})
	for _, disks := range []int{1, 3} {
		mem := vfs.NewCrashableMem()
		var mu sync.Mutex
		n := 0
		outcomes := make(map[string]int)
		to := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			if n++; n%3 != 0 {
				return nil
			}
			clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: n % 101, RNG: rand.New(rand.NewPCG(uint64(n), 1))})
			o := local.Options{Dirs: dirs(disks), FS: clone, Existing: true, CacheSize: 8 << 20, ScrubRate: -1}
			half, err := local.Open(o)
			switch {
			case err == nil:
				got, lost := state(t, half)
				if !maps.Equal(want, got) || len(lost) > 0 {
					t.Errorf("operation %d: a store of %d things is served", n, len(got))
				}
				outcomes["whole"]++
				_ = half.Close()
			case strings.Contains(err.Error(), "interrupted"):
				outcomes["half"]++
			case strings.Contains(err.Error(), "there is no store"):
				outcomes["none"]++
			default:
				t.Errorf("operation %d: %v", n, err)
			}
			return nil
		}))
		require.NoError(t, restore(fs, to, disks, backup.RestoreOptions{}))
		t.Log(disks, "disks:", outcomes)
		require.Positive(t, outcomes["half"])
		require.Positive(t, outcomes["none"])
	}
}
