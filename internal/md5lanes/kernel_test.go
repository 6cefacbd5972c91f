package md5lanes

import (
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// sumAll hashes bodies together, as Sum does with those of its callers.
func sumAll(bodies [][]byte) [][md5.Size]byte {
	g := new(group)
	sums := make([][md5.Size]byte, len(bodies))
	tails := make([][2 * blockSize]byte, len(bodies))
	for i, b := range bodies {
		whole := len(b) / blockSize * blockSize
		g.streams[i] = stream{state: initial, blocks: b[:whole], tail: pad(&tails[i], b[whole:], uint64(len(b)))}
	}
	g.run(len(bodies), func(i int) { sums[i] = g.streams[i].sum() })
	return sums
}

func random(r *rand.Rand, n int) []byte {
	b := make([]byte, 0, n+8)
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
	}
	return b[:n:n]
}

// with gives the package other kernels for the time of a test.
func with(t testing.TB, k ...kernel) {
	idle()
	before := kernels
	kernels = k
	t.Cleanup(func() {
		idle()
		kernels = before
	})
}

// each runs a test with every kernel of this processor alone, and with all that it would choose from.
func each(t *testing.T, test func(t *testing.T)) {
	for _, k := range runnable() {
		t.Run(fmt.Sprintf("%s x%d", k.name, k.lanes), func(t *testing.T) {
			with(t, k)
			test(t)
		})
	}
	if len(kernels) > 0 {
		t.Run("chosen", test)
	}
}

// RFC 1321, A.5.
var known = []struct{ body, sum string }{
	{"", "d41d8cd98f00b204e9800998ecf8427e"},
	{"a", "0cc175b9c0f1b6a831c399e269772661"},
	{"abc", "900150983cd24fb0d6963f7d28e17f72"},
	{"message digest", "f96b697d7cb7938d525a2f31aaf161d0"},
	{"abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"},
	{"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "d174ab98d277d9f5a5611c2c9f419d9f"},
	{"12345678901234567890123456789012345678901234567890123456789012345678901234567890", "57edf4a22be3c955ac49da2e2107b67a"},
}

func TestTheKernelsAreWhatTheGeneratorWrites(t *testing.T) {
	generator, err := filepath.Abs("gen/main.go")
	require.NoError(t, err)
	run := exec.Command("go", "run", generator)
	run.Dir = t.TempDir()
	out, err := run.CombinedOutput()
	require.NoError(t, err, "%s", out)
	written, err := os.ReadFile(filepath.Join(run.Dir, "block_amd64.s"))
	require.NoError(t, err)
	kept, err := os.ReadFile("block_amd64.s")
	require.NoError(t, err)
	require.True(t, string(kept) == string(written), "run go generate ./internal/md5lanes")
}

func TestKnownAnswers(t *testing.T) {
	each(t, func(t *testing.T) {
		for _, k := range known {
			bodies := make([][]byte, widest())
			for i := range bodies {
				bodies[i] = []byte(k.body)
			}
			for _, sum := range sumAll(bodies) {
				require.Equal(t, k.sum, fmt.Sprintf("%x", sum))
			}
		}
	})
}

func TestBodiesOfAnyLengths(t *testing.T) {
	each(t, func(t *testing.T) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 0))
		for range 200 {
			bodies := make([][]byte, 1+r.IntN(widest()))
			for i := range bodies {
				n := r.IntN(5000)
				if r.IntN(2) == 0 {
					n = max(0, blockSize*r.IntN(9)+r.IntN(21)-10)
				}
				// Anywhere in memory, as vectors like to be at multiples of their size.
				bodies[i] = random(r, n+blockSize)[r.IntN(blockSize):][:n]
			}
			for i, sum := range sumAll(bodies) {
				require.Equal(t, md5.Sum(bodies[i]), sum, "%d bytes", len(bodies[i]))
			}
		}
	})
}

func TestEveryShortLength(t *testing.T) {
	each(t, func(t *testing.T) {
		body := random(rand.New(rand.NewPCG(1, 2)), 4*blockSize+1)
		for n := range body {
			require.Equal(t, md5.Sum(body[:n]), sumAll([][]byte{body[:n]})[0], "%d bytes", n)
		}
	})
}

// Lanes that nobody uses must not be read past the end of the stream that they borrow, and neighbours not mixed up.
func TestSlicesOfOneBody(t *testing.T) {
	each(t, func(t *testing.T) {
		body := random(rand.New(rand.NewPCG(3, 4)), 100*blockSize)
		for live := 1; live <= widest(); live++ {
			bodies := make([][]byte, live)
			for i := range bodies {
				bodies[i] = body[i : len(body)-3*i]
			}
			for i, sum := range sumAll(bodies) {
				require.Equal(t, md5.Sum(bodies[i]), sum, "%d of %d", i, live)
			}
		}
	})
}

func FuzzSum(f *testing.F) {
	f.Add([]byte("message digest"), uint64(1))
	f.Add(make([]byte, 3*blockSize), uint64(7))
	f.Fuzz(func(t *testing.T, input []byte, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		bodies := make([][]byte, r.IntN(maxLanes+1))
		for i := range bodies {
			from := r.IntN(len(input) + 1)
			bodies[i] = input[from : from+r.IntN(len(input)-from+1)]
		}
		for _, k := range runnable() {
			with(t, k)
			for at := 0; at < len(bodies); at += k.lanes {
				some := bodies[at:min(at+k.lanes, len(bodies))]
				for i, sum := range sumAll(some) {
					require.Equal(t, md5.Sum(some[i]), sum, "%s x%d, %d bytes", k.name, k.lanes, len(some[i]))
				}
			}
		}
	})
}
