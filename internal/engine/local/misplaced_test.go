package local_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
)

// TestAMisplacedExtentIsAnError: two copies of a store go on beside each other and put other bytes at the same places, under the same
// secret. With the extents of one under the metadata of the other every frame verifies, and none of the bytes is handed out as a whole
// chunk, unless they are the right ones.
func TestAMisplacedExtentIsAnError(t *testing.T) {
	for _, n := range []int{1, 2, 3, 6} {
		t.Run(fmt.Sprintf("%d disks", n), func(t *testing.T) {
			t.Parallel()
			o := small(n)
			here := vfs.NewCrashableMem()
			o.FS = here
			s, err := local.Open(o)
			require.NoError(t, err)
			require.NoError(t, s.Close())
			there := here.CrashClone(vfs.CrashCloneCfg{})
			sizes := []int{20_000, 64 << 10, 100_000, 300_000, 333_333}
			fill := func(fs vfs.FS, seed byte) (chunks []engine.Chunk) {
				o.FS = fs
				s, err := local.Open(o)
				require.NoError(t, err)
				s.Collected() // which may begin another extent
				for i, size := range sizes {
					c, err := s.Put(background, bytes.NewReader(bytes.Repeat([]byte{seed, byte(i)}, size)[:size]), int64(size))
					require.NoError(t, err)
					require.NoError(t, s.Update(background, []byte("p/"), func(tx engine.Tx) error {
						tx.Retain(c.Ref)
						return nil
					}))
					s.Forget(c.Ref)
					chunks = append(chunks, c)
				}
				require.NoError(t, s.Close())
				return chunks
			}
			mine, others := fill(here, 1), fill(there, 2)
			for i := range mine {
				require.Equal(t, mine[i].Ref, others[i].Ref, "the same places")
			}
			read := func(fs vfs.FS, mine []engine.Chunk) (wrong int) {
				o.FS = fs
				s, err := local.Open(o)
				require.NoError(t, err)
				defer func() { require.NoError(t, s.Close()) }()
				for _, c := range mine {
					var b bytes.Buffer
					r, err := s.OpenWhole(background, c)
					if err == nil {
						_, err = io.Copy(&b, r)
						err = errors.Join(err, r.Close())
					}
					if err != nil {
						require.ErrorIs(t, err, engine.ErrCorrupt)
						require.Less(t, int64(b.Len()), c.Size)
						wrong++
						continue
					}
					require.Equal(t, c.Size, int64(b.Len()))
				}
				return wrong
			}
			require.Zero(t, read(here, mine))
			for i := range n {
				dir := fmt.Sprintf("d%d/extents", i)
				require.NoError(t, here.RemoveAll(dir))
				_, err := vfs.Clone(there, here, dir, dir, vfs.CloneSync)
				require.NoError(t, err)
			}
			require.Equal(t, len(sizes), read(here, mine))
		})
	}
}
