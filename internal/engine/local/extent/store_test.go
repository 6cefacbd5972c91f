package extent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/crc64"
	"github.com/blobd/blobd/internal/engine/siphash"
)

var storeID = [16]byte{0xb1, 0x0b, 0xd0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}

// widths are the codes that the tests run over: one disk, a mirror, three disks, six.
var widths = []struct{ k, m int }{{1, 0}, {1, 1}, {2, 1}, {4, 2}}

// sizes are the boundaries of the shapes for those widths.
var sizes = []int64{1, 63, 64, 65, 1000, 4096, 16<<10 + 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 128 << 10, 128<<10 + 1, 200_000,
	256 << 10, 256<<10 + 1, 256<<10 + 65, 1 << 20, 1<<20 + 1, 3<<20 - 5, 8 << 20}

func forWidths(t *testing.T, fn func(t *testing.T, k, m int)) {
	for _, w := range widths {
		t.Run(fmt.Sprintf("%d+%d", w.k, w.m), func(t *testing.T) { fn(t, w.k, w.m) })
	}
}

// disksOn returns n directories of one file system.
func disksOn(fs vfs.FS, n int) []Disk {
	disks := make([]Disk, n)
	for i := range disks {
		disks[i] = Disk{Dir: fmt.Sprintf("disk%d", i), FS: fs, ID: [16]byte{0xd1, byte(i)}, OK: true}
	}
	return disks
}

// realDisks returns n directories of the real file system. Large files in memory are slow with the race detector.
func realDisks(t testing.TB, n int) []Disk {
	disks := disksOn(vfs.Default, n)
	dir := t.TempDir()
	for i := range disks {
		disks[i].Dir = filepath.Join(dir, disks[i].Dir)
	}
	return disks
}

var secret = siphash.Key{1: 42}

// tagAt is the tag of the frame at a place of the first extent.
func tagAt(c byte, off int) uint64 {
	return (&Store{opts: Options{Secret: secret}}).tag(1, int(c), int64(off))
}

func options(k, m int, disks []Disk) Options {
	return Options{Disks: disks, K: k, M: m, StoreID: storeID, Secret: secret, ExtentSize: 16 << 20, Logger: zap.NewNop()}
}

func open(t testing.TB, opts Options) *Store {
	t.Helper()
	s, err := Open(opts)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// pattern is content that differs everywhere and between seeds.
func pattern(seed uint64, n int64) []byte {
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	b := make([]byte, n)
	rng.Read(b)
	return b
}

func put(t testing.TB, s *Store, data []byte) engine.Ref {
	t.Helper()
	c, err := s.Put(context.Background(), bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	require.Equal(t, int64(len(data)), c.Size)
	require.Equal(t, crc64.Sum(data), c.CRC64)
	require.Equal(t, c.Size, Size(c.Ref))
	return c.Ref
}

func read(s *Store, ref engine.Ref, off, n int64) ([]byte, error) {
	r, err := s.Open(context.Background(), ref, off, n)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(onlyReader{r})
	return b, errors.Join(err, r.Close())
}

// onlyReader hides WriteTo.
type onlyReader struct{ io.Reader }

func requireContent(t testing.TB, s *Store, ref engine.Ref, want []byte) {
	t.Helper()
	got, err := read(s, ref, 0, int64(len(want)))
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got), "other bytes than were put")
}

func TestWhatWasPutReadsBack(t *testing.T) {
	forWidths(t, func(t *testing.T, k, m int) {
		const seed = 11
		t.Logf("seed %d", seed)
		rng := rand.New(rand.NewPCG(seed, 0))
		opts := options(k, m, realDisks(t, k+m))
		s := open(t, opts)
		refs := make([]engine.Ref, len(sizes))
		check := func() {
			for i, n := range sizes {
				want := pattern(uint64(i), n)
				requireContent(t, s, refs[i], want)
				for range 8 {
					off := rng.Int64N(n)
					length := rng.Int64N(n - off + 1)
					got, err := read(s, refs[i], off, length)
					require.NoError(t, err)
					require.True(t, bytes.Equal(want[off:off+length], got), "bytes %d+%d of %d", off, length, n)

					var w bytes.Buffer
					r, err := s.Open(context.Background(), refs[i], off, length)
					require.NoError(t, err)
					_, err = r.(io.WriterTo).WriteTo(&w)
					require.NoError(t, err)
					require.NoError(t, r.Close())
					require.True(t, bytes.Equal(want[off:off+length], w.Bytes()), "bytes %d+%d of %d", off, length, n)
				}
			}
		}
		for i, n := range sizes {
			refs[i] = put(t, s, pattern(uint64(i), n))
		}
		check()
		require.NoError(t, s.Close())
		s = open(t, opts)
		check()
		require.Zero(t, s.Rebuilt(), "nothing was damaged")
		s.work.idle()
		for _, info := range s.Extents() {
			require.True(t, info.Sealed, "extent %d", info.ID)
			rep, err := s.Verify(context.Background(), info.ID)
			require.NoError(t, err)
			require.Empty(t, rep.Bad)
			require.NotZero(t, rep.Rows)
		}
	})
}

func TestWritersAtTheSameTime(t *testing.T) {
	forWidths(t, func(t *testing.T, k, m int) {
		s := open(t, options(k, m, realDisks(t, k+m)))
		var wg sync.WaitGroup
		for w := range 16 {
			wg.Go(func() {
				for i := range 12 {
					n := sizes[(w*5+i*7)%(len(sizes)-2)]
					data := pattern(uint64(w*100+i), n)
					c, err := s.Put(context.Background(), bytes.NewReader(data), n)
					if err != nil {
						t.Error(err)
						return
					}
					got, err := read(s, c.Ref, 0, n)
					if err != nil || !bytes.Equal(got, data) || c.CRC64 != crc64.Sum(data) {
						t.Errorf("%d bytes: other bytes than were put (%v)", n, err)
					}
				}
			})
		}
		wg.Wait()
		require.Zero(t, s.Rebuilt())
	})
}

// TestInfoTellsHowMuchWasPut: also after a restart, and after a crash once what it left has been sealed. Who looks for garbage
// compares it with what is owned.
func TestInfoTellsHowMuchWasPut(t *testing.T) {
	forWidths(t, func(t *testing.T, k, m int) {
		mem := vfs.NewCrashableMem()
		opts := options(k, m, disksOn(mem, k+m))
		s := open(t, opts)
		total := int64(0)
		for i, n := range []int64{1, 5000, 64 << 10, 70_000, 300_001} {
			put(t, s, pattern(uint64(i), n))
			total += n
		}
		require.Equal(t, total, s.Extents()[0].Data)

		crashed := open(t, options(k, m, disksOn(mem.CrashClone(vfs.CrashCloneCfg{}), k+m)))
		require.GreaterOrEqual(t, crashed.Extents()[0].Data, total)
		crashed.work.idle()
		require.Equal(t, total, crashed.Extents()[0].Data)

		require.NoError(t, s.Seal(1))
		s.work.idle()
		require.NoError(t, s.Close())
		s = open(t, opts)
		require.Equal(t, total, s.Extents()[0].Data, "the footer tells")
	})
}
