package usage

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// In any time of so many seconds, no more passes than the rate allows in them and one second ahead; and who waits as long as he was told
// is let in.
func TestPace(t *testing.T) {
	for _, rate := range []int64{1, 3, 100, 1_000_000} {
		m := New().Assign("acct", "sub")
		m.Limit(Limits{Requests: rate})
		now, passed := begin.Add(time.Hour), int64(0)
		start := now
		for range 10_000 {
			over, subscription, wait := m.Enter(now)
			if over == Within {
				passed++
			} else {
				require.Equal(t, OverRequests, over)
				require.False(t, subscription)
				_, _, again := m.Enter(now.Add(wait - 1))
				require.Positive(t, again)
				now = now.Add(wait)
				over, _, _ = m.Enter(now)
				require.Equal(t, Within, over)
				passed++
			}
			now = now.Add(time.Duration(rand.Int64N(int64(time.Second) / rate)))
			require.LessOrEqual(t, float64(passed), float64(rate)*(now.Sub(start).Seconds()+1)+1)
		}
		require.Equal(t, passed, m.Passed().Requests)
	}
}

// Egress is charged when it has gone: what is owed keeps the next out until it is paid for.
func TestEgress(t *testing.T) {
	ledger := New()
	m, now := ledger.Assign("acct", "sub"), begin.Add(time.Hour)
	m.Limit(Limits{Egress: 1000})
	over, _, _ := m.Enter(now)
	require.Equal(t, Within, over)
	m.Leave(7, 5000, now)
	over, _, wait := m.Enter(now)
	require.Equal(t, OverEgress, over)
	require.InDelta(t, 4.0, wait.Seconds(), 0.001) // five seconds' worth, one of them ahead
	over, _, _ = m.Enter(now.Add(wait))
	require.Equal(t, Within, over)
	require.Equal(t, Passed{2, 7, 5000}, m.Passed())
	require.Equal(t, Passed{2, 7, 5000}, ledger.Subscription("sub").Passed())

	// The same limits set again forgive nothing; others begin anew, and none is none at once.
	m.Leave(0, 5000, now)
	m.Limit(Limits{Egress: 1000, Capacity: 5})
	over, _, _ = m.Enter(now)
	require.Equal(t, OverEgress, over)
	m.Limit(Limits{Egress: 2000})
	over, _, _ = m.Enter(now)
	require.Equal(t, Within, over)
	m.Limit(Limits{})
	m.Leave(0, 1<<60, now)
	over, _, _ = m.Enter(now)
	require.Equal(t, Within, over)
}

// An account that hammers at its own limit takes nothing from its subscription's.
func TestAnAccountAtItsLimitLeavesTheRest(t *testing.T) {
	ledger := New()
	busy, other := ledger.Assign("busy", "sub"), ledger.Assign("other", "sub")
	busy.Limit(Limits{Requests: 2})
	ledger.Subscription("sub").Limit(Limits{Requests: 5})
	now := begin.Add(time.Hour)
	for i := range 100 {
		over, subscription, _ := busy.Enter(now)
		require.Equal(t, i >= 2, over == OverRequests)
		require.False(t, subscription)
	}
	for i := range 10 {
		over, subscription, wait := other.Enter(now)
		require.Equal(t, i >= 3, over == OverRequests)
		require.Equal(t, i >= 3, subscription)
		require.LessOrEqual(t, wait, 200*time.Millisecond)
	}
	require.Equal(t, int64(5), ledger.Subscription("sub").Passed().Requests)
}

// Who comes at the same time is counted one by one.
func TestPaceAtTheSameTime(t *testing.T) {
	m := New().Account("acct")
	m.Limit(Limits{Requests: 1000})
	now, in := begin.Add(time.Hour), atomic.Int64{}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				if over, _, _ := m.Enter(now); over == Within {
					in.Add(1)
				}
			}
		})
	}
	all.Wait()
	require.Equal(t, int64(1000), in.Load())
}

// Without a limit a request costs nothing that it would notice, and with one no memory.
func TestEnterDoesNotAllocate(t *testing.T) {
	m := New().Assign("acct", "sub")
	now := time.Now()
	for _, l := range []Limits{{}, {Requests: 1 << 40, Egress: 1 << 40}} {
		m.Limit(l)
		require.Zero(t, testing.AllocsPerRun(100, func() {
			m.Enter(now)
			m.Leave(1, 1, now)
		}))
	}
}

func BenchmarkEnter(b *testing.B) {
	for name, l := range map[string]Limits{"unlimited": {}, "limited": {Requests: 1 << 40, Egress: 1 << 50}} {
		b.Run(name, func(b *testing.B) {
			m := New().Assign("acct", "sub")
			m.Limit(l)
			now := time.Now()
			for b.Loop() {
				m.Enter(now)
				m.Leave(0, 1024, now)
			}
		})
	}
}
