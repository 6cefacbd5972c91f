package diskspace

import (
	"bytes"
	"context"
	"io"
	"math"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
)

// diskFS is a disk of which so much is free: reserves take some of it.
type diskFS struct {
	vfs.FS
	free, files int64
	reserve     int64 // bytes that a reserve takes
	noSpace     bool  // files meet the end of the disk while the reserve is there
}

func (fs *diskFS) there() bool {
	_, err := fs.Stat("d/" + ReserveName)
	return err == nil
}

func (fs *diskFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	free := fs.free
	if fs.there() {
		free -= fs.reserve
	}
	return vfs.DiskUsage{AvailBytes: uint64(max(0, free)), TotalBytes: 1 << 30}, nil
}

func (fs *diskFS) FreeFiles(string) (int64, bool) { return fs.files, true }

func (fs *diskFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if fs.noSpace && fs.there() {
		return nil, syscall.ENOSPC
	}
	return fs.FS.Create(name, c)
}

// open watches a disk of 1 GiB that is all free, and has its reserve.
func open(t *testing.T) (*Watch, *diskFS, *int) {
	fs := &diskFS{FS: vfs.NewMem(), free: 1 << 30, files: math.MaxInt64}
	require.NoError(t, fs.MkdirAll("d", 0o700))
	calls := new(int)
	w := Open(Options{
		FS: fs, Dirs: []string{"d"}, Reserves: FindReserves(fs, []string{"d"}, zap.NewNop()), Logger: zap.NewNop(), MemTable: 1 << 20,
		OnFull: func() { *calls++ }, Unflushed: func() int64 { return 0 }, Ending: make(chan struct{}),
	})
	fs.reserve = w.reserve
	w.Check()
	require.True(t, fs.there())
	require.False(t, w.Short())
	return w, fs, calls
}

// What writers have yet to take is counted beside what is free: those under way never take together what is kept free.
func TestAdmissionCountsWhatIsUnderWay(t *testing.T) {
	w, fs, calls := open(t)
	fs.free = w.Keep + w.reserve + 10<<20
	w.Look()
	for range 10 {
		require.NoError(t, w.Admit(1<<20))
	}
	require.ErrorIs(t, w.Admit(1), engine.ErrNoSpace)
	require.NoError(t, w.Full(), "the disk has space: those under way may take less than they may")
	require.True(t, w.Short())
	require.Equal(t, 1, *calls)
	w.Done(1 << 20)
	w.Look()
	require.NoError(t, w.Admit(1<<20), "what is done is in what the disk tells")
	require.ErrorIs(t, w.Admit(1), engine.ErrNoSpace)
}

// The limits one after the other, as a disk fills; and none is passed back and forth.
func TestLimitsInTheirOrder(t *testing.T) {
	w, fs, _ := open(t)
	left := func(free int64) {
		fs.free = free
		if fs.there() {
			fs.free += fs.reserve
		}
		w.Check()
	}
	left(w.Keep)
	require.NoError(t, w.Full())
	left(w.Keep - 1)
	require.ErrorIs(t, w.Full(), engine.ErrNoSpace)
	require.ErrorIs(t, w.Admit(1), engine.ErrNoSpace)
	require.Nil(t, w.AdmitFreeing(1))
	left(w.Keep + w.Keep/16)
	require.ErrorIs(t, w.Full(), engine.ErrNoSpace, "more than that is to be free before writers are admitted again")
	left(w.Spare)
	require.True(t, w.Fits(0))
	require.True(t, fs.there())
	left(w.low - 1)
	require.False(t, fs.there(), "the reserve is given up")
	require.False(t, w.Exhausted())
	left(w.Last - 1)
	require.True(t, w.Exhausted())
	p := w.AdmitFreeing(1)
	require.ErrorIs(t, p.Why, engine.ErrNoSpace)
	left(w.Keep)
	require.False(t, w.Exhausted())
	require.True(t, w.Wait(context.Background(), p), "it has passed")
	left(w.Keep + w.reserve + w.Keep)
	require.True(t, fs.there(), "there is plenty: the reserve is back")
	require.NoError(t, w.Full())
}

func TestInodesAreSpace(t *testing.T) {
	w, fs, _ := open(t)
	for _, c := range []struct {
		files                              int64
		admits, compacts, starts, exhausts bool
	}{{KeepFiles, true, true, true, false}, {KeepFiles - 1, false, true, true, false}, {StartFiles - 1, false, true, false, false},
		{spareFiles - 1, false, false, false, false}, {lastFiles - 1, false, false, false, true}} {
		fs.files = c.files
		w.Look()
		require.Equal(t, c.admits, w.Admit(0) == nil, c.files)
		require.Equal(t, c.compacts, w.Fits(0), c.files)
		require.Equal(t, c.starts, w.Lacks(0) == nil, c.files)
		require.Equal(t, c.exhausts, w.Exhausted(), c.files)
	}
}

// A file of metadata that meets the end of the disk has the reserve; one of content is refused.
func TestReserveIsForMetadata(t *testing.T) {
	_, fs, _ := open(t)
	reserves := FindReserves(fs, []string{"d"}, zap.NewNop())
	over := reserves.Beneath(fs, "content")
	require.NoError(t, fs.MkdirAll("d/content", 0o700))
	require.NoError(t, fs.MkdirAll("d/meta", 0o700))
	fs.noSpace = true
	_, err := over.Create("d/content/1", vfs.WriteCategoryUnspecified)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.True(t, fs.there())
	f, err := over.Create("d/meta/1", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	require.False(t, fs.there())
	require.NoError(t, f.Close())
}

// A charge goes as the chunk is written, a lag behind its reading, and what is left of it with the end.
func TestChargeGoesWithTheWriting(t *testing.T) {
	w, _, _ := open(t)
	require.NoError(t, w.Admit(2000))
	c := w.Charge(bytes.NewReader(make([]byte, 1000)), 1000, 100, 2000)
	for _, active := range []int64{2000, 1800, 1600} {
		_, err := io.ReadFull(c, make([]byte, 100))
		require.NoError(t, err)
		require.Equal(t, active, w.active.Load())
	}
	c.Done()
	require.Zero(t, w.active.Load())
}
