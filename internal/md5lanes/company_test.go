//go:build !plain

package md5lanes

import (
	"crypto/md5"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

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
