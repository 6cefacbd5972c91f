package local_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
)

// stuckDisk is a disk that answers nothing from one of its operations on, until it is let go.
type stuckDisk struct {
	dir   string
	at    int64 // the operation, counted from arm on
	armed atomic.Bool
	count atomic.Int64
	stuck atomic.Bool
	once  sync.Once
	letGo sync.Once
	met   chan struct{} // closed when the operation is met
	free  chan struct{} // closed when the disk is let go
}

func init() {
	if os.Getenv("BLOBD_EVERY_FILE_OPERATION") != "" { // make faults
		faultStep, stallStep = math.MaxInt64, math.MaxInt64
	}
}

func newStuckDisk(dir string, at int64) *stuckDisk {
	return &stuckDisk{dir: dir, at: at, met: make(chan struct{}), free: make(chan struct{})}
}

func (d *stuckDisk) MaybeError(op errorfs.Op) error {
	if !d.armed.Load() || !strings.HasPrefix(op.Path, d.dir) {
		return nil
	}
	if d.count.Add(1)-1 == d.at {
		d.stuck.Store(true)
		d.once.Do(func() { close(d.met) })
	}
	if d.stuck.Load() {
		<-d.free
	}
	return nil
}

func (d *stuckDisk) String() string { return "stuck disk" }

func (d *stuckDisk) release() {
	d.letGo.Do(func() {
		d.armed.Store(false)
		d.stuck.Store(false)
		close(d.free)
	})
}

// wasMet tells whether the operation was met.
func (d *stuckDisk) wasMet() bool {
	select {
	case <-d.met:
		return true
	default:
		return false
	}
}

// heldLooks is for how long metadata is held up before the disk is let go: the transaction that makes a new log waits for it itself.
const heldLooks = 100

// passTime lets time pass for a disk until it was let go and is in use again, which it tells. Nothing else does, so that no other disk
// seems slow, nor this one any more.
func passTime(s *local.Store, d *stuckDisk) (used <-chan struct{}) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for held := 0; d.stuck.Load() || s.Out(d.dir) != nil || s.Held() != nil || !s.InUse(d.dir); {
			s.Look(d.dir)
			if s.Held() != nil {
				if held++; held == heldLooks {
					d.release()
				}
			}
			runtime.Gosched()
			time.Sleep(100 * time.Microsecond) // lets others run; nothing depends on how long
		}
	}()
	return done
}

// stallStep is faultStep for stalls and shortages.
var stallStep int64 = 1

// TestAStallAtEveryFileOperation: a disk that answers nothing from any of its operations on holds up nobody. Where others can stand in for
// it nothing fails; where none can, what fails is unavailable, and goes on when the disk answers again. Nothing acknowledged is lost.
func TestAStallAtEveryFileOperation(t *testing.T) {
	for _, tt := range []struct {
		disks int
		dir   string
	}{{1, "d0"}, {2, "d0"}, {2, "d1"}, {3, "d0"}, {3, "d2"}} {
		t.Run(fmt.Sprintf("%s of %d", tt.dir, tt.disks), func(t *testing.T) {
			t.Parallel()
			for at := int64(0); ; at += 1 + at/stallStep {
				if !stallAt(t, tt.disks, tt.dir, at) || t.Failed() {
					return
				}
			}
		})
	}
}

// stallAt runs the script on a store one of whose disks stalls at an operation, and tells whether there was such an operation.
func stallAt(t *testing.T, disks int, dir string, at int64) bool {
	mem := vfs.NewCrashableMem()
	d := newStuckDisk(dir, at)
	o := small(disks)
	o.FS, o.OpTimeout = errorfs.Wrap(mem, d), time.Hour
	s, err := local.Open(o)
	require.NoError(t, err)
	s.Collected()
	d.armed.Store(true)
	passed := make(chan (<-chan struct{}), 1)
	ran := make(chan struct{})
	go func() {
		select {
		case <-d.met:
			passed <- passTime(s, d)
		case <-ran:
			if d.wasMet() {
				passed <- passTime(s, d)
				return
			}
			passed <- nil
		}
	}()
	want, failures := faulty(s, 5)
	if disks > 1 && failures > 0 {
		t.Errorf("operation %d: %d failures though another disk is well", at, failures)
	}
	reads(t, s, want, at, func(err error) bool { return disks == 1 && errors.Is(err, engine.ErrUnavailable) })
	met := d.wasMet()
	if met && disks > 1 {
		assert.True(t, s.Health().Degraded, "operation %d: health does not tell", at)
	}
	d.release()
	close(ran)
	used := <-passed
	if met {
		select {
		case <-used:
		case <-time.After(time.Minute):
			t.Fatalf("operation %d: it is not used again", at)
		}
		for i := range 3 {
			obj := object{seed: uint64(100 + i), sizes: [3]int{60_000}}
			name := fmt.Sprintf("after%d/", i)
			require.NoError(t, write(s, name, &obj), "operation %d: when the disk answers again", at)
			want[name] = []object{obj}
		}
		require.NoError(t, s.Heal(background))
		if h := s.Health(); disks > 1 {
			assert.Zero(t, h.Healing, "operation %d: %s", at, h.Detail)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("operation %d: close: %v", at, err)
	}
	o.FS, o.OpTimeout = mem.CrashClone(vfs.CrashCloneCfg{}), 0
	if disks == 3 && dir == "d2" { // it has no metadata, and must have all of its columns again
		require.NoError(t, o.FS.RemoveAll("d1"))
	}
	if s, err = local.Open(o); err != nil {
		t.Errorf("operation %d: open again: %v", at, err)
		return false
	}
	if err := checkCrash(s, want, 16); err != nil {
		t.Errorf("operation %d: after a start: %v", at, err)
	}
	require.NoError(t, s.Close())
	return met
}

// TestAShortageAtEveryFileOperation lets one operation after another that takes a descriptor fail for want of one. Nothing is blamed for it:
// the next request goes through, and no disk is left out.
func TestAShortageAtEveryFileOperation(t *testing.T) {
	for _, disks := range []int{1, 3} {
		t.Run(fmt.Sprint(disks), func(t *testing.T) {
			t.Parallel()
			for at := int64(0); !t.Failed(); at += 1 + at/stallStep {
				mem := vfs.NewCrashableMem()
				var armed atomic.Bool
				var count atomic.Int64
				o := small(disks)
				o.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
					switch op.Kind {
					case errorfs.OpCreate, errorfs.OpOpen, errorfs.OpOpenDir, errorfs.OpReuseForWrite:
						if armed.Load() && count.Add(1)-1 == at {
							return syscall.EMFILE
						}
					}
					return nil
				}))
				s, err := local.Open(o)
				require.NoError(t, err)
				s.Collected()
				armed.Store(true)
				want, _ := faulty(s, 5)
				armed.Store(false)
				for i, n := range []int{100, 60_000} {
					obj, name := object{seed: uint64(100 + i), sizes: [3]int{n}}, fmt.Sprintf("after%d/", i)
					for tries := 0; ; tries++ { // until a flush that failed was tried again, which is soon
						err := write(s, name, &obj)
						if err == nil {
							break
						}
						require.ErrorIs(t, err, engine.ErrBusy, "operation %d", at)
						require.Less(t, tries, 10_000, "operation %d: %v", at, err)
						time.Sleep(time.Millisecond)
					}
					want[name] = []object{obj}
				}
				h := s.Health()
				assert.True(t, h.Writable, "operation %d: %s", at, h.Detail)
				assert.False(t, h.Degraded, "operation %d: %s", at, h.Detail)
				require.NoError(t, s.Close())
				o.FS = mem.CrashClone(vfs.CrashCloneCfg{})
				s, err = local.Open(o)
				require.NoError(t, err)
				if err := checkCrash(s, want, 16); err != nil {
					t.Errorf("operation %d: after a start: %v", at, err)
				}
				require.NoError(t, s.Close())
				if count.Load() <= at {
					return
				}
			}
		})
	}
}

// TestHealthTellsOfADirectoryThatIsGone, at once, and with its reason; what is written from then on survives the loss.
func TestHealthTellsOfADirectoryThatIsGone(t *testing.T) {
	for _, disks := range []int{1, 2, 3} {
		for i := range disks {
			mem := vfs.NewMem()
			o := small(disks)
			o.FS = mem
			s, err := local.Open(o)
			require.NoError(t, err)
			keep(t, s, "before/", 1, 60_000)
			require.True(t, s.Health().Disks[i].OK)
			require.NoError(t, mem.RemoveAll(o.Dirs[i]))
			s.LookAtDisk(i)
			h := s.Health()
			assert.False(t, h.Disks[i].OK)
			assert.Contains(t, h.Disks[i].Detail, "blobd.format is gone")
			assert.Contains(t, h.Detail, o.Dirs[i])
			assert.True(t, h.Degraded)
			assert.Equal(t, disks > 1, h.Writable)
			after := object{seed: 2, sizes: [3]int{60_000}}
			err = write(s, "after/", &after)
			if disks == 1 {
				assert.ErrorIs(t, err, engine.ErrUnavailable)
				_ = s.Close()
				continue
			}
			require.NoError(t, err)
			found, err := consistent(s)
			require.NoError(t, err)
			require.Len(t, found, 2)
			require.NoError(t, s.Close())
		}
	}
}

// TestHealthTellsOfADiskThatCannotBeRead, and of what was rebuilt for it.
func TestHealthTellsOfADiskThatCannotBeRead(t *testing.T) {
	var broken atomic.Bool
	o := small(3)
	o.FS = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && op.Kind == errorfs.OpFileReadAt && strings.HasPrefix(op.Path, "d1/extents") {
			return syscall.EIO
		}
		return nil
	}))
	s, err := local.Open(o)
	require.NoError(t, err)
	obj := object{seed: 1, sizes: [3]int{300_000}}
	require.NoError(t, put(s, &obj))
	require.NoError(t, store(s, "a/", &obj))
	broken.Store(true)
	found, err := consistent(s)
	require.NoError(t, err)
	require.Len(t, found, 1)
	h := s.Health()
	assert.False(t, h.Disks[1].OK)
	assert.Contains(t, h.Disks[1].Detail, "reads failed")
	assert.Positive(t, h.Disks[1].Rebuilt)
	assert.True(t, h.Degraded)
	broken.Store(false)
	_, err = consistent(s)
	require.NoError(t, err)
	assert.True(t, s.Health().Disks[1].OK)
	s.Forget(obj.refs[0])
	require.NoError(t, s.Close())
}
