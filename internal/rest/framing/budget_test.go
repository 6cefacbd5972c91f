package framing

import (
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Room is made by cutting off the slowest, no more of them than it takes, and nobody who has just begun.
func TestTheSlowestMakeRoom(t *testing.T) {
	b := NewBudget(100)
	b.Patience = time.Minute
	open := func(client string, taken int64, ago time.Duration) (c *Conn, peer net.Conn) {
		c, peer = of(b, client)
		require.True(t, b.takeFor(&c.untaken, 25))
		c.Answering()
		c.untaken.moved.Store(taken)
		b.waiting[&c.untaken] = b.waiting[&c.untaken].Add(-ago)
		return c, peer
	}
	fast, _ := open("192.0.2.1", 10_000, time.Hour)
	slow, _ := open("192.0.2.2", 100, time.Hour)
	slowest, peer := open("192.0.2.3", 10, 10*time.Minute)
	fresh, _ := open("192.0.2.4", 0, time.Second)
	asks, _ := of(b, "192.0.2.5")
	require.False(t, b.take(&asks.untaken, 20))
	require.False(t, b.makeRoom(80, &asks.untaken), "the slow hold less than that")
	require.False(t, b.takeFor(&slowest.untaken, 1), "nobody makes room for one who is slower")
	require.False(t, b.takeFor(&slow.untaken, 30), "nor does he lose what he holds by asking for more")
	require.EqualValues(t, []int64{100, 4, 2}, []int64{b.Used(), int64(b.Waiting()), b.Refused()})
	require.True(t, b.makeRoom(20, &asks.untaken))
	require.EqualValues(t, []int64{75, 25, 25, 0, 25}, []int64{b.Used(), fast.untaken.n.Load(), slow.untaken.n.Load(), slowest.untaken.n.Load(), fresh.untaken.n.Load()})
	_, err := peer.Read(make([]byte, 1))
	require.Error(t, err, "it is cut off")
	slowest.answered() // it comes to its end
	require.EqualValues(t, 75, b.Used())
	require.True(t, b.makeRoom(75, &asks.untaken))
	require.EqualValues(t, 25, b.Used())
	require.False(t, b.makeRoom(80, &asks.untaken), "who has just begun is left alone")
	fresh.answered()
	require.Zero(t, b.Used())
	require.Empty(t, b.waiting)
	require.False(t, b.makeRoom(101, &asks.untaken))
	cut := b.Refused()
	require.True(t, b.takeFor(&fresh.untaken, 100))
	require.Equal(t, cut, b.Refused(), "who is served is not counted as refused")
	b.Patience = 0
	require.False(t, b.makeRoom(1, &asks.untaken))
}

// of is a connection of a client, whose answers are of a budget.
func of(b *Budget, client string) (c *Conn, peer net.Conn) {
	end, peer := net.Pipe()
	c = &Conn{Conn: end, sock: end, client: netip.MustParseAddr(client), l: &Listener{limits: Limits{Answers: b}}}
	b.open(&c.untaken, c)
	return c, peer
}

// No client holds more than it leaves to all others, however many connections it has; what is one alone is bound by the budget only.
func TestAClientLeavesAsMuchAsItHolds(t *testing.T) {
	b := NewBudget(100)
	var all []*Conn
	fill := func(client string, each int64) (held int64) {
		for {
			c, _ := of(b, client)
			if !b.takeFor(&c.untaken, each) {
				return held
			}
			all = append(all, c)
			held += each
		}
	}
	require.EqualValues(t, 50, fill("192.0.2.1", 1))
	require.EqualValues(t, 0, fill("192.0.2.1", 1))
	require.EqualValues(t, 25, fill("2001:db8::1", 1))
	require.EqualValues(t, 0, fill("2001:db8::ffff:1", 1), "another address of the same client")
	require.EqualValues(t, 25, fill("192.0.2.3", 25), "one alone")
	for _, c := range all {
		c.answered()
	}
	require.Zero(t, b.Used())
	for i := range b.shares {
		require.Zero(t, b.shares[i].Load())
	}
	for _, n := range []int64{30, 30, 40} { // one answer that grows
		require.True(t, b.takeFor(&all[0].untaken, n))
	}
	require.False(t, b.takeFor(&all[0].untaken, 1))
}

// Who holds too much makes room among his own connections, however slow those of others are.
func TestAClientMakesRoomAmongItsOwn(t *testing.T) {
	b := NewBudget(100)
	b.Patience = time.Minute
	open := func(client string, taken int64) *Conn {
		c, _ := of(b, client)
		require.True(t, b.takeFor(&c.untaken, 25))
		c.Answering()
		c.untaken.moved.Store(taken)
		b.waiting[&c.untaken] = time.Now().Add(-time.Hour)
		return c
	}
	fast, slow, other := open("192.0.2.1", 1000), open("192.0.2.1", 100), open("192.0.2.2", 0)
	asks, _ := of(b, "192.0.2.1")
	require.True(t, b.takeFor(&asks.untaken, 10))
	require.EqualValues(t, []int64{25, 0, 25, 10}, []int64{fast.untaken.n.Load(), slow.untaken.n.Load(), other.untaken.n.Load(), asks.untaken.n.Load()})
}

// What has to be answered is let in beyond the limit, but not far beyond it.
func TestWhatMustBeAnsweredIsBoundedToo(t *testing.T) {
	b := NewBudget(100)
	first, _ := of(b, "192.0.2.1")
	second, _ := of(b, "192.0.2.2")
	require.True(t, first.Answer(SmallAnswer, true), "not counted")
	require.True(t, b.force(&first.untaken, 80))
	require.True(t, b.force(&second.untaken, 45))
	require.False(t, b.force(&second.untaken, 1))
	require.EqualValues(t, 125, b.Used())
	first.answered()
	require.True(t, b.force(&second.untaken, 1))
	second.answered()
	require.Zero(t, b.Used())
}

// All is given back, however takers, givers and those that are cut off meet.
func TestAllIsGivenBack(t *testing.T) {
	b := NewBudget(1000)
	b.Patience = 1
	var group sync.WaitGroup
	for _, client := range []string{"192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"} {
		group.Go(func() {
			c, _ := of(b, client)
			for i := range int64(500) {
				if i%7 == 0 {
					b.force(&c.untaken, i%90)
				}
				if b.takeFor(&c.untaken, 1+i%300) && i%3 == 0 {
					c.Answering()
				}
				if i%5 == 0 {
					c.answered()
				}
			}
			c.answered()
		})
	}
	group.Wait()
	require.Zero(t, b.Used())
	require.Zero(t, b.Waiting())
	for i := range b.shares {
		require.Zero(t, b.shares[i].Load())
	}
}
