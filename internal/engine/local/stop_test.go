package local_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
)

// TestAStopDuringAShortage: a store whose writers wait for a descriptor is closed all the same, and has what it acknowledged.
func TestAStopDuringAShortage(t *testing.T) {
	for _, n := range []int{1, 3} {
		o := small(n)
		mem := vfs.NewCrashableMem()
		var short atomic.Bool
		o.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if short.Load() && (op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpReuseForWrite) && strings.HasSuffix(op.Path, ".log") {
				return syscall.EMFILE
			}
			return nil
		}))
		s, err := local.Open(o)
		require.NoError(t, err)
		short.Store(true)
		acked := make(chan int, 1)
		go func() {
			i := 0
			for ; store(s, fmt.Sprintf("o%d/", i), &object{seed: uint64(i + 1), sizes: [3]int{8 << 10}}) == nil; i++ {
			}
			acked <- i
		}()
		require.Eventually(t, func() bool { return !s.Health().Writable }, time.Minute, time.Millisecond)
		_ = s.Close() // the log that it waited for was never made
		last := <-acked
		require.Positive(t, last)

		o.FS = mem
		s, err = local.Open(o)
		require.NoError(t, err)
		for i := range last {
			name := fmt.Sprintf("o%d/", i)
			var got object
			require.NoError(t, s.View(background, []byte(name), func(r engine.Reader) (err error) {
				got, err = load(r, name)
				return err
			}))
			require.Equal(t, uint64(i+1), got.seed)
			require.NoError(t, verify(s, name, got))
		}
		require.NoError(t, s.Close())
	}
}

// TestAcceptMissingNamesSomething: a word that can be the name of nothing in the store refuses the start, and nothing is given up for it.
func TestAcceptMissingNamesSomething(t *testing.T) {
	img := makeImage(t, 3, true)
	for _, word := range []string{"x", "00000000", "d0", "LOG", "1.log", "000001.sst", "0123456789abcde", ""} {
		o := img.clone()
		o.AcceptMissing = []string{word}
		_, err := local.Open(o)
		require.ErrorContains(t, err, "--accept-missing "+word+": there is nothing of that name", word)
	}
}
