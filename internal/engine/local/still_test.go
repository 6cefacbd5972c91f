package local_test

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
)

// TestAStoreThatIsLookedAtStill is read as ever, logs and all, also without a disk, and takes writes; nothing of it is on the disks afterwards.
func TestAStoreThatIsLookedAtStill(t *testing.T) {
	for _, n := range []int{1, 2, 3, 6} {
		for _, closed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d disks, closed=%v", n, closed), func(t *testing.T) {
				img := makeImage(t, n, closed)
				for _, how := range []string{"", "without a disk", "read-only"} {
					o := img.clone()
					if how == "without a disk" {
						if n < 3 {
							continue
						}
						require.NoError(t, o.FS.RemoveAll(o.Dirs[n-1]))
					}
					before := contents(t, o.FS)
					o.Still = true
					below := o.FS
					if how == "read-only" { // as a system makes a disk that fails
						o.FS = errorfs.Wrap(below, errorfs.InjectorFunc(func(op errorfs.Op) error {
							if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose {
								return &os.PathError{Op: "write", Path: op.Path, Err: syscall.EROFS}
							}
							return nil
						}))
					}
					s, err := local.Open(o)
					require.NoError(t, err)
					require.NoError(t, img.read(s))
					writeMore(t, s)
					found, err := consistent(s)
					require.NoError(t, err)
					require.Len(t, found, len(img.objects)+8)
					require.NoError(t, s.Close())
					require.Equal(t, before, contents(t, below))
					s, err = local.Open(o)
					require.NoError(t, err)
					require.NoError(t, img.read(s))
					require.NoError(t, s.Close())
					o.Still, o.FS = false, below
					require.NoError(t, img.outcome(o))
				}
			})
		}
	}
	o := small(1)
	o.FS = makeImage(t, 1, true).clone().FS
	o.Dirs, o.Still = []string{"elsewhere"}, true
	_, err := local.Open(o)
	require.ErrorIs(t, err, engine.ErrUnavailable, "no store is made")
	require.ErrorContains(t, err, "there is no store in elsewhere, and none is made: name the directories that hold one")
}
