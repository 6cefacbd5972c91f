package framing

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Room is made by cutting off the slowest, no more of them than it takes, and nobody who has just begun.
func TestTheSlowestMakeRoom(t *testing.T) {
	b := NewBudget(100)
	b.Patience = time.Minute
	open := func(taken int64, ago time.Duration) (c *Conn, peer net.Conn) {
		end, peer := net.Pipe()
		c = &Conn{Conn: end, sock: end, l: &Listener{limits: Limits{Answers: b}}}
		require.True(t, b.Take(25))
		c.untaken.c = c
		c.untaken.n.Store(25)
		c.Answering()
		c.untaken.moved.Store(taken)
		b.waiting[&c.untaken] = b.waiting[&c.untaken].Add(-ago)
		return c, peer
	}
	fast, _ := open(10_000, time.Hour)
	slow, _ := open(100, time.Hour)
	slowest, peer := open(10, 10*time.Minute)
	fresh, _ := open(0, time.Second)
	require.False(t, b.Take(20))
	require.False(t, b.makeRoom(80, nil), "the slow hold less than that")
	require.False(t, b.takeFor(&slowest.untaken, 1), "nobody makes room for one who is slower")
	require.False(t, b.takeFor(&slow.untaken, 30), "nor does he lose what he holds by asking for more")
	require.EqualValues(t, []int64{100, 4, 3}, []int64{b.Used(), int64(b.Waiting()), b.Refused()})
	require.True(t, b.makeRoom(20, nil))
	require.EqualValues(t, []int64{75, 25, 25, 0, 25}, []int64{b.Used(), fast.untaken.n.Load(), slow.untaken.n.Load(), slowest.untaken.n.Load(), fresh.untaken.n.Load()})
	_, err := peer.Read(make([]byte, 1))
	require.Error(t, err, "it is cut off")
	slowest.answered() // it comes to its end
	require.EqualValues(t, 75, b.Used())
	require.True(t, b.makeRoom(75, nil))
	require.EqualValues(t, 25, b.Used())
	require.False(t, b.makeRoom(80, nil), "who has just begun is left alone")
	fresh.answered()
	require.Zero(t, b.Used())
	require.Empty(t, b.waiting)
	require.False(t, b.makeRoom(101, nil))
	cut := b.Refused()
	require.True(t, b.takeFor(&fresh.untaken, 100))
	require.Equal(t, cut, b.Refused(), "who is served is not counted as refused")
	b.Patience = 0
	require.False(t, b.makeRoom(1, nil))
}
