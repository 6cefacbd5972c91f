package md5lanes

import (
	"crypto/md5"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// write writes a body in pieces.
func write(r *rand.Rand, d *Digest, body []byte) {
	for len(body) > 0 {
		n := min(len(body), 1+r.IntN(2*bufferSize))
		d.Write(body[:n])
		body = body[n:]
	}
}

// idle waits until all workers have ended, which they do when there is nothing to hash.
func idle() {
	for {
		shared.mu.Lock()
		workers, ready := shared.workers, len(shared.ready)
		shared.mu.Unlock()
		if workers == 0 && ready == 0 {
			return
		}
		runtime.Gosched()
	}
}

func TestDigests(t *testing.T) {
	each(t, func(t *testing.T) {
		crowd(t, 40, 4, func(r *rand.Rand) {
			body := random(r, [...]int{0, 1, blockSize, bufferSize, 2 * bufferSize, bufferSize * depth, 8 * bufferSize}[r.IntN(7)])
			body = append(body, random(r, r.IntN(200))...)
			// The size that is expected is right, unknown or wrong.
			d := New([...]int64{int64(len(body)), -1, r.Int64N(int64(len(body)) + 1)}[r.IntN(3)])
			defer d.Close()
			write(r, d, body)
			assert.Equal(t, md5.Sum(body), d.Sum(), "%d bytes", len(body))
		})
	})
}

// A digest that is given up midway takes nothing with it: neither the worker that has a buffer of it nor other digests.
func TestAbandonedDigests(t *testing.T) {
	each(t, func(t *testing.T) {
		crowd(t, 40, 4, func(r *rand.Rand) {
			body := random(r, r.IntN(8*bufferSize))
			d := New(int64(len(body)))
			write(r, d, body)
			if r.IntN(2) == 0 {
				assert.Equal(t, md5.Sum(body), d.Sum())
			}
			d.Close()
			d.Close()
			assert.Nil(t, d.filling)
		})
		idle()
	})
}

// What is handed over faster than it can be hashed waits, and is bounded.
func TestADigestIsNeverFarBehind(t *testing.T) {
	d := New(100 * bufferSize)
	defer d.Close()
	piece := make([]byte, bufferSize)
	for range 100 {
		d.Write(piece)
		shared.mu.Lock()
		n := d.n
		shared.mu.Unlock()
		require.LessOrEqual(t, n, depth)
	}
	require.Equal(t, md5.Sum(make([]byte, 100*bufferSize)), d.Sum())
}

func TestWorkersEnd(t *testing.T) {
	crowd(t, 64, 2, func(r *rand.Rand) {
		d := New(3 * bufferSize)
		defer d.Close()
		write(r, d, make([]byte, 3*bufferSize))
	})
	idle()
	for _, q := range shared.ready[:cap(shared.ready)] {
		require.Nil(t, q, "a digest that is done is still known")
	}
}

func TestWithoutKernels(t *testing.T) {
	with(t)
	crowd(t, 10, 10, func(r *rand.Rand) {
		b := random(r, r.IntN(3*worthwhile))
		assert.Equal(t, md5.Sum(b), Sum(b))
		long := random(r, 3*bufferSize+r.IntN(1000))
		d := New(int64(len(long)))
		defer d.Close()
		write(r, d, long)
		assert.Equal(t, md5.Sum(long), d.Sum())
	})
}
