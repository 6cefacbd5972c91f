package odata

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every byte at every place of a string, before and after every other special one, is found as a plain loop finds it.
func TestSpecial(t *testing.T) {
	naive := func(s string, at int) int {
		for ; at < len(s) && s[at] >= 0x20 && s[at] != '"' && s[at] != '\\'; at++ {
		}
		return at
	}
	for c := range 256 {
		for length := range 20 {
			for at := range length {
				s := strings.Repeat("!", at) + string([]byte{byte(c)}) + strings.Repeat("\xff", length-at-1)
				for from := range length + 1 {
					require.Equal(t, naive(s, from), special(s, from), "%q from %d", s, from)
				}
			}
		}
	}
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	edges := []byte("\x00\x01\x1f !\"#[\\]\x7f\x80\x9f\xa0\xa2\xdc\xff")
	for range 20000 {
		b := make([]byte, rng.IntN(40))
		for i := range b {
			b[i] = edges[rng.IntN(len(edges))]
			if rng.IntN(4) > 0 {
				b[i] = 'a'
			}
		}
		from := rng.IntN(len(b) + 1)
		require.Equal(t, naive(string(b), from), special(string(b), from), "%q from %d, seed %d", b, from, seed)
	}
}
