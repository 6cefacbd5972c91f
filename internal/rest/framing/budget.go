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

	// Patience is how long an answer may be on its way before the slowest are cut off to have room for others; 0 for ever. It is set
	// before the budget is used.
	Patience time.Duration
	mu       sync.Mutex
	underway map[*Conn]time.Time // of mu: connections whose answer is being sent, since when
}

// NewBudget returns a budget of so many bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Take takes n bytes, which go back with Give; false if that many are not left.
func (b *Budget) Take(n int64) bool {
	if b == nil {
		return true
	}
	if b.used.Add(n) > b.limit {
		b.used.Add(-n)
		b.refused.Add(1)
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

// Spent tells that nothing is left, and counts who is turned away by it.
func (b *Budget) Spent() bool {
	if b == nil || b.used.Load() < b.limit {
		return false
	}
	b.refused.Add(1)
	return true
}

// Give gives n bytes back.
func (b *Budget) Give(n int64) {
	if b != nil {
		b.used.Add(-n)
	}
}

// begin notes that the answer of a connection, which it holds memory for, is being sent from now on.
func (b *Budget) begin(c *Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.untaken.Load() == 0 { // it was closed meanwhile
		return
	}
	if b.underway == nil {
		b.underway = make(map[*Conn]time.Time)
	}
	c.taken.Store(0)
	b.underway[c] = time.Now()
}

// end gives back what a connection's answer holds.
func (b *Budget) end(c *Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Give(c.untaken.Swap(0))
	delete(b.underway, c)
}

// makeRoom cuts off connections that take their answers too slowly, those that took the least in their time first, until n bytes are left:
// who does not read, or hardly, must not keep all others from their answers. It reports whether they are.
func (b *Budget) makeRoom(n int64) bool {
	if b.Patience == 0 || n > b.limit {
		return false
	}
	type slow struct {
		c    *Conn
		pace float64 // bytes a second
	}
	var all []slow
	now := time.Now()
	b.mu.Lock()
	for c, since := range b.underway {
		if age := now.Sub(since); age > b.Patience {
			all = append(all, slow{c, float64(c.taken.Load()) / age.Seconds()})
		}
	}
	slices.SortFunc(all, func(x, y slow) int { return cmp.Compare(x.pace, y.pace) })
	i := 0
	for ; i < len(all) && b.used.Load()+n > b.limit; i++ {
		b.used.Add(-all[i].c.untaken.Swap(0))
		delete(b.underway, all[i].c)
		b.refused.Add(1)
	}
	b.mu.Unlock()
	for _, s := range all[:i] {
		s.c.Abort()
	}
	return b.used.Load()+n <= b.limit
}

// Underway is how many answers are being sent.
func (b *Budget) Underway() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.underway)
}

// Used is what is taken, in bytes.
func (b *Budget) Used() int64 { return b.used.Load() }

// Limit is what there is, in bytes.
func (b *Budget) Limit() int64 { return b.limit }

// Refused counts what found too little left.
func (b *Budget) Refused() int64 { return b.refused.Load() }
