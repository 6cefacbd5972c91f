//go:build race || invariants

package arm

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/invariants"
)

// What a request of one tenant costs does not grow with how many others there are: what its loops look at, and the memory that it takes,
// are counted in a small house and in one fifteen times as large, for who has one role there and for who has one in every subscription.
func TestNeighboursCostNothing(t *testing.T) {
	few, many := newCrowd(t, 10), newCrowd(t, 150)
	for _, a := range asked {
		t.Run(a.name, func(t *testing.T) {
			for _, role := range []func(*crowd) string{func(c *crowd) string { return c.one }, func(c *crowd) string { return c.everywhere }} {
				measure := func(c *crowd) (looks int64, bytes uint64) {
					c.t = t
					a.do(c, role(c)) // what is made at the first time
					before := invariants.Looked()
					bytes = allocated(func() { a.do(c, role(c)) })
					return invariants.Looked() - before, bytes
				}
				looks, bytes := measure(few)
				manyLooks, manyBytes := measure(many)
				require.LessOrEqual(t, manyLooks, looks+100, "loops")
				require.LessOrEqual(t, manyBytes, 2*bytes+16<<10, "bytes allocated")
			}
		})
	}
}

// allocated is the least that f takes of memory, in bytes, of some tries.
func allocated(f func()) (least uint64) {
	for i := range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; i == 0 || took < least {
			least = took
		}
	}
	return least
}
