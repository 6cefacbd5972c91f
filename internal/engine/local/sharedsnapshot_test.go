package local

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
)

// A view that begins after a transaction was acknowledged sees it, however many share its snapshot.
func TestViewsSeeWhatWasAcknowledged(t *testing.T) {
	s, err := Open(Options{Dirs: []string{t.TempDir()}})
	require.NoError(t, err)
	ctx := context.Background()
	const rounds, readers = 300, 4
	key := []byte("p")
	read := func() (n uint64, err error) {
		err = s.View(ctx, key, func(r engine.Reader) error {
			v, err := r.Get(engine.SpaceEntity, key)
			if errors.Is(err, engine.ErrNotFound) {
				return nil
			}
			if err == nil {
				n = binary.BigEndian.Uint64(v)
			}
			return err
		})
		return n, err
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range readers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var last uint64
			for {
				select {
				case <-stop:
					return
				default:
				}
				n, err := read()
				if err != nil || n < last {
					t.Errorf("read %d after %d: %v", n, last, err)
					return
				}
				last = n
			}
		}()
	}
	for i := uint64(1); i <= rounds; i++ {
		require.NoError(t, s.Update(ctx, key, func(tx engine.Tx) error {
			tx.Set(engine.SpaceEntity, key, binary.BigEndian.AppendUint64(nil, i))
			return nil
		}))
		n, err := read()
		require.NoError(t, err)
		require.GreaterOrEqual(t, n, i)
		if i%16 == 0 {
			s.snapshots.drop(false)
		}
	}
	close(stop)
	wg.Wait()
	require.NoError(t, s.Close(), "no snapshot is left")
}

func BenchmarkView(b *testing.B) {
	s, err := Open(Options{Dirs: []string{b.TempDir()}})
	require.NoError(b, err)
	defer s.Close()
	ctx := context.Background()
	key := []byte("p")
	require.NoError(b, s.Update(ctx, key, func(tx engine.Tx) error {
		tx.Set(engine.SpaceEntity, key, make([]byte, 200))
		return nil
	}))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := s.View(ctx, key, func(r engine.Reader) error {
				_, err := r.Get(engine.SpaceEntity, key)
				return err
			}); err != nil {
				b.Error(err)
			}
		}
	})
}
