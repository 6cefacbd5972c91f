package local_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
)

// faulty runs a script on a store whose file operations fail as told, and returns what each name may hold by then.
func faulty(s *local.Store, seed uint64) (want map[string][]object, failures int) {
	want = map[string][]object{}
	rng := rand.New(rand.NewPCG(seed, 9))
	for range 30 {
		name := fmt.Sprintf("f%d/", rng.IntN(6))
		o := object{seed: rng.Uint64() | 1}
		var err error
		switch rng.IntN(5) {
		case 0, 1:
			o.sizes[0] = rng.IntN(engine.MaxInline)
			err = store(s, name, &o)
		case 2, 3:
			o.sizes = [3]int{1 + rng.IntN(100_000), 1 + rng.IntN(3000)}
			if err = put(s, &o); err == nil {
				err = store(s, name, &o)
			}
			s.Forget(o.refs[:]...)
		default:
			o = object{}
			err = remove(s, name)
		}
		if want[name] == nil {
			want[name] = []object{{}}
		}
		if err == nil {
			want[name] = []object{o}
		} else {
			failures++
			want[name] = append(want[name], o)
		}
	}
	return want, failures
}

// faultStep makes the steps between the operations that fail grow: each of the first is tried, and fewer and fewer of those that
// follow.
var faultStep int64 = 16

// TestFailingFileOperations lets one file operation after another fail, for once or for good, with a full disk or a broken one.
// What was acknowledged is there at the next start, what is read meanwhile is right, and nothing hangs or ends the process.
func TestFailingFileOperations(t *testing.T) {
	const seed = 5
	t.Logf("seed %d", seed)
	for _, tt := range []struct {
		disks int
		only  string // directory whose operations fail; empty: all
		none  bool   // no operation of the store may fail for it
	}{{1, "", false}, {3, "", false}, {3, "d0", true}, {3, "d1", true}} {
		for _, cause := range []error{syscall.ENOSPC, syscall.EIO, io.ErrShortWrite} {
			for _, forever := range []bool{false, true} {
				if forever && cause == io.ErrShortWrite {
					continue
				}
				t.Run(fmt.Sprintf("%d disks %s %v forever=%v", tt.disks, tt.only, cause, forever), func(t *testing.T) {
					t.Parallel()
					for at := int64(0); ; at += 1 + at/faultStep {
						if !failAt(t, tt.disks, tt.only, at, forever, cause, tt.none && !errors.Is(cause, syscall.ENOSPC)) || t.Failed() {
							return
						}
					}
				})
			}
		}
	}
}

// failAt runs the script with a failure of the writing operation with the given number, or of it and all that follow. It reports
// whether there was such an operation.
func failAt(t *testing.T, disks int, only string, at int64, forever bool, cause error, none bool) bool {
	mem := vfs.NewCrashableMem()
	var armed atomic.Bool
	var count atomic.Int64
	o := small(disks)
	hit := func(path string) bool {
		if !armed.Load() || !strings.HasPrefix(path, only) {
			return false
		}
		n := count.Add(1) - 1
		return n == at || forever && n > at
	}
	if cause == io.ErrShortWrite {
		o.FS = shortFS{mem, hit}
	} else {
		o.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose && hit(op.Path) {
				return cause
			}
			return nil
		}))
	}
	s, err := local.Open(o)
	require.NoError(t, err)
	armed.Store(true)
	want, failures := faulty(s, 5)
	if none && failures > 0 {
		t.Errorf("operation %d: %d failures though two disks are well", at, failures)
	}
	reads(t, s, want, at, func(error) bool { return true })
	_ = s.Close() // what it has to say of the failure is not asked
	armed.Store(false)
	o.FS = mem.CrashClone(vfs.CrashCloneCfg{})
	s, err = local.Open(o)
	if err != nil {
		t.Errorf("operation %d: open again: %v", at, err)
		return false
	}
	if err := checkCrash(s, want, 16); err != nil {
		t.Errorf("operation %d: after a start: %v", at, err)
	}
	require.NoError(t, s.Close())
	return count.Load() > at
}

// shortFS is a file system in which a write may end half-way.
type shortFS struct {
	vfs.FS
	hit func(path string) bool
}

func (s shortFS) wrap(f vfs.File, err error, name string) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return shortFile{f, s.hit, name}, nil
}

func (s shortFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.Create(name, category)
	return s.wrap(f, err, name)
}

func (s shortFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := s.FS.OpenReadWrite(name, category, opts...)
	return s.wrap(f, err, name)
}

func (s shortFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.ReuseForWrite(oldname, newname, category)
	return s.wrap(f, err, newname)
}

type shortFile struct {
	vfs.File
	hit  func(path string) bool
	name string
}

func (f shortFile) Write(p []byte) (int, error) {
	if !f.hit(f.name) {
		return f.File.Write(p)
	}
	n, err := f.File.Write(p[:len(p)/2])
	return n, errors.Join(err, io.ErrShortWrite)
}

func (f shortFile) WriteAt(p []byte, off int64) (int, error) {
	if !f.hit(f.name) {
		return f.File.WriteAt(p, off)
	}
	n, err := f.File.WriteAt(p[:len(p)/2], off)
	return n, errors.Join(err, io.ErrShortWrite)
}

// TestAFailedSyncIsNotTriedAgain: after a sync of the log failed, what it held may be lost even if another one succeeds.
func TestAFailedSyncIsNotTriedAgain(t *testing.T) {
	mem := vfs.NewCrashableMem()
	var fail atomic.Bool
	var syncs atomic.Int64
	o := small(1)
	o.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if fail.Load() && strings.HasSuffix(op.Path, ".log") && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) {
			syncs.Add(1)
			return syscall.EIO
		}
		return nil
	}))
	s, err := local.Open(o)
	require.NoError(t, err)
	before := object{seed: 1, sizes: [3]int{100}}
	require.NoError(t, store(s, "before/", &before))
	fail.Store(true)
	lost := object{seed: 2, sizes: [3]int{100}}
	assert.ErrorIs(t, store(s, "lost/", &lost), engine.ErrUnavailable)
	after := object{seed: 3, sizes: [3]int{100}}
	assert.ErrorIs(t, store(s, "after/", &after), engine.ErrUnavailable)
	_, err = s.Put(background, strings.NewReader("a"), 1)
	assert.ErrorIs(t, err, engine.ErrUnavailable)
	assert.Equal(t, int64(1), syncs.Load())
	h := s.Health()
	assert.False(t, h.Writable)
	assert.NotEmpty(t, h.Detail)
	assert.NoError(t, s.View(background, []byte("before/"), func(r engine.Reader) error {
		got, err := load(r, "before/")
		assert.Equal(t, uint64(1), got.seed, "what is durable is still read")
		return err
	}))
	assert.Error(t, s.View(background, []byte("lost/"), func(r engine.Reader) error {
		_, err := load(r, "lost/")
		return err
	}), "what may be lost is not shown")
	_ = s.Close() // it tells of the failure

	o.FS = mem.CrashClone(vfs.CrashCloneCfg{})
	s, err = local.Open(o)
	require.NoError(t, err)
	found, err := consistent(s)
	require.NoError(t, err)
	assert.Len(t, found, 1)
	require.NoError(t, s.Close())
}

// openHeld opens a store whose next sync of the log sends to reached and waits until release is closed.
func openHeld(t *testing.T) (s *local.Store, reached <-chan struct{}, release chan<- struct{}) {
	var hold atomic.Bool
	at, on := make(chan struct{}, 1), make(chan struct{})
	o := small(1)
	o.FS = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if strings.HasSuffix(op.Path, ".log") && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) && hold.CompareAndSwap(true, false) {
			at <- struct{}{}
			<-on
		}
		return nil
	}))
	s, err := local.Open(o)
	require.NoError(t, err)
	hold.Store(true)
	return s, at, on
}

// TestAReaderWaitsForDurability: a view on a partition does not return what is not yet durable.
func TestAReaderWaitsForDurability(t *testing.T) {
	s, reached, release := openHeld(t)
	wrote, read, other := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	obj := object{seed: 1, sizes: [3]int{10}}
	go func() { wrote <- store(s, "p/", &obj) }()
	<-reached // its sync is under way; Pebble may show it only a moment later
	for shown := false; !shown; runtime.Gosched() {
		require.NoError(t, s.View(background, []byte("another partition/"), func(r engine.Reader) error {
			got, err := load(r, "p/")
			shown = got.seed == 1
			return err
		}))
	}
	seen := make(chan uint64, 1)
	go func() {
		read <- s.View(background, []byte("p/"), func(r engine.Reader) error {
			got, err := load(r, "p/")
			seen <- got.seed
			return err
		})
	}()
	assert.Equal(t, uint64(1), <-seen, "it sees the transaction")
	go func() {
		other <- s.View(background, []byte("another partition/"), func(r engine.Reader) error { return nil })
	}()
	require.NoError(t, <-other, "a view of another partition does not wait")
	select {
	case <-read:
		t.Fatal("the view returned before what it saw was durable")
	case <-wrote:
		t.Fatal("the transaction returned before it was durable")
	default:
	}
	close(release)
	require.NoError(t, <-wrote)
	require.NoError(t, <-read)
	require.NoError(t, s.Close())
}

func TestCollectMovesWhatLives(t *testing.T) {
	o := small(3)
	o.FS = vfs.NewMem()
	s, err := local.Open(o)
	require.NoError(t, err)
	for i := range 40 {
		obj := object{seed: uint64(i + 1), sizes: [3]int{60_000}}
		require.NoError(t, put(s, &obj))
		require.NoError(t, store(s, fmt.Sprintf("c%02d/", i), &obj))
		s.Forget(obj.refs[0])
	}
	for i := range 40 {
		if i%8 != 0 {
			require.NoError(t, remove(s, fmt.Sprintf("c%02d/", i)))
		}
	}
	before := usage(t, o.FS, "extents")
	for range 3 { // chains of forwards too
		require.NoError(t, s.Collect(context.Background()))
		found, err := consistent(s)
		require.NoError(t, err)
		require.Len(t, found, 5)
	}
	require.NoError(t, s.Close())
	s, err = local.Open(o)
	require.NoError(t, err)
	require.NoError(t, s.Collect(context.Background()))
	found, err := consistent(s)
	require.NoError(t, err)
	require.Len(t, found, 5)
	assert.Less(t, usage(t, o.FS, "extents"), before/2)
	for i := range 40 {
		require.NoError(t, remove(s, fmt.Sprintf("c%02d/", i)))
	}
	for range 3 {
		require.NoError(t, s.Collect(context.Background()))
	}
	n := 0
	require.NoError(t, s.Owners(background, func(engine.Ref, int64) error { n++; return nil }))
	assert.Zero(t, n, "no owner is left, nor a forward")
	require.NoError(t, s.Close())
}

// usage sums the sizes of the files under directories of a name.
func usage(t *testing.T, fs vfs.FS, dir string) (n int) {
	for name, size := range files(t, fs, "") {
		if strings.Contains(name, "/"+dir+"/") {
			n += size
		}
	}
	return n
}

// fullFS tells of a disk with as much space left as is set.
type fullFS struct {
	vfs.FS
	left *atomic.Uint64
}

func (fs fullFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: fs.left.Load(), TotalBytes: 1 << 40}, nil
}

// TestAFullDisk: what takes room is refused in time, what makes room goes through, and all goes on when there is room.
func TestAFullDisk(t *testing.T) {
	var left atomic.Uint64
	left.Store(1 << 30)
	o := small(1)
	o.FS = fullFS{vfs.NewMem(), &left}
	s, err := local.Open(o)
	require.NoError(t, err)
	for i, n := range []int{100, 50_000} {
		obj := object{seed: uint64(i + 1), sizes: [3]int{n}}
		if n > engine.MaxInline {
			require.NoError(t, put(s, &obj))
		}
		require.NoError(t, store(s, fmt.Sprintf("o%d/", i), &obj))
		s.Forget(obj.refs[0])
	}
	left.Store(1 << 20)
	s.CheckSpace()
	assert.False(t, s.Health().Writable)
	inline := object{seed: 9, sizes: [3]int{100}}
	assert.ErrorIs(t, s.Update(background, []byte("new/"), func(tx engine.Tx) error {
		tx.Set(recordSpace, []byte("new/"), inline.encode())
		return nil
	}), engine.ErrNoSpace)
	_, err = s.Put(background, strings.NewReader("a"), 1)
	assert.ErrorIs(t, err, engine.ErrNoSpace)
	found, err := consistent(s)
	require.NoError(t, err, "reads go on")
	assert.Len(t, found, 2)
	require.NoError(t, remove(s, "o0/"))
	require.NoError(t, remove(s, "o1/"))
	require.NoError(t, s.Collect(background))
	left.Store(1 << 30)
	s.CheckSpace()
	require.NoError(t, store(s, "new/", &inline))
	require.NoError(t, s.Close())
}

// TestWritersDoNotPassTheReserveTogether: what a writer is about to take counts before the file system knows of it.
func TestWritersDoNotPassTheReserveTogether(t *testing.T) {
	const size = 400_000
	var left atomic.Uint64
	o := small(1)
	left.Store(1 << 40)
	o.FS = fullFS{vfs.NewMem(), &left}
	s, err := local.Open(o)
	require.NoError(t, err)
	s.CheckSpace() // it has its reserve
	left.Store(uint64(s.Keep() + size*3/2))
	s.CheckSpace()
	content, w := io.Pipe()
	first := make(chan error, 1)
	go func() {
		c, err := s.Put(background, content, size)
		s.Forget(c.Ref)
		first <- err
	}()
	_, err = w.Write([]byte{1}) // it is read: the first is admitted
	require.NoError(t, err)
	_, err = s.Put(background, bytes.NewReader(make([]byte, size)), size)
	require.ErrorIs(t, err, engine.ErrNoSpace)
	require.True(t, s.Health().Writable, "the disk is not full")
	_, err = w.Write(make([]byte, size-1))
	require.NoError(t, err)
	require.NoError(t, <-first)
	c, err := s.Put(background, bytes.NewReader(make([]byte, size)), size)
	require.NoError(t, err)
	s.Forget(c.Ref)
	require.NoError(t, s.Close())
}
