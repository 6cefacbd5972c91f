package md5lanes

import (
	"runtime"
	"sync"

	"github.com/blobd/blobd/internal/speedup"
)

// shared is the crew of all Digests.
var shared crew

// crew is the workers that hash what Digests hand over. A worker takes a buffer of each of as many digests as there are lanes,
// so that the busier the machine is the more buffers have piled up, and the fuller are the lanes. Another starts only when there
// is a whole set of lanes for it: until then one that waits for the next round costs less than one that is hashed alone. A
// worker ends when there is nothing to hash.
type crew struct {
	mu      sync.Mutex
	ready   []*queue // those that have a buffer which no worker has, in turn; and some that were dismissed since
	workers int
}

// submit hands over the next buffer of a body. It waits until there is room for it.
func (c *crew) submit(q *queue, b *buffer) {
	c.mu.Lock()
	for q.n == depth {
		q.moved.Wait()
	}
	q.pending[q.n] = b
	q.n++
	c.list(q)
	if c.workers == 0 || len(c.ready) >= widest() && c.workers < min(runtime.GOMAXPROCS(0), runtime.NumCPU()) {
		c.workers++
		go c.work()
	}
	c.mu.Unlock()
}

// drain waits until all that was handed over is hashed.
func (c *crew) drain(q *queue) {
	c.mu.Lock()
	for q.n > 0 {
		q.moved.Wait()
	}
	c.mu.Unlock()
}

// dismiss drops what was handed over and is not yet hashed. A buffer that is being hashed is dropped by its worker.
func (c *crew) dismiss(q *queue) {
	c.mu.Lock()
	for q.n > 1 || q.n == 1 && !q.busy {
		q.n--
		buffers.Put(q.pending[q.n])
		q.pending[q.n] = nil
	}
	c.mu.Unlock()
}

// list puts a queue among those that are ready, if it is. c.mu is held.
func (c *crew) list(q *queue) {
	if q.n > 0 && !q.busy && !q.listed {
		q.listed = true
		c.ready = append(c.ready, q)
	}
}

// round is what a worker hashes at a time.
type round struct {
	group
	queues [maxLanes]*queue
	n      int
}

var rounds = sync.Pool{New: func() any { return new(round) }}

func (c *crew) work() {
	r := rounds.Get().(*round)
	r.n = 0
	defer rounds.Put(r)
	for {
		// Whoever is about to hand over a buffer shall come first. A body that was alone in the last round is likely to be so
		// again, and is better off if its worker stays where it is.
		if r.n != 1 {
			runtime.Gosched()
		}
		if !c.fill(r) {
			return
		}
		r.hash()
		c.giveBack(r)
	}
}

// fill takes a buffer from each of as many digests as there are lanes. If there is none the worker has ended.
func (c *crew) fill(r *round) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.n = 0
	seen := 0
	for ; seen < len(c.ready) && r.n < widest(); seen++ {
		q := c.ready[seen]
		if q.listed = false; q.n > 0 {
			q.busy = true
			r.queues[r.n] = q
			r.n++
		}
	}
	left := copy(c.ready, c.ready[seen:])
	clear(c.ready[left:])
	c.ready = c.ready[:left]
	if r.n == 0 {
		c.workers--
	}
	return r.n > 0
}

func (r *round) hash() {
	if q := r.queues[0]; q.hash != nil {
		q.hash.Write(q.pending[0].written())
		return
	}
	speedup.MD5Rounds.Add(0, 1)
	speedup.MD5Bodies.Add(0, int64(r.n))
	for i, q := range r.queues[:r.n] {
		r.streams[i] = stream{state: q.state, blocks: q.pending[0].written()}
	}
	r.run(r.n, func(i int) { r.queues[i].state = r.streams[i].state })
}

// giveBack puts the digests of a round in turn again.
func (c *crew) giveBack(r *round) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, q := range r.queues[:r.n] {
		buffers.Put(q.pending[0])
		q.n--
		copy(q.pending[:], q.pending[1:])
		q.pending[q.n] = nil
		q.busy = false
		c.list(q)
		// A writer is woken when there is room for some buffers, since waking it is dearer than handing one over.
		if q.n == depth/2 || q.n == 0 {
			q.moved.Signal()
		}
		r.queues[i] = nil
	}
}
