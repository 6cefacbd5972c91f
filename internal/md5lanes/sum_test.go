//go:build !plain

package md5lanes

import (
	"crypto/md5"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestManyCallAtOnce(t *testing.T) {
	each(t, func(t *testing.T) {
		crowd(t, 100, 40, func(r *rand.Rand) {
			b := random(r, r.IntN(3*worthwhile))
			assert.Equal(t, md5.Sum(b), Sum(b))
		})
	})
}

// Callers that come one by one soon do without company, and find it again when there is some.
func TestCompanyIsFoundAgain(t *testing.T) {
	if len(kernels) == 0 {
		return // nobody looks for company
	}
	var g gate
	body := random(rand.New(rand.NewPCG(5, 6)), worthwhile)
	want := md5.Sum(body)
	for range 1 << (despair + 2) {
		require.Equal(t, want, g.sum(body))
	}
	require.Equal(t, despair, g.alone)
	for company := false; !company; {
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				for range 64 {
					if g.sum(body) != want {
						t.Error("a wrong sum")
					}
				}
			})
		}
		wg.Wait()
		company = g.alone == 0
	}
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
