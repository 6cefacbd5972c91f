package local_test

import (
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
)

// TestEverySubsetOfDisksLostUnderLoad loses m disks, each choice of them, while writers put, copy and delete: everything goes on, and all that
// was acknowledged is read, from the disks that are left and by a start without the others. With one more lost, nothing is acknowledged,
// nothing wrong is read, and a start is refused.
func TestEverySubsetOfDisksLostUnderLoad(t *testing.T) {
	for _, layout := range [][2]int{{2, 1}, {4, 2}, {6, 2}} {
		k, m := layout[0], layout[1]
		n := k + m
		t.Run(fmt.Sprintf("%d+%d", k, m), func(t *testing.T) {
			t.Parallel()
			for lost := range uint32(1) << n {
				if bits.OnesCount32(lost) != m {
					continue
				}
				var more []uint32
				for i := range n {
					if lost&(1<<i) == 0 && (i >= bits.Len32(lost) || len(more) == 0) { // each choice of m+1 at least once
						more = append(more, lost|1<<i)
					}
				}
				loseUnderLoad(t, n, lost, more)
				if t.Failed() {
					return
				}
			}
		})
	}
}

func loseUnderLoad(t *testing.T, n int, lost uint32, more []uint32) {
	o := small(n)
	mem := vfs.NewCrashableMem()
	var dead atomic.Uint32
	o.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		mask := dead.Load()
		for i, dir := range o.Dirs {
			if mask&(1<<i) != 0 && (op.Path == dir || strings.HasPrefix(op.Path, dir+"/")) {
				return errors.New("the disk is gone")
			}
		}
		return nil
	}))
	s, err := local.Open(o)
	require.NoError(t, err)
	b := &bustle{t: t, acked: map[string]uint64{}}
	var wg sync.WaitGroup
	var count atomic.Int64
	for w := range 3 {
		rng := rand.New(rand.NewPCG(uint64(lost), uint64(w)))
		wg.Go(func() {
			for range 12 {
				if count.Add(1) == 15 {
					dead.Store(lost)
				}
				b.write(s, rng, w)
			}
		})
	}
	wg.Wait()
	b.check(s)

	dead.Store(more[0])
	obj := object{seed: 1, sizes: [3]int{70_000 * n}}
	require.ErrorIs(t, put(s, &obj), engine.ErrUnavailable, "%b lost", more[0])
	for name := range b.acked {
		var got object
		err := s.View(background, []byte(name), func(r engine.Reader) (err error) {
			got, err = load(r, name)
			return err
		})
		if err == nil && got.seed != 0 {
			err = verify(s, name, got)
		}
		if err != nil && !errors.Is(err, engine.ErrUnavailable) && !errors.Is(err, engine.ErrCorrupt) {
			t.Errorf("%b lost: %s: %v", more[0], name, err)
		}
	}
	left := mem.CrashClone(vfs.CrashCloneCfg{})
	_ = s.Close() // its disks are gone

	start := func(lost uint32) (*local.Store, error) {
		o := o
		o.FS, o.Dirs = left.CrashClone(vfs.CrashCloneCfg{}), nil
		for i := range n {
			if lost&(1<<i) == 0 {
				o.Dirs = append(o.Dirs, fmt.Sprintf("d%d", i))
			}
		}
		return local.Open(o)
	}
	s, err = start(lost)
	require.NoError(t, err, "without %b", lost)
	b.check(s)
	require.NoError(t, s.Close())
	for _, lost := range more {
		_, err := start(lost)
		require.ErrorIs(t, err, engine.ErrUnavailable, "without %b", lost)
	}
}
