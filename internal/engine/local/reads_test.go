package local

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
)

// Views and transactions that run beside many writers read the same with the cache and without it.
func TestReadsAreTheSameWithAndWithoutRows(t *testing.T) {
	s, err := Open(Options{Dirs: []string{"data"}, FS: vfs.NewMem(), CacheSize: 1 << 20, MemTableSize: 256 << 10})
	require.NoError(t, err)
	compareReads(t, s, 400)
	require.NoError(t, s.Close())
}

// compareReads has views and transactions run beside so many rounds of writers of a few keys, "p0/0" to "p7/2", and look each up in
// both ways.
func compareReads(t *testing.T, s *Store, rounds int) {
	t.Helper()
	const writers, readers, keys = 4, 4, 8
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	ctx := context.Background()
	partition := func(k int) []byte { return fmt.Appendf(nil, "p%d/", k) }
	key := func(k, i int) []byte { return fmt.Appendf(partition(k), "%d", i) }
	// same reads a key with the cache and past it.
	same := func(r engine.Reader, src source, k []byte) error {
		got, err := r.Get(engine.SpaceEntity, k)
		want, closer, werr := src.Get(append([]byte{byte(engine.SpaceEntity)}, k...))
		if errors.Is(werr, pebble.ErrNotFound) {
			if err != engine.ErrNotFound {
				return fmt.Errorf("%s: %x, %v instead of nothing", k, got, err)
			}
			return nil
		}
		if err = errors.Join(err, werr); err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
		if !bytes.Equal(got, want) {
			err = fmt.Errorf("%s: %x instead of %x", k, got, want)
		}
		return errors.Join(err, closer.Close())
	}
	var writing, reading sync.WaitGroup
	stop := make(chan struct{})
	for w := range writers {
		writing.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(w)))
			for n := range uint64(rounds) {
				k := rng.IntN(keys)
				if err := s.Update(ctx, partition(k), func(etx engine.Tx) error {
					for i := range 3 {
						if err := same(etx, s.db, key(k, i)); err != nil {
							return err
						}
					}
					switch i := rng.IntN(3); rng.IntN(8) {
					case 0:
						etx.Delete(engine.SpaceEntity, key(k, i))
					case 1:
						etx.DeleteRange(engine.SpaceEntity, key(k, i), key(k, i+2))
					default:
						etx.Set(engine.SpaceEntity, key(k, i), binary.BigEndian.AppendUint64([]byte{byte(w)}, n))
					}
					return nil
				}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for r := range readers {
		reading.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(writers+r)))
			for {
				select {
				case <-stop:
					return
				default:
				}
				err := s.view(func(er engine.Reader) error {
					for range 6 {
						if err := same(er, er.(*reader).src, key(rng.IntN(keys), rng.IntN(3))); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writing.Wait()
	close(stop)
	reading.Wait()
}
