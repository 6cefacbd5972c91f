package framing

import "sync/atomic"

// Budget bounds the memory that peers can make a server hold while it waits for them. nil has no bound. It is safe for concurrent use.
type Budget struct {
	limit         int64
	used, refused atomic.Int64
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

// Used is what is taken, in bytes.
func (b *Budget) Used() int64 { return b.used.Load() }

// Limit is what there is, in bytes.
func (b *Budget) Limit() int64 { return b.limit }

// Refused counts what found too little left.
func (b *Budget) Refused() int64 { return b.refused.Load() }
