package diskio

import (
	"errors"
	"io"
	"io/fs"
	"math/bits"
	"sync/atomic"
	"time"
)

// Kinds are the operations that are told apart where their time is counted.
var Kinds = [...]string{"read", "write", "sync", "other"}

// kindOf is the index in Kinds of an operation.
func kindOf(what string) int {
	switch what {
	case "read":
		return 0
	case "write":
		return 1
	case "fsync", "fdatasync", "sync":
		return 2
	}
	return 3
}

// The buckets of Timing are powers of four from 16 us to 17 s, so that the length of a duration in bits tells which it is.
const (
	firstBound = 14 // binary logarithm of nanoseconds
	bounds     = 11
)

// Bounds are the upper ends of the buckets of a Timing, in seconds; the last bucket has none.
func Bounds() []float64 {
	b := make([]float64, bounds)
	for i := range b {
		b[i] = float64(int64(1)<<(firstBound+2*i)) / 1e9
	}
	return b
}

// timing counts the operations of one kind on one disk that were not answered from the page cache.
type timing struct {
	counts [bounds + 1]atomic.Uint64
	nanos  atomic.Int64
	errors atomic.Uint64
}

func (t *timing) add(took time.Duration, err error) {
	i := 0
	if n := bits.Len64(uint64(max(took, 1) - 1)); n > firstBound {
		i = min((n-firstBound+1)/2, bounds)
	}
	t.counts[i].Add(1)
	t.nanos.Add(int64(took))
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, fs.ErrNotExist) {
		t.errors.Add(1)
	}
}

// Timing is how long operations of one kind took on one disk since the start, and how many failed. One that is still under way, or that
// nobody waits for any more, is counted when it has returned.
type Timing struct {
	Counts  []uint64 // by bucket
	Seconds float64  // of all together
	Errors  uint64
}

// Load is a directory's operations since the start and at the moment.
type Load struct {
	Dir   string
	Out   bool // it does not answer, and is not asked
	Under int  // operations under way
	Stuck int  // of them, so many that nobody waits for any more
	Kinds [len(Kinds)]Timing
}

// Loads tells of every directory that is guarded.
func (fs *FS) Loads() []Load {
	loads := make([]Load, len(fs.disks))
	for i, d := range fs.disks {
		l := &loads[i]
		l.Dir, l.Out = d.dir, d.out.Load() != nil
		d.mu.Lock()
		for c := d.calls.next; c != &d.calls; c = c.next {
			l.Under++
		}
		l.Stuck = d.abandoned
		d.mu.Unlock()
		for k := range d.timings {
			t := &d.timings[k]
			l.Kinds[k] = Timing{Counts: make([]uint64, len(t.counts)), Seconds: float64(t.nanos.Load()) / 1e9, Errors: t.errors.Load()}
			for j := range t.counts {
				l.Kinds[k].Counts[j] = t.counts[j].Load()
			}
		}
	}
	return loads
}
