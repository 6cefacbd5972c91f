// Package tally counts the uses of things by name, for whoever must leave alone what is in use.
package tally

import (
	"maps"
	"slices"
	"sync"
)

// Tally counts uses. The zero value has none, and it is safe for concurrent use.
type Tally[K comparable] struct {
	mu sync.Mutex
	n  map[K]int // above zero
}

// Add counts n uses more of k, or fewer.
func (t *Tally[K]) Add(k K, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == nil {
		t.n = map[K]int{}
	}
	if n += t.n[k]; n > 0 {
		t.n[k] = n
	} else {
		delete(t.n, k)
	}
}

// Has tells whether k is in use.
func (t *Tally[K]) Has(k K) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n[k] > 0
}

// Len is how many things are in use.
func (t *Tally[K]) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.n)
}

// All returns what is in use.
func (t *Tally[K]) All() []K {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Keys(t.n))
}
