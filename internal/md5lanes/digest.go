package md5lanes

import (
	"crypto/md5"
	"hash"
	"sync"
)

const (
	// bufferSize is how much of a body is handed over at a time, in bytes.
	bufferSize = 64 << 10
	// depth is how many buffers a digest may be behind, the one that is being hashed included.
	depth = 4
)

type buffer struct {
	n     int
	bytes [bufferSize]byte
}

func (b *buffer) written() []byte { return b.bytes[:b.n] }

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// Digest is the MD5 of a body that comes in piece by piece. What is written is copied, and hashed beside its receiving. It is for
// one goroutine at a time, and must be closed.
type Digest struct {
	size    int64 // expected
	length  int64 // written
	filling *buffer
	rest    [blockSize]byte
	end     []byte // of rest: what was written after all that was handed over and is not in filling
	queue
}

// queue is what of a digest the crew knows. It is guarded by the crew's mutex, but for state and hash: those belong to the worker
// that has a buffer of the digest, and to the digest when nothing is pending.
type queue struct {
	state   [4]uint32
	hash    hash.Hash // instead of state, where there are no kernels
	pending [depth]*buffer
	n       int
	busy    bool      // a worker has the first of pending
	listed  bool      // among the crew's ready
	moved   sync.Cond // a buffer was hashed
}

// New returns the digest of a body of which nothing has come yet. size is what is expected, in bytes, or negative: when so much has
// been written all of it is handed over, so that the last of it too is hashed while the caller does something else.
func New(size int64) *Digest {
	d := &Digest{size: size}
	d.state = initial
	d.moved.L = &shared.mu
	if widest() == 1 {
		d.hash = md5.New()
	}
	return d
}

// Write takes in more of the body. It waits when the digest is too far behind, and does not fail.
func (d *Digest) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		if d.filling == nil {
			d.filling = buffers.Get().(*buffer)
			d.filling.n = copy(d.filling.bytes[:], d.end)
			d.end = nil
		}
		n := copy(d.filling.bytes[d.filling.n:], rest)
		d.filling.n += n
		rest = rest[n:]
		if d.filling.n == bufferSize {
			d.handOver()
		}
	}
	if d.length += int64(len(p)); d.length == d.size {
		d.handOver()
	}
	return len(p), nil
}

// handOver has all whole blocks hashed.
func (d *Digest) handOver() {
	b := d.filling
	if b == nil {
		return
	}
	d.filling = nil
	whole := b.n &^ (blockSize - 1)
	d.end = d.rest[:copy(d.rest[:], b.bytes[whole:b.n])]
	if b.n = whole; whole == 0 {
		buffers.Put(b)
		return
	}
	shared.submit(&d.queue, b)
}

// Sum returns the MD5 of all that was written. Nothing can be written after it.
func (d *Digest) Sum() (sum [md5.Size]byte) {
	d.handOver()
	shared.drain(&d.queue)
	if d.hash != nil {
		d.hash.Write(d.end)
		d.hash.Sum(sum[:0])
		return sum
	}
	p := parties.Get().(*party)
	defer parties.Put(p)
	p.streams[0] = stream{state: d.state, tail: pad(&p.tails[0], d.end, uint64(d.length))}
	p.run(1, func(int) {})
	return p.streams[0].sum()
}

// Close lets go of everything, however much of the body came. It may be called twice.
func (d *Digest) Close() {
	if d.filling != nil {
		buffers.Put(d.filling)
		d.filling = nil
	}
	shared.dismiss(&d.queue)
}
