// Package replay makes a test that chooses at random repeatable: it says by which seed it chose, and takes another run's.
package replay

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// Variable is the environment variable that gives the seed.
const Variable = "BLOBD_SEED"

// Seed returns the seed of a test, which is in the test's log.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv(Variable); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", Variable, err)
		}
	}
	t.Logf("seed %d; again with %s=%d", seed, Variable, seed)
	return seed
}
