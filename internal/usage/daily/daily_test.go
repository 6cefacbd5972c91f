package daily

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/usage"
)

var ctx = context.Background()

// life is a server from its start to its end.
type life struct {
	t      testing.TB
	store  engine.Store
	ledger *usage.Ledger
	book   *Book
}

// names are accounts, each in a subscription of its own but the last two, which share one.
var names = map[string]string{"a": "sub-a", "b": "sub-b", "c": "sub-c", "d": "sub-c"}

func accountsOf(subscription string) (n int) {
	for _, s := range names {
		if s == subscription {
			n++
		}
	}
	return n
}

func start(t testing.TB, store engine.Store, now func() time.Time) *life {
	ledger, err := usage.Open(ctx, store)
	require.NoError(t, err)
	for name, subscription := range names {
		ledger.Assign(name, subscription)
	}
	book, err := Open(ctx, store, ledger, accountsOf, now)
	require.NoError(t, err)
	return &life{t, store, ledger, book}
}

func (l *life) hold(account string, service byte, by engine.Amount) {
	p := &usage.Place{Service: service, Account: account, Generation: uint64(account[0])}
	require.NoError(l.t, l.store.Update(ctx, []byte("x/"), func(tx engine.Tx) error { p.Add(tx, by); return nil }))
	l.ledger.Added(p, by)
}

func (l *life) request(account string, received, sent int64) {
	m := l.ledger.Account(account)
	m.Enter(time.Now())
	m.Leave(received, sent, time.Now())
}

// Whatever happens at whatever hour, over stops and kills, idle days and years: each day's record is what a plain recount of what was done
// gives. Of what came and went, what was not yet written at a kill is not in it; of what was held, all.
func TestRecordsAreExact(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	disk := enginetest.NewDisk()
	now := time.Date(2026, 2, 26, 21, 30, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	l := start(t, disk.Open(t), clock)

	want := map[string]*Record{} // by day and subscription
	held := map[string]*Record{}
	unwritten := map[string]usage.Passed{}
	for _, s := range names {
		held[s] = &Record{}
	}
	day := func(s string) *Record {
		key := now.Format(time.DateOnly) + " " + s
		if want[key] == nil {
			want[key] = &Record{Day: now.Format(time.DateOnly), Subscription: s}
		}
		return want[key]
	}
	settle := func() { // what is held at the moment stands in the day's record
		for s, h := range held {
			r := day(s)
			r.Accounts, r.BlobBytes, r.Blobs, r.TableBytes, r.Entities = accountsOf(s), h.BlobBytes, h.Blobs, h.TableBytes, h.Entities
			p := unwritten[s]
			r.Requests, r.Received, r.Sent = r.Requests+p.Requests, r.Received+p.Received, r.Sent+p.Sent
			delete(unwritten, s)
		}
	}
	write := func() { require.NoError(t, l.book.Write(ctx)); settle() }
	write()
	check := func() {
		got, err := l.book.Between(ctx, "0001-01-01", "9999-12-31", "")
		require.NoError(t, err)
		settle()
		seen := map[string]bool{}
		for _, r := range got {
			key := r.Day + " " + r.Subscription
			w := *want[key]
			w.Sampled = r.Sampled
			require.Equal(t, w, r)
			seen[key] = true
		}
		cut := now.AddDate(0, 0, -Kept).Format(time.DateOnly)
		for key, r := range want {
			require.True(t, seen[key] || r.Day <= cut, "%s is missing", key)
		}
	}
	for range 250 {
		a := slices.Sorted(maps.Keys(names))[rng.IntN(len(names))]
		s := names[a]
		switch rng.IntN(8) {
		case 0, 1:
			n := engine.Amount{Bytes: rng.Int64N(1000), Objects: rng.Int64N(5)}
			l.hold(a, usage.Blobs, n)
			held[s].BlobBytes, held[s].Blobs = held[s].BlobBytes+n.Bytes, held[s].Blobs+n.Objects
		case 2:
			n := engine.Amount{Bytes: rng.Int64N(1000), Objects: 1}
			l.hold(a, usage.Tables, n)
			held[s].TableBytes, held[s].Entities = held[s].TableBytes+n.Bytes, held[s].Entities+1
		case 3, 4:
			l.request(a, 3, 4)
			p := unwritten[s]
			unwritten[s] = usage.Passed{Requests: p.Requests + 1, Received: p.Received + 3, Sent: p.Sent + 4}
		case 5: // time passes: the hours that begin have what is held
			write()
			hours := rng.IntN(5)
			if rng.IntN(20) == 0 {
				hours = rng.IntN(24 * 60)
			}
			down := rng.IntN(3) == 0
			for range hours {
				now = now.Add(time.Hour)
				for s, h := range held {
					r := day(s)
					r.Hours, r.BlobByteHours, r.TableByteHours = r.Hours+1, r.BlobByteHours+h.BlobBytes, r.TableByteHours+h.TableBytes
				}
				settle()
				if !down {
					require.NoError(t, l.book.Write(ctx))
				}
			}
			if down {
				l = start(t, l.store, clock)
			}
		case 6:
			check()
		case 7: // an end: with the last writing, or without
			if rng.IntN(2) == 0 {
				require.NoError(t, l.book.Close())
				settle()
			}
			clear(unwritten)
			l = start(t, l.store, clock)
			settle()
		}
	}
	check()

	some, err := l.book.Between(ctx, "2026-02-26", "2026-02-26", "SUB-C")
	require.NoError(t, err)
	require.Len(t, some, 1)
	_, err = l.book.Between(ctx, "yesterday", "2026-02-26", "")
	require.ErrorContains(t, err, "YYYY-MM-DD")
}

// Records are bounded: of a subscription there are as many as days are kept, and of one that does nothing there are none.
func TestOldRecordsGo(t *testing.T) {
	now := time.Date(2026, 2, 26, 21, 30, 0, 0, time.UTC)
	l := start(t, enginetest.New(t), func() time.Time { return now })
	l.hold("a", usage.Blobs, engine.Amount{Bytes: 7, Objects: 1})
	require.NoError(t, l.book.Write(ctx))
	l.ledger.Subscription("idle")
	for range 3 {
		now = now.AddDate(0, 0, 300)
		require.NoError(t, l.book.Write(ctx))
	}
	kept, err := l.book.Between(ctx, "2020-01-01", "2040-01-01", "sub-a")
	require.NoError(t, err)
	require.InDelta(t, Kept, len(kept), 1)
	for _, r := range kept[:len(kept)-1] {
		require.Equal(t, int64(24*7), r.BlobByteHours, fmt.Sprint(r))
	}
	none, err := l.book.Between(ctx, "2020-01-01", "2040-01-01", "idle")
	require.NoError(t, err)
	require.Empty(t, none)
}
