package store

import (
	"context"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/protocol"
)

// Whoever looks a container up after a change of it was acknowledged sees the change, whatever is looked up meanwhile.
func TestContainerCacheFollowsChanges(t *testing.T) {
	s := New(Options{Store: enginetest.New(t)})
	defer s.Close()
	ctx := context.Background()
	require.NoError(t, s.CreateContainer(ctx, "acct", "con", &record.Container{}))
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			last := 0
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := s.container(ctx, "acct", "con")
				if err != nil {
					t.Error(err)
					return
				}
				n, _ := strconv.Atoi(c.DefaultScope)
				if n < last {
					t.Errorf("%d after %d", n, last)
					return
				}
				last = n
			}
		}()
	}
	for i := 1; i <= 300; i++ {
		want := strconv.Itoa(i)
		require.NoError(t, s.changeContainer(ctx, &Target{Account: &account.Account{Name: "acct"}, Container: "con"}, func(_ engine.Tx, c *record.Container) error {
			c.DefaultScope = want
			return nil
		}))
		c, err := s.container(ctx, "acct", "con")
		require.NoError(t, err)
		require.Equal(t, want, c.DefaultScope)
	}
	close(stop)
	wg.Wait()
}

func TestContainerCacheForgets(t *testing.T) {
	ctx := context.Background()
	h := newRig(t, 0)
	h.put("b", "x")
	before, err := h.container(ctx, "acct", "con")
	require.NoError(t, err)
	a := h.on("b")
	require.NoError(t, h.DeleteContainer(ctx, &a))
	_, _, err = h.Look(ctx, &a, Selector{})
	require.ErrorIs(t, err, protocol.ErrContainerNotFound)
	require.NoError(t, h.CreateContainer(ctx, "acct", "con", &record.Container{}))
	after, err := h.container(ctx, "acct", "con")
	require.NoError(t, err)
	require.NotEqual(t, before.Generation, after.Generation)
	_, _, err = h.Look(ctx, &a, Selector{})
	require.ErrorIs(t, err, protocol.ErrBlobNotFound)
}

// It does not grow without bound.
func TestContainerCacheIsBounded(t *testing.T) {
	var c containerCache
	for i := range 2*cachedContainers + 1 {
		key := []byte(strconv.Itoa(i))
		_, changes := c.get(key)
		c.put(key, &record.Container{}, changes)
		got, _ := c.get(key)
		require.NotNil(t, got)
	}
	require.LessOrEqual(t, len(c.records), cachedContainers)
	c.forget([]byte("x"))
	_, changes := c.get([]byte("x"))
	c.forget([]byte("y"))
	c.put([]byte("x"), &record.Container{}, changes)
	got, _ := c.get([]byte("x"))
	require.Nil(t, got, "a record that was read before a change is not kept")
}
