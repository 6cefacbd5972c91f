package local

import "sync/atomic"

// gate counts what is under way so that Close can wait for it. Unlike a sync.RWMutex it may be entered again by a goroutine
// that is already inside while another one closes it.
type gate struct {
	state atomic.Int64 // count of entries, with closedBit
	empty chan struct{}
}

const closedBit = 1 << 62

func (g *gate) init() { g.empty = make(chan struct{}) }

// enter reports whether the gate is open; every true is paired with one leave.
func (g *gate) enter() bool {
	if g.state.Add(1)&closedBit != 0 {
		g.leave()
		return false
	}
	return true
}

func (g *gate) leave() {
	if g.state.Add(-1) == closedBit {
		// Late comers that found the gate closed pass here too: only one of them may close the channel.
		if g.state.CompareAndSwap(closedBit, closedBit|closedBit>>1) {
			close(g.empty)
		}
	}
}

// close shuts the gate and waits until nobody is inside. It reports whether this call was the first.
func (g *gate) close() bool {
	for {
		old := g.state.Load()
		if old&closedBit != 0 {
			<-g.empty
			return false
		}
		if g.state.CompareAndSwap(old, old|closedBit) {
			break
		}
	}
	g.state.Add(1)
	g.leave()
	<-g.empty
	return true
}
