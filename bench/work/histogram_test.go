package work

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBucketsTileTheLine(t *testing.T) {
	for i := range 40 * subBuckets {
		require.Equal(t, i, bucket(upper(i)), "upper end of %d", i)
		require.Equal(t, i+1, bucket(upper(i)+1), "begin of the bucket after %d", i)
	}
}

func TestQuantilesAreWithinABucket(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var h, other Histogram
	var all []time.Duration
	for i := range 20000 {
		d := time.Duration(r.ExpFloat64() * float64(time.Millisecond))
		all = append(all, d)
		if i%2 == 0 {
			h.Add(d)
		} else {
			other.Add(d)
		}
	}
	h.Merge(&other)
	slices.Sort(all)
	require.EqualValues(t, len(all), h.Count())
	for _, q := range []float64{0.001, 0.5, 0.9, 0.99, 0.999, 1} {
		exact := all[int(q*float64(len(all)))-1]
		require.InEpsilon(t, float64(exact), float64(h.Quantile(q)), 1.0/32, "q %v", q)
	}
	require.Zero(t, new(Histogram).Quantile(0.5))
}
