package md5lanes

import (
	"crypto/md5"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestManyCallAtOnce(t *testing.T) {
	each(t, func(t *testing.T) {
		crowd(t, 100, 40, func(r *rand.Rand) {
			b := random(r, r.IntN(3*worthwhile))
			assert.Equal(t, md5.Sum(b), Sum(b))
		})
	})
}

// crowd runs a test in goroutines, each with random numbers of its own.
func crowd(t *testing.T, goroutines, times int, test func(r *rand.Rand)) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var wg sync.WaitGroup
	for i := range goroutines {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for range times {
				test(r)
			}
		})
	}
	wg.Wait()
}
