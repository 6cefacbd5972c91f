package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/source"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/usage"
	"github.com/blobd/blobd/internal/usage/usagetest"
)

// TestUsageEqualsARecount: whatever is done to blobs, and however often the power goes, each container is counted as what is in it, and
// each account as what is in its containers.
func TestUsageEqualsARecount(t *testing.T) {
	usagetest.Run(t, CountUse, func(disk engine.Store, accounts *account.Store) usagetest.Service {
		var ahead atomic.Int64 // days
		clock := func() time.Time { return time.Now().AddDate(0, 0, int(ahead.Load())) }
		svc := New(Options{Store: disk, Accounts: accounts, AtOnce: 8, Now: clock})
		retention := &account.Properties{DeleteRetention: account.DeleteRetention{Retention: account.Retention{Enabled: true, Days: 1}, AllowPermanentDelete: true}}
		kinds := []*account.Account{
			{Name: "one", Meter: accounts.Usage().Account("one")},
			{Name: "one", Meter: accounts.Usage().Account("one"), Switches: account.Switches{Versioning: true}},
			{Name: "two", Meter: accounts.Usage().Account("two"), Blob: retention, Switches: account.Switches{ContainerRetentionDays: 1}},
			{Name: "two", Meter: accounts.Usage().Account("two"), Blob: retention, Switches: account.Switches{Versioning: true}},
		}
		return usagetest.Service{
			Step: func(ctx context.Context, rng *rand.Rand) error {
				err := svc.randomStep(ctx, rng, kinds[rng.IntN(len(kinds))])
				var refused *protocol.Error
				if errors.As(err, &refused) {
					return nil
				}
				return err
			},
			Sweep: func(ctx context.Context) error { // also what is kept for a day
				ahead.Store(30)
				return errors.Join(svc.Sweep(ctx), svc.Sweep(ctx), svc.Sweep(ctx))
			},
			Close: func() { _ = svc.Close() },
		}
	})
}

func (s *Service) randomStep(ctx context.Context, rng *rand.Rand, a *account.Account) error {
	on := Target{Account: a, Container: fmt.Sprint("con", rng.IntN(3)), Name: fmt.Sprint("blob", rng.IntN(6)), Version: protocol.Newest, Now: engine.StampOf(time.Now())}
	made := func(kind record.Type, size int64) *Creation {
		return &Creation{Target: on, Blob: &record.Blob{Type: kind, Size: size, HTTP: record.HTTPProperties{ContentType: record.DefaultContentType}}}
	}
	some := func() *Upload {
		return uploadOf(strings.Repeat("u", rng.IntN(2)*(engine.MaxInline-100)+1+rng.IntN(200)))
	}
	pages := &PageRequest{Target: on, LE: -1, LT: -1, EQ: -1}
	// What is past: one of the times in it, if there is any.
	past := func(kind record.SlotKind) (slot Selector) {
		p, err := s.place(ctx, &on)
		if err != nil {
			return Selector{Snapshot: 1}
		}
		slot = Selector{Snapshot: 1}
		_ = s.store.View(ctx, p.key, func(r engine.Reader) error {
			return visitHistory(r, p, record.Slot{}, func(at record.Slot, _ *record.Blob) (bool, error) {
				if at.Kind == kind && kind == record.SlotSnapshot {
					slot = Selector{Snapshot: at.Stamp}
				} else if at.Kind == kind {
					slot = Selector{Version: at.Stamp}
				}
				return rng.IntN(3) > 0, nil
			})
		})
		return slot
	}
	var err error
	switch n := rng.IntN(100); {
	case n < 20:
		_, err = s.Put(ctx, made(record.BlockBlob, 0), some())
	case n < 32:
		_, err = s.StageBlock(ctx, &on, fmt.Sprintf("%02d", rng.IntN(12)), some())
	case n < 38:
		var refs []BlockRef
		for range rng.IntN(12) {
			refs = append(refs, BlockRef{ID: fmt.Sprintf("%02d", rng.IntN(12))})
		}
		err = s.Commit(ctx, made(record.BlockBlob, 0), refs)
	case n < 42:
		err = s.CreateEmpty(ctx, made(record.PageBlob, 512*rng.Int64N(100)))
	case n < 46:
		_, _, err = s.WritePages(ctx, pages, 512*rng.Int64N(50), uploadOf(strings.Repeat("p", 512*(1+rng.IntN(5)))))
	case n < 49:
		_, err = s.SetPageProperties(ctx, &on, &PageChange{Size: 512 * rng.Int64N(100)})
	case n < 51:
		err = s.CreateEmpty(ctx, made(record.AppendBlob, 0))
	case n < 56:
		_, _, err = s.Append(ctx, &AppendRequest{Target: on, Position: -1, MaxSize: -1}, some())
	case n < 61:
		_, _, err = s.Snapshot(ctx, &on, nil)
	case n < 67:
		_, err = s.Delete(ctx, &DeleteRequest{Target: on, Snapshots: SnapshotsToo(rng.IntN(3))})
	case n < 70:
		_, err = s.Delete(ctx, &DeleteRequest{Target: on, Slot: past(record.SlotSnapshot), Permanent: rng.IntN(2) == 0})
	case n < 73:
		_, err = s.Delete(ctx, &DeleteRequest{Target: on, Slot: past(record.SlotVersion), Permanent: rng.IntN(2) == 0})
	case n < 78:
		err = s.Undelete(ctx, &on)
	case n < 82:
		_, err = s.SetMetadata(ctx, &on, []protocol.Pair{{Name: "n", Value: fmt.Sprint(n)}})
	case n < 84:
		err = s.SetTags(ctx, &on, Selector{}, []protocol.Pair{{Name: "n", Value: fmt.Sprint(n)}})
	case n < 88:
		from := fmt.Sprint("blob", rng.IntN(6))
		var url *source.URL
		if url, err = source.Parse("http://here/" + a.Name + "/" + on.Container + "/" + from); err != nil {
			return err
		}
		own := &OwnSource{Container: on.Container, Name: from, Admit: func(context.Context, bool, bool) (*account.Account, error) { return a, nil }}
		c := CopyRequest{Target: on, Source: &Source{URL: url, Own: own}}
		c.Source.Limit = MaxSyncCopy
		_, err = s.CopyFromURL(ctx, &c)
	case n < 90:
		return s.Sweep(ctx)
	case n < 93:
		err = s.DeleteContainer(ctx, &Target{Account: a, Container: on.Container, Version: on.Version, Now: on.Now})
	case n < 94:
		_, err = s.Containers(ctx, &ContainersQuery{Account: a.Name, Limit: 9, Deleted: true, Now: on.Now}, func(name string, c *record.Container) bool {
			if c.Deleted.At != 0 && rng.IntN(2) == 0 {
				on.Container = name
				on.Name = c.DeletedVersion()
			}
			return false
		})
		if err == nil {
			err = s.RestoreContainer(ctx, a.Name, on.Container, on.Name)
		}
	default:
		err = s.CreateContainer(ctx, a.Name, on.Container, &record.Container{})
	}
	return err
}

// TestCapacity: the write that would pass an account's or its subscription's capacity is refused and nothing else; what is deleted makes
// room at once, a container too.
func TestCapacity(t *testing.T) {
	ctx := context.Background()
	for _, limited := range []string{"account", "subscription"} {
		disk := enginetest.New(t)
		accounts, err := account.OpenStore(ctx, disk, account.NewRegistry(), nil)
		require.NoError(t, err)
		a := account.New("acct", time.Now(), account.GenerateKey(), account.GenerateKey())
		a.Resource = &account.Resource{Subscription: "sub"}
		require.NoError(t, accounts.Create(ctx, a, 0))
		r := &rig{t: t, account: a, Service: New(Options{Store: disk, Accounts: accounts})}
		defer r.Close()
		require.NoError(t, r.CreateContainer(ctx, "acct", "con", &record.Container{}))
		meter := accounts.Usage().Account("acct")
		if limited == "subscription" {
			meter = accounts.Usage().Subscription("sub")
		}
		meter.Limit(usage.Limits{Capacity: 100})
		put := func(name string, size int) error {
			_, err := r.Put(ctx, r.new(name, record.BlockBlob), uploadOf(strings.Repeat("c", size)))
			return err
		}
		require.NoError(t, put("a", 60))
		require.NoError(t, put("b", 40))
		require.ErrorIs(t, put("c", 1), protocol.ErrInsufficientStorage)
		require.NoError(t, put("b", 40), "it takes the place of as much")
		require.NoError(t, put("b", 39))
		_, _, err = r.Append(ctx, &AppendRequest{Target: r.on("none"), Position: -1, MaxSize: -1}, uploadOf("x"))
		require.ErrorIs(t, err, protocol.ErrBlobNotFound, "other refusals come first")
		r.delete("a", 0)
		require.NoError(t, put("c", 61))
		require.ErrorIs(t, put("d", 1), protocol.ErrInsufficientStorage)
		meter.Limit(usage.Limits{Capacity: 101})
		require.NoError(t, put("d", 1))
		require.NoError(t, r.DeleteContainer(ctx, &Target{Account: a, Container: "con", Version: protocol.Newest, Now: r.now()}))
		require.Zero(t, meter.Bytes())
		require.NoError(t, r.CreateContainer(ctx, "acct", "con", &record.Container{}))
		require.NoError(t, put("a", 101))
	}
}
