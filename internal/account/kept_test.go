package account_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/usage"
)

// With a retention a deleted account is out of reach and has everything: it is had back as it was, over restarts and new master keys, or
// given up, and only then emptied, once.
func TestADeletedAccountCanBeHadBack(t *testing.T) {
	ctx := context.Background()
	disk := enginetest.New(t)
	var emptied atomic.Int64
	var s *account.Store
	var registry *account.Registry
	var eraser *account.Eraser
	open := func(retention time.Duration, masters ...[]byte) {
		if eraser != nil {
			eraser.Close()
		}
		registry = account.NewRegistry()
		var err error
		s, err = account.OpenStore(ctx, disk, registry, masters)
		require.NoError(t, err)
		s.Retain(retention)
		eraser = s.Erase(zap.NewNop(), func(context.Context, string) error { emptied.Add(1); return nil })
	}
	open(time.Hour)
	defer func() { eraser.Close() }()
	a := account.New("acct", time.Now(), account.GenerateKey(), account.GenerateKey())
	a.Limits = usage.Limits{Requests: 7}
	a.Resource = &account.Resource{Subscription: "sub", Group: "grp"}
	require.NoError(t, s.Create(ctx, a, 0))

	_, busy := s.Enter("acct")
	require.NoError(t, s.Delete(ctx, "acct"))
	require.Nil(t, registry.Lookup("acct"))
	require.Zero(t, s.CountOwned("sub"))
	require.Len(t, s.Kept("sub"), 1)
	require.Empty(t, s.Kept("another"))
	require.Equal(t, time.Hour, s.Kept("")[0].Until.Sub(s.Kept("")[0].Deleted))
	require.True(t, s.Taken("acct"))
	require.ErrorIs(t, s.Create(ctx, a, 0), account.ErrKept)
	require.ErrorIs(t, s.Erased(ctx, "acct"), account.ErrKept)
	require.ErrorIs(t, s.Purge(ctx, "acct", "another"), account.ErrMissing)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, s.Restore(ended, "acct", 0), context.Canceled, "somebody still writes to it")
	busy.Leave()
	require.NoError(t, s.Restore(ctx, "acct", 0))
	require.Equal(t, a.Keys[1].Base64(), registry.Lookup("acct").Keys[1].Base64())
	require.NoError(t, s.Delete(ctx, "acct"))

	for _, masters := range [][][]byte{{bytes.Repeat([]byte{1}, 32)}, {bytes.Repeat([]byte{2}, 32), bytes.Repeat([]byte{1}, 32)}, {bytes.Repeat([]byte{2}, 32)}} {
		open(time.Hour, masters...)
		require.Nil(t, registry.Lookup("acct"))
		require.Empty(t, s.All())
		require.Len(t, s.Kept("sub"), 1)
	}
	other := account.New("other", time.Now(), account.GenerateKey(), account.GenerateKey())
	other.Resource = a.Resource
	require.NoError(t, s.Create(ctx, other, 0))
	require.ErrorIs(t, s.Restore(ctx, "acct", 1), account.ErrTooMany)
	require.NoError(t, s.Restore(ctx, "acct", 2))
	require.ErrorIs(t, s.Restore(ctx, "acct", 2), account.ErrMissing)
	back := registry.Lookup("acct")
	require.Equal(t, []any{a.Keys[0].Base64(), a.Limits, *a.Resource}, []any{back.Keys[0].Base64(), back.Limits, *back.Resource})
	require.NoError(t, s.Erased(ctx, "acct"))
	require.Zero(t, emptied.Load())

	require.NoError(t, s.Delete(ctx, "acct"))
	require.NoError(t, s.Purge(ctx, "acct", "sub"))
	require.ErrorIs(t, s.Restore(ctx, "acct", 0), account.ErrMissing)
	require.NoError(t, s.Erased(ctx, "acct"))
	require.EqualValues(t, 1, emptied.Load())

	// What was kept long enough goes at the start, and without a retention at once.
	require.NoError(t, s.Delete(ctx, "other"))
	open(time.Nanosecond, bytes.Repeat([]byte{2}, 32))
	for errors.Is(s.Erased(ctx, "other"), account.ErrKept) {
		runtime.Gosched()
	}
	require.NoError(t, s.Erased(ctx, "other"))
	require.False(t, s.Taken("other"))
	s.Retain(0)
	require.NoError(t, s.Create(ctx, a, 0))
	require.NoError(t, s.Delete(ctx, "acct"))
	require.Empty(t, s.Kept(""))
	require.NoError(t, s.Erased(ctx, "acct"))
	require.EqualValues(t, 3, emptied.Load())
}
