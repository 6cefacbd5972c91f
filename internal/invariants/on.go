//go:build invariants || race

package invariants

import "sync/atomic"

// Enabled tells that the program checks itself.
const Enabled = true

// Overwrite ends the life of memory that is about to be used again, all of it up to its capacity: whoever still refers to it reads
// nonsense, in a test, instead of another request's bytes, one day, in production.
func Overwrite(b []byte) {
	b = b[:cap(b)]
	for i := range b {
		b[i] = pattern
	}
}

// pattern is no UTF-8, no digit, no key's beginning.
const pattern = 0xdb

// Look counts n things that a loop looks at, of which a client chose the number.
func Look(n int) { looked.Add(int64(n)) }

// Looked is how many there were since the program began.
func Looked() int64 { return looked.Load() }

var looked atomic.Int64
