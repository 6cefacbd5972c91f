package work

import (
	"context"
	"fmt"
	"time"

	"github.com/blobd/blobd/bench/content"
	"github.com/blobd/blobd/bench/wire"
)

// Growth is a fill that is watched.
type Growth struct {
	Kind    string // blobs or entities
	Items   int
	Looks   int
	Size    int // of a blob, in bytes
	Clients int
}

// Look is the state of a store at one size.
type Look struct {
	Items      int
	Rate       float64 // items per second since the look before
	P50, P99   time.Duration
	CPU        time.Duration // the server's, for an item
	GetP50     time.Duration // of point gets of entities
	GetP99     time.Duration
	RSS        int64 // bytes
	Content    int64 // bytes that clients have stored
	Disk       int64 // bytes that they take
	Written    int64 // bytes that were written for them
	Stop       time.Duration
	Start      time.Duration // of a restart: from the start of the process to the first answer
	RestartRSS int64
	ListPage   time.Duration // half of the pages of 5 000 names came within this
	PrefixPage time.Duration
}

// entityBytes is what an entity holds for its client: keys and values, in bytes.
const entityBytes = 9 + 9 + 100 + 4 + 8 + 8 + 1 + 8

// Grow fills t and reports each look. At the half and at the end the server is restarted, and listed when it holds blobs.
func Grow(ctx context.Context, t *Target, g Growth, report func(Look)) error {
	one := int64(g.Size)
	var fill func(c *Client, i uint64) error
	if g.Kind == "blobs" {
		if err := create(t, listed); err != nil {
			return err
		}
		fill = func(c *Client, i uint64) error { return c.putName(listed, i, g.Size) }
	} else {
		if err := createTables(t, tableNew); err != nil {
			return err
		}
		one = entityBytes
		fill = func(c *Client, i uint64) error { return c.insert(t, tableNew, i%partitions, i) }
	}
	var before int64 // written by the processes that have ended
	for n := 1; n <= g.Looks; n++ {
		have := g.Items * n / g.Looks
		w := Workload{Name: "fill", MaxOps: int64(have - g.Items*(n-1)/g.Looks), Client: func(t *Target, c *Client) func() error {
			return func() error { return fill(c, t.next.Add(1)-1) }
		}}
		turn, err := w.Run(ctx, t, g.Clients, Limit{Time: time.Hour})
		if err != nil {
			return err
		}
		if turn.Err != nil {
			return turn.Err
		}
		u, err := t.Usage()
		if err != nil {
			return err
		}
		l := Look{Items: have, Rate: float64(turn.Ops) / turn.Elapsed.Seconds(), P50: turn.Latency.Quantile(.5), P99: turn.Latency.Quantile(.99),
			CPU: turn.CPU / time.Duration(max(turn.Ops, 1)), RSS: u.RSS, Content: one * int64(have), Written: before + u.Written}
		if l.Disk, err = t.DiskBytes(); err != nil {
			return err
		}
		if g.Kind == "entities" {
			if err := t.points(ctx, have, &l); err != nil {
				return err
			}
		}
		if n == g.Looks/2 || n == g.Looks {
			before += u.Written
			if l.Stop, l.Start, err = t.Restart(ctx); err != nil {
				return fmt.Errorf("restart at %d: %w", have, err)
			}
			if u, err = t.Usage(); err != nil {
				return err
			}
			l.RestartRSS = u.RSS
			if g.Kind == "blobs" {
				if err := t.lists(have, &l); err != nil {
					return err
				}
			}
		}
		report(l)
	}
	return checkGrown(ctx, t, g)
}

// points measures point gets of random entities.
func (t *Target) points(ctx context.Context, have int, l *Look) error {
	w := Workload{Name: "get entity", MaxOps: 20000, Client: func(t *Target, c *Client) func() error {
		return func() error {
			i := c.rng.Uint64N(uint64(have))
			return c.point(t, tableNew, i%partitions, i, i)
		}
	}}
	turn, err := w.Run(ctx, t, 8, Limit{Time: time.Minute})
	if err == nil {
		err = turn.Err
	}
	if err != nil {
		return fmt.Errorf("get among %d: %w", have, err)
	}
	l.GetP50, l.GetP99 = turn.Latency.Quantile(.5), turn.Latency.Quantile(.99)
	return nil
}

// putName stores item i under its name of the listing.
func (c *Client) putName(container string, i uint64, size int) error {
	c.path = listName(append(append(append(c.path[:0], '/'), container...), '/'), i)
	c.req = wire.Request{Method: "PUT", Path: string(c.path), Headers: blockBlob, Body: content.Slice(i, size)}
	resp, err := c.Blob.Do(&c.req, nil)
	return expect(resp, err, 201)
}

// lists measures pages of a big container: all of them once, flat, then the first page of prefixes a number of times.
func (t *Target) lists(names int, l *Look) error {
	c := newClient(t, 0, 0)
	defer c.close()
	next := walker(c, listed, uint64(names))
	timed := func(n int, fn func() error) (time.Duration, error) {
		var h Histogram
		for range n {
			begin := time.Now()
			if err := fn(); err != nil {
				return 0, err
			}
			h.Add(time.Since(begin))
		}
		return h.Quantile(.5), nil
	}
	var err error
	if l.ListPage, err = timed((names+listPage-1)/listPage, next); err != nil {
		return fmt.Errorf("list %d names: %w", names, err)
	}
	want := min(listPage, (names+perPrefix-1)/perPrefix)
	l.PrefixPage, err = timed(20, func() error { return c.prefixes(listed, want) })
	return err
}

// checkGrown reads a sample back.
func checkGrown(ctx context.Context, t *Target, g Growth) error {
	const sample = 1000
	return parallel(ctx, t, sample, func(c *Client, k uint64) error {
		i := k * uint64(g.Items) / sample
		if g.Kind == "entities" {
			return c.point(t, tableNew, i%partitions, i, i)
		}
		c.path = listName(append(append(append(c.path[:0], '/'), listed...), '/'), i)
		c.req = wire.Request{Method: "GET", Path: string(c.path)}
		c.check.Expect(content.Slice(i, g.Size))
		resp, err := c.Blob.Do(&c.req, &c.check)
		if err = expect(resp, err, 200); err != nil {
			return err
		}
		return c.check.Close()
	})
}
