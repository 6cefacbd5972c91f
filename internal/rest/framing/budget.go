package framing

import (
	"cmp"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Budget bounds the memory that peers can make a server hold while it waits for them. No client address holds more of it than is left for
// all others, so that few of them never take all; what is one alone may be as large as the budget. nil has no bound. It is safe for
// concurrent use.
type Budget struct {
	limit         int64
	used, refused atomic.Int64

	// What client addresses hold, in bytes. A hash of the address finds it, so that none has to be kept or looked up under a lock; two
	// that share one are one client. seed is drawn anew at each start: nobody can choose with whom to share.
	shares [1024]atomic.Int64
	seed   maphash.Seed

	// Patience is how long memory may wait for a peer before the slowest are cut off to have room for others; 0 for ever. It is set
	// before the budget is used.
	Patience time.Duration
	mu       sync.Mutex
	waiting  map[*hold]time.Time // of mu: those that wait for their peers, since when
}

// hold is what a connection holds of a budget.
type hold struct {
	c     *Conn         // set once, as share is: others read them while they make room
	share *atomic.Int64 // what its client holds, this included
	n     atomic.Int64  // bytes
	moved atomic.Int64  // bytes that the peer has taken or sent since the hold began to wait
}

// NewBudget returns a budget of so many bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit, seed: maphash.MakeSeed()} }

// open prepares what a connection is going to hold.
func (b *Budget) open(h *hold, c *Conn) {
	if h.c = c; b != nil {
		h.share = &b.shares[maphash.Comparable(b.seed, holder(c.client))%uint64(len(b.shares))]
	}
}

// fits tells whether all together may hold used bytes, and one client mine of them, n for one connection.
func (b *Budget) fits(used, mine, n int64) bool {
	return used <= b.limit && (mine <= b.limit-used || mine <= n)
}

func (b *Budget) take(h *hold, n int64) bool {
	used, mine := b.used.Add(n), h.share.Add(n)
	if !b.fits(used, mine, h.n.Load()+n) {
		b.give(h, n)
		return false
	}
	h.n.Add(n)
	return true
}

func (b *Budget) give(h *hold, n int64) {
	b.used.Add(-n)
	h.share.Add(-n)
}

// takeFor takes n more bytes for a hold; if they are not left, of the slowest.
func (b *Budget) takeFor(h *hold, n int64) bool {
	if b == nil || b.take(h, n) || b.makeRoom(n, h) && b.take(h, n) {
		return true
	}
	b.refused.Add(1)
	return false
}

// force takes n bytes for a hold whether they are left or not, as what was done already has to be answered; false far beyond the limit.
func (b *Budget) force(h *hold, n int64) bool {
	if b.used.Add(n) > b.limit+b.limit/4 {
		b.used.Add(-n)
		b.refused.Add(1)
		return false
	}
	h.share.Add(n)
	h.n.Add(n)
	return true
}

// left tells whether anything is left for a hold, if need be of the slowest, and counts who is turned away as nothing is.
func (b *Budget) left(h *hold) bool {
	if b == nil || b.fits(b.used.Load()+1, h.share.Load()+1, 1) || b.makeRoom(1, h) {
		return true
	}
	b.refused.Add(1)
	return false
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
	b.drop(h)
}

// drop is end with mu held.
func (b *Budget) drop(h *hold) {
	b.give(h, h.n.Swap(0))
	delete(b.waiting, h)
}

// makeRoom cuts off connections that are too slow, those that moved the least in their time for what they hold first, until the hold that
// asks may have n bytes more: who does not read, or hardly sends, must not keep all others out. A client that holds more than half makes
// room among its own. It reports whether there is room; if the slow hold too little for that nobody is cut off, and none
// that is faster than the hold that asks.
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
	used, mine, want := b.used.Load()+n, asks.share.Load()+n, asks.n.Load()+n
	own := mine > want && mine > b.limit/2
	for h, since := range b.waiting {
		if age := now.Sub(since); age > b.Patience && (h.share == asks.share || !own) {
			all = append(all, slow{h, float64(h.moved.Load()) / age.Seconds() / float64(h.n.Load())})
		}
	}
	slices.SortFunc(all, func(x, y slow) int { return cmp.Compare(x.pace, y.pace) })
	i := 0
	for ; i < len(all) && all[i].h != asks && !b.fits(used, mine, want); i++ {
		held := all[i].h.n.Load()
		if used -= held; all[i].h.share == asks.share {
			mine -= held
		}
	}
	room := b.fits(used, mine, want)
	if !room {
		i = 0
	}
	for _, s := range all[:i] {
		b.drop(s.h)
		b.refused.Add(1)
	}
	b.mu.Unlock()
	for _, s := range all[:i] {
		s.h.c.Abort()
	}
	return room
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
