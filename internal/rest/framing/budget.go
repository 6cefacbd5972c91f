package framing

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Budget bounds the memory that peers can make a server hold while it waits for them. nil has no bound. It is safe for concurrent use.
type Budget struct {
	limit         int64
	used, refused atomic.Int64

	// Patience is how long memory may wait for a peer before the slowest are cut off to have room for others; 0 for ever. It is set
	// before the budget is used.
	Patience time.Duration
	mu       sync.Mutex
	waiting  map[*hold]time.Time // of mu: those that wait for their peers, since when
}

// hold is what a connection holds of a budget.
type hold struct {
	c     *Conn        // set once: others read it while they make room
	n     atomic.Int64 // bytes
	moved atomic.Int64 // bytes that the peer has taken or sent since the hold began to wait
}

// NewBudget returns a budget of so many bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Take takes n bytes, which go back with Give; false if that many are not left.
func (b *Budget) Take(n int64) bool {
	if b == nil || b.take(n) {
		return true
	}
	b.refused.Add(1)
	return false
}

func (b *Budget) take(n int64) bool {
	if b.used.Add(n) > b.limit {
		b.used.Add(-n)
		return false
	}
	return true
}

// Force takes n bytes whether they are left or not: what was done already has to be answered.
func (b *Budget) Force(n int64) {
	if b != nil {
		b.used.Add(n)
	}
}

// Left tells whether anything is left, if need be of the slowest, and counts who is turned away as nothing is.
func (b *Budget) Left() bool {
	if b == nil || b.used.Load() < b.limit || b.makeRoom(1, nil) {
		return true
	}
	b.refused.Add(1)
	return false
}

// Give gives n bytes back.
func (b *Budget) Give(n int64) {
	if b != nil {
		b.used.Add(-n)
	}
}

// begin notes that a hold waits for its peer from now on.
func (b *Budget) begin(h *hold) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if h.n.Load() == 0 { // its connection was closed meanwhile
		return
	}
	if b.waiting == nil {
		b.waiting = make(map[*hold]time.Time)
	}
	h.moved.Store(0)
	b.waiting[h] = time.Now()
}

// rest notes that a hold waits no more.
func (b *Budget) rest(h *hold) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.waiting, h)
}

// end gives back what is held.
func (b *Budget) end(h *hold) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Give(h.n.Swap(0))
	delete(b.waiting, h)
}

// takeFor takes n more bytes for a hold; if they are not left, of the slowest.
func (b *Budget) takeFor(h *hold, n int64) bool {
	if !b.take(n) && !(b.makeRoom(n, h) && b.take(n)) {
		b.refused.Add(1)
		return false
	}
	h.n.Add(n)
	return true
}

// makeRoom cuts off connections that are too slow, those that moved the least in their time for what they hold first, until n bytes are
// left: who does not read, or hardly sends, must not keep all others out. It reports whether they are; if the slow hold too little for
// that nobody is cut off, and none that is faster than the hold that asks, nil for one that holds nothing.
func (b *Budget) makeRoom(n int64, asks *hold) bool {
	if b.Patience == 0 || n > b.limit {
		return false
	}
	type slow struct {
		h    *hold
		pace float64 // bytes a second for each byte held
	}
	var all []slow
	now := time.Now()
	b.mu.Lock()
	for h, since := range b.waiting {
		if age := now.Sub(since); age > b.Patience {
			all = append(all, slow{h, float64(h.moved.Load()) / age.Seconds() / float64(h.n.Load())})
		}
	}
	slices.SortFunc(all, func(x, y slow) int { return cmp.Compare(x.pace, y.pace) })
	i, short := 0, b.used.Load()+n-b.limit
	for ; i < len(all) && all[i].h != asks && short > 0; i++ {
		short -= all[i].h.n.Load()
	}
	if short > 0 {
		i = 0
	}
	for _, s := range all[:i] {
		b.used.Add(-s.h.n.Swap(0))
		delete(b.waiting, s.h)
		b.refused.Add(1)
	}
	b.mu.Unlock()
	for _, s := range all[:i] {
		s.h.c.Abort()
	}
	return short <= 0
}

// Waiting is how many connections with memory of it wait for their peers.
func (b *Budget) Waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting)
}

// Used is what is taken, in bytes.
func (b *Budget) Used() int64 { return b.used.Load() }

// Limit is what there is, in bytes.
func (b *Budget) Limit() int64 { return b.limit }

// Refused counts what found too little left.
func (b *Budget) Refused() int64 { return b.refused.Load() }
