package local_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/enginetest"
)

func TestSetThenGet(t *testing.T) {
	s := enginetest.New(t)
	ctx := context.Background()
	require.NoError(t, s.Update(ctx, []byte("p/"), func(tx engine.Tx) error {
		tx.Set(engine.SpaceBlob, []byte("p/a"), []byte("v"))
		tx.Add([]byte("n"), engine.Amount{Objects: 3})
		require.NotZero(t, tx.Stamp())
		return nil
	}))
	require.NoError(t, s.View(ctx, []byte("p/"), func(r engine.Reader) error {
		v, err := r.Get(engine.SpaceBlob, []byte("p/a"))
		require.NoError(t, err)
		require.Equal(t, "v", string(v))
		n, err := r.Counter([]byte("n"))
		require.NoError(t, err)
		require.Equal(t, engine.Amount{Objects: 3}, n)
		_, err = r.Get(engine.SpaceBlob, []byte("p/b"))
		require.ErrorIs(t, err, engine.ErrNotFound)
		return nil
	}))
}
