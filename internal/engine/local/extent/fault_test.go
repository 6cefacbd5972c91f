package extent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
)

// fault makes operations of some kinds fail on some disks while it is on.
type fault struct {
	mu    sync.Mutex
	kinds map[errorfs.OpKind]error
	disks []string // directories; none means nowhere
	hits  int
	calls int
}

func (f *fault) set(err error, disks []string, kinds ...errorfs.OpKind) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.disks, f.kinds, f.hits, f.calls = disks, map[errorfs.OpKind]error{}, 0, 0
	for _, k := range kinds {
		f.kinds[k] = err
	}
}

func (f *fault) MaybeError(op errorfs.Op) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.disks {
		if err := f.kinds[op.Kind]; err != nil && strings.HasPrefix(op.Path, d+"/") {
			f.hits++
			return err
		}
	}
	return nil
}

func (f *fault) String() string { return "fault" }

var errDisk = fmt.Errorf("the disk says no: %w", syscall.EIO)

func putErr(s *Store, seed uint64, n int64) (engine.Ref, error) {
	c, err := s.Put(context.Background(), bytes.NewReader(pattern(seed, n)), n)
	return c.Ref, err
}

// TestADiskFailsWhileWriting: a failed write or sync is not tried again. Writes go on while k disks are left, and
// what was acknowledged is there whatever the failed disk kept.
func TestADiskFailsWhileWriting(t *testing.T) {
	kinds := map[string]errorfs.OpKind{"write": errorfs.OpFileWriteAt, "sync": errorfs.OpFileSyncData}
	for name, kind := range kinds {
		for _, w := range []struct{ k, m int }{{1, 0}, {1, 1}, {2, 2}, {4, 2}} {
			t.Run(fmt.Sprintf("%s/%d+%d", name, w.k, w.m), func(t *testing.T) {
				n := w.k + w.m
				mem := vfs.NewCrashableMem()
				inj := &fault{}
				opts := options(w.k, w.m, disksOn(errorfs.Wrap(mem, inj), n))
				s := open(t, opts)
				acked := map[engine.Ref]uint64{}
				for i, size := range []int64{300_000, 100, 70_000} {
					acked[put(t, s, pattern(uint64(i), size))] = uint64(i)
				}
				for failed := range n {
					s.work.idle()
					inj.set(errDisk, []string{opts.Disks[failed].Dir}, kind)
					for i, size := range []int64{500_000, 20_000, 64 << 10} {
						seed := uint64(100*failed + i + 10)
						ref, err := putErr(s, seed, size)
						if failed < w.m {
							require.NoError(t, err)
							acked[ref] = seed
						} else {
							require.ErrorIs(t, err, engine.ErrUnavailable)
						}
					}
					require.LessOrEqual(t, inj.hits, 1, "a failed disk was asked again")
					h := s.Health()
					require.False(t, h.Disks[failed].OK)
					require.Contains(t, h.Disks[failed].Detail, "the disk says no")
					require.True(t, h.Degraded)
					require.Equal(t, failed < w.m, h.Writable)
					if failed >= w.m {
						break
					}
				}
				inj.set(nil, nil)
				for ref, seed := range acked {
					requireContent(t, s, ref, pattern(seed, Size(ref)))
				}
				// The power goes, and with it what was not synced.
				opts.Disks = disksOn(mem.CrashClone(vfs.CrashCloneCfg{}), n)
				s = open(t, opts)
				s.work.idle()
				for ref, seed := range acked {
					requireContent(t, s, ref, pattern(seed, Size(ref)))
				}
				require.Zero(t, s.Rebuilt(), "the start did not make good what the failed disk lacks")
			})
		}
	}
}

// TestADiskIsFull: nothing is acknowledged, reads go on, and so do writes when there is room again.
func TestADiskIsFull(t *testing.T) {
	for name, kinds := range map[string][]errorfs.OpKind{
		"write":  {errorfs.OpFileWriteAt},
		"sync":   {errorfs.OpFileSyncData},
		"create": {errorfs.OpCreate, errorfs.OpFileWriteAt},
	} {
		forWidths(t, func(t *testing.T, k, m int) {
			mem := vfs.NewCrashableMem()
			inj := &fault{}
			opts := options(k, m, disksOn(errorfs.Wrap(mem, inj), k+m))
			s := open(t, opts)
			acked := map[engine.Ref]uint64{}
			for i, size := range []int64{300_000, 100} {
				acked[put(t, s, pattern(uint64(i), size))] = uint64(i)
			}
			if name == "create" {
				require.NoError(t, s.Seal(s.Extents()[0].ID))
			}
			inj.set(fmt.Errorf("write: %w", syscall.ENOSPC), []string{opts.Disks[0].Dir}, kinds...)
			for i, size := range []int64{500_000, 20_000, 64 << 10} {
				ref, err := putErr(s, uint64(10+i), size)
				if err == nil {
					// A row that has no part on the full disk.
					acked[ref] = uint64(10 + i)
					require.Greater(t, k, 1)
					continue
				}
				require.ErrorIs(t, err, engine.ErrNoSpace, name)
			}
			require.True(t, s.Health().Writable, "room can be made")
			inj.set(nil, nil)
			for i, size := range []int64{500_000, 20_000} {
				acked[put(t, s, pattern(uint64(20+i), size))] = uint64(20 + i)
			}
			for ref, seed := range acked {
				requireContent(t, s, ref, pattern(seed, Size(ref)))
			}
			s = open(t, options(k, m, disksOn(mem.CrashClone(vfs.CrashCloneCfg{}), k+m)))
			for ref, seed := range acked {
				requireContent(t, s, ref, pattern(seed, Size(ref)))
			}
		})
	}
}

// TestAShortageIsNoDisksFault: what fails for want of descriptors or memory fails for now. No disk is left out, nothing is repaired,
// and all is well afterwards.
func TestAShortageIsNoDisksFault(t *testing.T) {
	for _, cause := range []error{syscall.EMFILE, syscall.ENOMEM} {
		for _, kinds := range [][]errorfs.OpKind{
			{errorfs.OpCreate}, {errorfs.OpFileWriteAt}, {errorfs.OpFileSyncData}, {errorfs.OpOpen}, {errorfs.OpFileReadAt}, {errorfs.OpOpen, errorfs.OpCreate},
		} {
			forWidths(t, func(t *testing.T, k, m int) {
				mem := vfs.NewCrashableMem()
				inj := &fault{}
				opts := options(k, m, disksOn(errorfs.Wrap(mem, inj), k+m))
				var all []string
				for _, d := range opts.Disks {
					all = append(all, d.Dir)
				}
				s := open(t, opts)
				acked := map[engine.Ref]uint64{}
				for i, size := range []int64{300_000, 100} {
					acked[put(t, s, pattern(uint64(i), size))] = uint64(i)
				}
				require.NoError(t, s.Seal(s.Extents()[0].ID))
				s.work.idle()
				s.files.forgetAll(s)
				if kinds[0] == errorfs.OpFileWriteAt || kinds[0] == errorfs.OpFileSyncData {
					acked[put(t, s, pattern(2, 100))] = 2 // an extent is open
				}
				inj.set(fmt.Errorf("open: %w", cause), all, kinds...)
				for i, size := range []int64{500_000, 20_000} {
					if ref, err := putErr(s, uint64(10+i), size); err == nil {
						acked[ref] = uint64(10 + i)
					} else {
						require.ErrorIs(t, err, engine.ErrBusy, "put, %v", kinds)
					}
				}
				for ref, seed := range acked {
					got, err := read(s, ref, 0, Size(ref))
					if err == nil {
						require.True(t, bytes.Equal(pattern(seed, Size(ref)), got))
					} else {
						require.ErrorIs(t, err, engine.ErrBusy, "get, %v", kinds)
					}
				}
				require.False(t, s.Health().Degraded)
				inj.set(nil, nil)
				for i, size := range []int64{500_000, 20_000} {
					acked[put(t, s, pattern(uint64(20+i), size))] = uint64(20 + i)
				}
				for ref, seed := range acked {
					requireContent(t, s, ref, pattern(seed, Size(ref)))
				}
				require.Zero(t, s.Rebuilt())
				s = open(t, options(k, m, disksOn(mem.CrashClone(vfs.CrashCloneCfg{}), k+m)))
				for ref, seed := range acked {
					requireContent(t, s, ref, pattern(seed, Size(ref)))
				}
			})
		}
	}
}

// forgetAll closes the column files that are open for reading.
func (t *handles) forgetAll(s *Store) {
	for _, x := range s.extents {
		for c := range x.cols {
			if col := x.cols[c].Load(); col != nil && col.pinned == nil {
				t.forget(col)
			}
		}
	}
}

// TestAReadFails: an error of the disk is as good as a bad block.
func TestAReadFails(t *testing.T) {
	for _, w := range widths {
		inj := &fault{}
		opts := options(w.k, w.m, disksOn(errorfs.Wrap(vfs.NewMem(), inj), w.k+w.m))
		s := open(t, opts)
		ref := put(t, s, pattern(1, 300_000))
		inj.set(errDisk, []string{opts.Disks[1%len(opts.Disks)].Dir}, errorfs.OpFileReadAt)
		got, err := read(s, ref, 0, 300_000)
		if w.m == 0 {
			require.ErrorIs(t, err, engine.ErrCorrupt)
			continue
		}
		require.NoError(t, err)
		require.True(t, bytes.Equal(pattern(1, 300_000), got))
	}
}

// TestASenderThatFails leaves nothing behind that anybody would meet.
func TestASenderThatFails(t *testing.T) {
	forWidths(t, func(t *testing.T, k, m int) {
		s := open(t, options(k, m, disksOn(vfs.NewMem(), k+m)))
		broken := errors.New("the connection is gone")
		for _, size := range []int64{100, 64 << 10, 300_000} {
			for _, sent := range []int64{0, size / 2, size - 1} {
				_, err := s.Put(context.Background(), bytes.NewReader(pattern(1, sent)), size)
				require.ErrorIs(t, err, io.ErrUnexpectedEOF)
				_, err = s.Put(context.Background(), io.MultiReader(bytes.NewReader(pattern(1, sent)), failing{broken}), size)
				require.ErrorIs(t, err, broken)
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := s.Put(ctx, bytes.NewReader(pattern(1, 100)), 100)
		require.ErrorIs(t, err, context.Canceled)
		ref := put(t, s, pattern(2, 100))
		requireContent(t, s, ref, pattern(2, 100))
		require.NoError(t, s.Seal(ID(ref)))
		s.work.idle()
		for _, info := range s.Extents() {
			require.False(t, info.Open, "a writer was not counted out")
		}
		// Blocks that were written before the sender failed are sound garbage, cut off where it failed.
		rep, err := s.Verify(context.Background(), ID(ref))
		require.NoError(t, err)
		require.Empty(t, rep.Bad)
	})
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestASenderThatStalls holds up nobody else, also when its first rows are written already.
func TestASenderThatStalls(t *testing.T) {
	forWidths(t, func(t *testing.T, k, m int) {
		s := open(t, options(k, m, disksOn(vfs.NewMem(), k+m)))
		const size = 1 << 20
		data := pattern(1, size)
		pr, pw := io.Pipe()
		var ref engine.Ref
		var wg sync.WaitGroup
		wg.Go(func() {
			c, err := s.Put(context.Background(), pr, size)
			if err != nil {
				t.Error(err)
			}
			ref = c.Ref
		})
		_, err := pw.Write(data[:size/2])
		require.NoError(t, err)
		for i, n := range []int64{10, 64 << 10, 200_000} {
			requireContent(t, s, put(t, s, pattern(uint64(i), n)), pattern(uint64(i), n))
		}
		id := s.Extents()[0].ID
		require.NoError(t, s.Seal(id))
		require.True(t, s.Extents()[0].Open, "its writer is not done")
		require.Error(t, s.Drop(id))
		later := put(t, s, pattern(9, 1000))
		require.NotEqual(t, id, ID(later))
		_, err = pw.Write(data[size/2:])
		require.NoError(t, err)
		wg.Wait()
		require.Equal(t, id, ID(ref))
		requireContent(t, s, ref, data)
		s.work.idle()
		require.True(t, s.Extents()[0].Sealed)
	})
}

// TestDropWhileReading: who opened a chunk reads it to its end; then the files go.
func TestDropWhileReading(t *testing.T) {
	forWidths(t, func(t *testing.T, k, m int) {
		fs := vfs.NewMem()
		opts := options(k, m, disksOn(fs, k+m))
		s := open(t, opts)
		data := pattern(1, 1<<20)
		ref := put(t, s, data)
		require.NoError(t, s.Seal(ID(ref)))
		put(t, s, pattern(2, 10)) // a newer extent
		s.work.idle()
		r, err := s.Open(context.Background(), ref, 0, int64(len(data)))
		require.NoError(t, err)
		require.NoError(t, s.Drop(ID(ref)))
		_, err = s.Open(context.Background(), ref, 0, 1)
		require.ErrorIs(t, err, engine.ErrCorrupt)
		got, err := io.ReadAll(onlyReader{r})
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, got))
		require.NoError(t, r.Close())
		require.NoError(t, r.Close(), "a second Close does nothing")
		for _, path := range columnPaths(t, opts.Disks, ID(ref), k+m) {
			require.Empty(t, path, "the file is still there")
		}
		_, err = r.Read(make([]byte, 1))
		require.Error(t, err)
	})
}

// TestFilesAreKeptOpenWithinBounds, however many extents there are.
func TestFilesAreKeptOpenWithinBounds(t *testing.T) {
	count := &countingFS{FS: vfs.NewMem()}
	opts := options(2, 1, disksOn(count, 3))
	opts.ExtentSize = 4096
	s := open(t, opts)
	s.files.limit = 10
	refs := make([]engine.Ref, 40)
	for i := range refs {
		refs[i] = put(t, s, pattern(uint64(i), 100_000)) // an extent each
	}
	s.work.idle()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range refs {
				got, err := read(s, refs[i], 0, 100_000)
				if err != nil || !bytes.Equal(got, pattern(uint64(i), 100_000)) {
					t.Errorf("chunk %d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
	require.LessOrEqual(t, count.n.Load(), int64(10+3), "10 idle ones, 3 being appended to")
	require.Len(t, s.Extents(), 40)
	require.NoError(t, s.Close())
	require.Zero(t, count.n.Load(), "files left open")
}

// countingFS counts files opened and not closed.
type countingFS struct {
	vfs.FS
	n atomic.Int64
}

type countedFile struct {
	vfs.File
	fs *countingFS
}

func (fs *countingFS) count(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	fs.n.Add(1)
	return countedFile{f, fs}, nil
}

func (fs *countingFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.count(fs.FS.Create(name, c))
}

func (fs *countingFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	return fs.count(fs.FS.Open(name, opts...))
}

func (fs *countingFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return fs.count(fs.FS.OpenReadWrite(name, c, opts...))
}

func (fs *countingFS) OpenDir(name string) (vfs.File, error) { return fs.count(fs.FS.OpenDir(name)) }

func (f countedFile) Close() error {
	f.fs.n.Add(-1)
	return f.File.Close()
}

func TestAfterClose(t *testing.T) {
	s := open(t, options(1, 0, disksOn(vfs.NewMem(), 1)))
	ref := put(t, s, pattern(1, 3<<20))
	r, err := s.Open(context.Background(), ref, 0, 3<<20)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	_, err = s.Put(context.Background(), bytes.NewReader([]byte{1}), 1)
	require.ErrorIs(t, err, engine.ErrClosed)
	_, err = s.Open(context.Background(), ref, 0, 1)
	require.ErrorIs(t, err, engine.ErrClosed)
	_, err = io.Copy(io.Discard, r)
	require.ErrorIs(t, err, engine.ErrClosed)
	require.NoError(t, r.Close())
	require.ErrorIs(t, s.Drop(1), engine.ErrClosed)
	require.ErrorIs(t, s.Seal(1), engine.ErrClosed)
	_, err = s.Verify(context.Background(), 1)
	require.ErrorIs(t, err, engine.ErrClosed)
}

// TestOnPutComesBeforeTheExtentCanBeTakenForGarbage.
func TestOnPutComesBeforeTheExtentCanBeTakenForGarbage(t *testing.T) {
	var s *Store
	opts := options(1, 0, disksOn(vfs.NewMem(), 1))
	var named []engine.Ref
	opts.OnPut = func(ref engine.Ref) {
		named = append(named, ref)
		if err := s.Seal(ID(ref)); err != nil {
			t.Error(err)
		}
		for _, info := range s.Extents() {
			if info.ID == ID(ref) && !info.Open {
				t.Error("the extent is no longer open")
			}
		}
	}
	s = open(t, opts)
	a, b := put(t, s, pattern(1, 10)), put(t, s, pattern(2, 10))
	require.Equal(t, []engine.Ref{a, b}, named)
}
