package local

import (
	"sync"
	"time"

	"github.com/blobd/blobd/internal/engine"
)

// stampLease is how far ahead of the stamps given the durable limit is kept: after a crash stamps start at the limit, so at
// most this far in the future.
const stampLease = engine.Stamp(time.Second / 100)

// clock gives strictly increasing stamps, also after a restart with the machine's clock set back.
//
// A durable limit lies above every stamp that a durable transaction carries: a transaction whose stamp reaches the durable
// limit writes a higher one in its own batch, so a lease costs one small record a second and no sync of its own.
type clock struct {
	now func() time.Time

	mu    sync.Mutex
	last  engine.Stamp // highest given
	limit engine.Stamp // durable: stamps below it need nothing
	next  engine.Stamp // limit on its way to the disk
}

// start continues after a limit read from the disk.
func (c *clock) start(limit engine.Stamp) { c.last, c.limit, c.next = limit, limit, limit }

// stamp returns a new stamp and, if not 0, the limit that must become durable with it.
func (c *clock) stamp() (s, limit engine.Stamp) {
	now := engine.StampOf(c.now())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(now, c.last+1)
	if c.last < c.limit {
		return c.last, 0
	}
	if c.last >= c.next {
		c.next = c.last + stampLease
	}
	return c.last, c.next
}

// durable tells that a limit given by stamp is on disk.
func (c *clock) durable(limit engine.Stamp) {
	c.mu.Lock()
	c.limit = max(c.limit, limit)
	c.mu.Unlock()
}

// stop returns the limit that a clean close leaves: just above the last stamp, so that a restart does not run ahead.
func (c *clock) stop() engine.Stamp {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last + 1
}
