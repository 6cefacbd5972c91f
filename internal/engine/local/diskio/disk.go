package diskio

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/blobd/blobd/internal/engine"
)

// ErrStalled is the error of an operation on a disk that does not answer. It is an engine.ErrUnavailable.
var ErrStalled error = stalled{}

type stalled struct{}

func (stalled) Error() string { return "the disk does not answer" }

func (stalled) Is(kind error) bool { return kind == engine.ErrUnavailable }

const (
	ticks     = 16            // looks within a limit
	slow      = 1             // ticks from which on an operation under way is slow
	maxProbes = 64            // in a row that must go well, at most
	forgiven  = 64 * 16       // ticks in use after which earlier stalls count no more
	probeName = "blobd.probe" // of the file that is written to see whether a disk answers
)

// disk is one directory, with the operations under way in it.
type disk struct {
	fs  *FS
	dir string
	out atomic.Pointer[error] // why operations fail at once; nil while in use

	timings [len(Kinds)]timing

	mu        sync.Mutex
	calls     call // ring of the operations under way, the oldest first
	abandoned int  // operations that nobody waits for any more
	held      bool // a kept operation is overdue
	probing   bool
	good      int    // probes in a row that went well
	want      int    // so many are needed
	since     uint64 // tick of the last change of out

	worn int // the watch's: quarters of a tick for which operations were slow of late
}

// A call is an operation under way.
type call struct {
	d     *disk
	f     *file // nil where it is an operation on a path
	what  string
	path  string
	keep  bool // it changes what is kept, and is abandoned only if that can be spared
	own   bool // its caller makes it
	began uint64
	start time.Time

	run   func() // makes the operation and ends the call
	op    func(*call)
	undo  func() // clears up after an operation that nobody waited for; may be nil
	wake  chan struct{}
	ended bool // guarded by disk.mu
	left  bool // guarded by disk.mu: abandoned

	p   []byte
	off int64
	n   int
	err error

	prev, next *call // guarded by disk.mu
}

var callPool = sync.Pool{New: func() any {
	c := &call{wake: make(chan struct{}, 1)}
	c.run = func() {
		c.op(c)
		c.end()
	}
	return c
}}

// begin puts a call among those under way.
func (d *disk) begin(c *call) {
	c.d, c.began, c.start = d, d.fs.tick.Load(), time.Now()
	d.mu.Lock()
	last := d.calls.prev
	c.prev, c.next = last, &d.calls
	last.next, d.calls.prev = c, c
	d.mu.Unlock()
}

// count counts what a call took.
func (c *call) count() { c.d.timings[kindOf(c.what)].add(time.Since(c.start), c.err) }

// end takes a call out, and wakes its caller or clears up after it.
func (c *call) end() {
	d := c.d
	c.count()
	d.mu.Lock()
	c.prev.next, c.next.prev = c.next, c.prev
	c.ended = true
	if !c.left {
		d.mu.Unlock()
		c.wake <- struct{}{}
		return
	}
	d.abandoned--
	var last *file
	if f := c.f; f != nil {
		if f.stuck--; f.stuck == 0 && f.closing {
			last = f
		}
	}
	d.mu.Unlock()
	if c.undo != nil {
		c.undo()
	}
	if last != nil {
		_ = last.File.Close() // its user has left
	}
}

// do makes an operation, and returns its error or, when that takes too long, ErrStalled. The call is the caller's until release.
func (d *disk) do(c *call) error {
	if c.own {
		d.begin(c)
		c.op(c)
		c.count()
		d.mu.Lock()
		c.prev.next, c.next.prev = c.next, c.prev
		c.ended = true
		d.mu.Unlock()
		return c.err
	}
	if why := d.out.Load(); why != nil {
		c.ended = true
		return *why
	}
	d.begin(c)
	go c.run()
	<-c.wake
	if c.left {
		return d.stalled(c)
	}
	return c.err
}

func (d *disk) stalled(c *call) error {
	return fmt.Errorf("%w: %s of %s took longer than %v", ErrStalled, c.what, c.path, d.fs.limit)
}

// release gives a call back, unless its operation is still under way.
func (c *call) release() {
	if c.left {
		return
	}
	*c = call{wake: c.wake, run: c.run}
	callPool.Put(c)
}

// on makes an operation on a path. undo, if there is one, clears up after one that nobody waited for.
func (d *disk) on(what, path string, writes bool, op func() error, undo func()) error {
	c := callPool.Get().(*call)
	c.what, c.path, c.keep, c.undo = what, path, writes, undo
	c.own = writes && d.fs.kept(d, d.below(path))
	c.op = func(c *call) { c.err = op() }
	defer c.release()
	return d.do(c)
}

// look is what the watch does at a tick.
func (d *disk) look(now uint64) {
	d.mu.Lock()
	oldest := uint64(0)
	var overdue, held *call
	for c := d.calls.next; c != &d.calls; c = c.next {
		if c.left {
			continue
		}
		age := now - c.began
		oldest = max(oldest, age)
		if age <= ticks {
			break // those behind are younger
		}
		if c.keep {
			held = c
		} else if overdue == nil {
			overdue = c
		}
	}
	d.mu.Unlock()
	if oldest > slow {
		d.worn += 4
	} else {
		d.worn = max(0, d.worn-1)
	}

	// Whether an operation is kept may have changed since it began, and asking takes the locks of others.
	if held != nil && !d.fs.kept(d, held.path) {
		overdue = held
	}
	switch {
	case overdue != nil:
		d.leave(now, ticks, d.stalled(overdue))
	case d.worn > 4*ticks && d.out.Load() == nil && d.fs.aloneSlow(d):
		d.leave(now, slow, fmt.Errorf("%w: it was slow for %v in all while no other was", ErrStalled, d.fs.limit))
	}
	d.tellHeld(now)
	d.tryAgain(now)
}

// leave takes the disk out of use and abandons what is older than so many ticks.
func (d *disk) leave(now uint64, age uint64, why error) {
	var left []*call
	d.mu.Lock()
	for c := d.calls.next; c != &d.calls; c = c.next {
		if !c.left && !c.own && now-c.began > age && !(c.keep && d.fs.kept(d, c.path)) {
			left = append(left, c)
		}
	}
	for _, c := range left {
		c.left = true
		d.abandoned++
		if c.f != nil {
			c.f.stuck++
		}
	}
	first := d.out.Load() == nil
	if first {
		if now-d.since > forgiven {
			d.want = 1
		}
		d.want = min(2*d.want, maxProbes)
		d.since, d.good, d.worn = now, 0, 0
		d.out.Store(&why)
	}
	d.mu.Unlock()
	// The owner knows before the callers do: what they find failed then has its reason.
	if first {
		d.fs.changed(d, why)
	}
	for _, c := range left {
		c.wake <- struct{}{}
	}
}

// tellHeld tells the owner when a kept operation is overdue, and when none is any more.
func (d *disk) tellHeld(now uint64) {
	d.mu.Lock()
	var over *call
	for c := d.calls.next; c != &d.calls && now-c.began > ticks; c = c.next {
		if c.keep && !c.left {
			over = c
			break
		}
	}
	was := d.held
	d.held = over != nil
	var err error
	if over != nil {
		err = d.stalled(over)
	}
	d.mu.Unlock()
	if was != (over != nil) {
		d.fs.heldUp(d, err)
	}
}

// tryAgain tries a disk out of use whose operations have all returned.
func (d *disk) tryAgain(now uint64) {
	d.mu.Lock()
	try := d.out.Load() != nil && d.abandoned == 0 && !d.probing && !d.held
	if try {
		d.probing = true
	}
	d.mu.Unlock()
	if !try {
		return
	}
	d.fs.running.Go(func() {
		began := d.fs.tick.Load()
		d.probe()
		quick := d.fs.tick.Load()-began <= 2*slow
		d.mu.Lock()
		d.probing = false
		if quick {
			d.good++
		} else {
			d.good = 0
		}
		back := d.good >= d.want && d.out.Load() != nil
		if back {
			d.since = d.fs.tick.Load()
			d.out.Store(nil)
		}
		d.mu.Unlock()
		if back {
			d.fs.changed(d, nil)
		}
	})
}

// probe writes a small file. What becomes of it does not matter here: an error is an answer.
func (d *disk) probe() {
	path := d.fs.FS.PathJoin(d.dir, probeName)
	f, err := d.fs.FS.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return
	}
	_, _ = f.Write(make([]byte, 4096))
	_ = f.Sync()
	_ = f.Close()
	_ = d.fs.FS.Remove(path)
}

// watch looks at the disks until the file system is closed.
func (fs *FS) watch() {
	tick := time.NewTicker(max(fs.limit/ticks, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-fs.stop:
			return
		case <-tick.C:
		}
		now := fs.tick.Add(1)
		for _, d := range fs.disks {
			d.look(now)
		}
	}
}
