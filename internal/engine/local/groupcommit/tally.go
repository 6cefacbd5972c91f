package groupcommit

// powers are bounds of a histogram's buckets, each the double of the one before.
type powers struct {
	first int64
	n     int
}

var (
	tookBounds = powers{1 << 14, 20} // nanoseconds: 16 us to 9 s
	sizeBounds = powers{1, 12}       // members: 1 to 2048
)

// Seconds are the bounds of the buckets by how long syncs took.
func Seconds() []float64 { return tookBounds.in(1e9) }

// Sizes are the bounds of the buckets by how many shared a sync.
func Sizes() []float64 { return sizeBounds.in(1) }

func (p powers) in(unit float64) []float64 {
	b := make([]float64, p.n)
	for i := range b {
		b[i] = float64(p.first<<i) / unit
	}
	return b
}

// Tally is a histogram. It is written to under the Syncer's lock.
type Tally struct {
	bounds powers
	Counts []uint64
	Sum    int64
}

func newTally(b powers) Tally { return Tally{bounds: b, Counts: make([]uint64, b.n+1)} }

func (t *Tally) add(v int64) {
	i := 0
	for i < t.bounds.n && v > t.bounds.first<<i {
		i++
	}
	t.Counts[i]++
	t.Sum += v
}
