package store

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/check"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
)

// TestACheckMissesContentThatIsGone: of files that are gone or cut a check that reads nothing else finds what one that reads all finds.
func TestACheckMissesContentThatIsGone(t *testing.T) {
	for _, disks := range []int{1, 2, 3, 6} {
		t.Run(fmt.Sprint(disks), func(t *testing.T) {
			o := local.Options{CacheSize: 8 << 20, MemTableSize: 4 << 20}
			for i := range disks {
				o.Dirs = append(o.Dirs, fmt.Sprint("d", i))
			}
			mem := vfs.NewCrashableMem()
			o.FS = mem
			s, err := local.Open(o)
			require.NoError(t, err)
			fill(t, s)
			require.NoError(t, s.Close())
			rng := rand.New(rand.NewPCG(uint64(disks), 7))
			lost := 0
			for try := range 16 {
				fs := mem.CrashClone(vfs.CrashCloneCfg{})
				hit := rng.Perm(disks)[:min(try%4, disks)]
				for _, i := range hit {
					hurt(t, fs, path.Join(o.Dirs[i], "extents"), func(size int) int {
						if try%8 < 4 && len(hit) < disks { // of an extent that is on no disk a start tells
							return -1
						}
						return 4096 + rng.IntN(size-4096)
					})
				}
				plain, deep := checkStill(t, o, fs, false), checkStill(t, o, fs, true)
				require.Equal(t, deep, plain, "disks %v of %d", hit, disks)
				if len(hit) == 0 {
					require.Empty(t, plain)
				}
				lost += len(plain)
			}
			require.NotZero(t, lost)
		})
	}
}

// fill stores blobs whose chunks are striped, packed with others and packed alone.
func fill(t *testing.T, s engine.Store) {
	r := &rig{t: t, account: &account.Account{Name: "acct"}, Service: New(Options{Store: s})}
	require.NoError(t, r.CreateContainer(context.Background(), "acct", "con", &record.Container{}))
	for i, size := range []int{5_000, 20_000, 70_000, 300_001} {
		r.put(fmt.Sprint("alone", i), strings.Repeat("a", size))
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() { r.put(fmt.Sprint("together", i), strings.Repeat("t", 5000+1000*i)) })
	}
	all.Wait()
	r.create("pages", record.PageBlob, 1<<20)
	r.write("pages", 0, strings.Repeat("p", 64<<10))
	r.write("pages", 512, strings.Repeat("q", 512))
	require.NoError(t, r.Close())
}

// hurt removes the files of a folder, or cuts them to a length.
func hurt(t *testing.T, fs vfs.FS, dir string, keep func(size int) int) {
	names, err := fs.List(dir)
	require.NoError(t, err)
	slices.Sort(names)
	for _, name := range names {
		name = path.Join(dir, name)
		f, err := fs.Open(name)
		require.NoError(t, err)
		b, err := io.ReadAll(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.NoError(t, fs.Remove(name))
		n := keep(len(b))
		if n < 0 {
			continue
		}
		w, err := fs.Create(name, vfs.WriteCategoryUnspecified)
		require.NoError(t, err)
		_, err = w.Write(b[:n])
		require.NoError(t, err)
		require.NoError(t, w.Close())
	}
}

// checkStill returns what a check finds, by blob and chunk.
func checkStill(t *testing.T, o local.Options, fs vfs.FS, deep bool) (found []string) {
	o.FS, o.Still = fs, true
	s, err := local.Open(o)
	require.NoError(t, err)
	rep, err := check.Check(context.Background(), s, check.Options{Deep: deep})
	require.NoError(t, err)
	for _, f := range rep.Findings {
		require.Equal(t, check.BadContent, f.Kind)
		found = append(found, f.Where+": "+f.Detail[:len("chunk ")+48])
	}
	slices.Sort(found)
	require.NoError(t, s.Close())
	return slices.Compact(found)
}

// known is a store of which a scrub knows damage.
type known struct{ check.Store }

func (k known) Health() engine.Health {
	h := k.Store.Health()
	h.Scrub.Damaged = []engine.Damage{{What: "chunk 17", Names: []string{"acct/con/a"}}, {What: "meta/000001.sst"}}
	h.Scrub.DamagedAll = 3
	return h
}

func TestACheckTellsWhatAScrubFound(t *testing.T) {
	r := everyKind(t)
	rep, err := check.Check(context.Background(), known{r.store.(check.Store)}, check.Options{})
	require.NoError(t, err)
	require.EqualValues(t, 3, rep.Found)
	require.Equal(t, "acct/con/a", rep.Findings[0].Where)
	require.Equal(t, check.Damaged, rep.Findings[1].Kind)
	require.Equal(t, "meta/000001.sst", rep.Findings[1].Where)
}

// TestACheckSeesThroughOpenFiles: what a server reads from files that are deleted is not on the disks.
func TestACheckSeesThroughOpenFiles(t *testing.T) {
	o := local.Options{Dirs: []string{"d0"}, FS: vfs.NewMem(), CacheSize: 8 << 20, MemTableSize: 4 << 20}
	s, err := local.Open(o)
	require.NoError(t, err)
	defer s.Close()
	fill(t, s)
	rep, err := check.Check(context.Background(), s, check.Options{Deep: true})
	require.NoError(t, err)
	require.Empty(t, rep.Findings)
	hurt(t, o.FS, "d0/extents", func(int) int { return -1 })
	for _, deep := range []bool{false, true} {
		rep, err := check.Check(context.Background(), s, check.Options{Deep: deep})
		require.NoError(t, err)
		require.NotEmpty(t, rep.Findings)
	}
}
