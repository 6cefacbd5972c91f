package work

import (
	"context"
	"fmt"
	"time"

	"github.com/blobd/blobd/bench/content"
	"github.com/blobd/blobd/bench/fleet"
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
	PeakRSS    int64 // since the look before
	Content    int64 // bytes that clients have stored
	Disk       int64 // bytes that they take
	Written    int64 // bytes that were written for them
	Stop       time.Duration
	Start      time.Duration // of a restart: from the start of the process to the first answer
	RestartRSS int64
	ListPage   time.Duration // half of the pages of 5 000 names came within this
	SmallPage  time.Duration // and half of those of a container with smallNames names, measured in turns with them
	PrefixPage time.Duration
}

// entityBytes is what an entity holds for its client: keys and values, in bytes.
const entityBytes = 9 + 9 + 100 + 4 + 8 + 8 + 1 + 8

// smallNames are the names of the container beside which the big one's pages are measured.
const (
	smallListed = "listedsmall"
	smallNames  = 20000
)

// rest is how long a store may take to come to rest before it is read.
const rest = 30 * time.Second

// Grow fills t and reports each look. At the half and at the end the server is restarted, and listed when it holds blobs.
func Grow(ctx context.Context, t *Target, g Growth, report func(Look)) error {
	one, beside := int64(g.Size), 0
	var fill func(c *Client, i uint64) error
	if g.Kind == "blobs" {
		for _, container := range []string{listed, smallListed} {
			if err := create(t, container); err != nil {
				return err
			}
		}
		err := parallel(ctx, t, smallNames, func(c *Client, i uint64) error { return c.putName(smallListed, i, g.Size) })
		if err != nil {
			return fmt.Errorf("fill the small container: %w", err)
		}
		beside = smallNames
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
		if err := fleet.WarmMemory(); err != nil {
			return err
		}
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
			CPU: turn.CPU / time.Duration(max(turn.Ops, 1)), RSS: u.RSS, PeakRSS: turn.PeakRSS, Content: one * int64(have+beside), Written: before + u.Written}
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
				if err := t.lists(ctx, have, &l); err != nil {
					return err
				}
			}
		}
		report(l)
	}
	return checkGrown(ctx, t, g)
}

// points measures point gets of random entities by two clients: as many as do not wait for each other here.
func (t *Target) points(ctx context.Context, have int, l *Look) error {
	if err := t.Settle(ctx, rest); err != nil {
		return err
	}
	w := Workload{Name: "get entity", MaxOps: 40000, Client: func(t *Target, c *Client) func() error {
		return func() error {
			i := c.rng.Uint64N(uint64(have))
			return c.point(t, tableNew, i%partitions, i, i)
		}
	}}
	turn, err := w.Run(ctx, t, 2, Limit{Time: time.Minute})
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

// lists measures pages of the big container and of the small one at rest, by one client and in turns, so that both meet the
// same machine: the big one is walked to its end once at least, and as many pages are taken of the small one. Then the first
// page of prefixes a number of times.
func (t *Target) lists(ctx context.Context, names int, l *Look) error {
	if err := t.Settle(ctx, rest); err != nil {
		return err
	}
	c := newClient(t, 0, 0)
	defer c.close()
	big, small := walker(c, listed, uint64(names)), walker(c, smallListed, smallNames)
	var times [3]Histogram // big, small, prefixes
	timed := func(h *Histogram, n int, fn func() error) error {
		for range n {
			begin := time.Now()
			if err := fn(); err != nil {
				return err
			}
			h.Add(time.Since(begin))
		}
		return nil
	}
	const turn = smallNames / listPage
	for range max(200, names/listPage) / turn {
		if err := timed(&times[0], turn, big); err != nil {
			return fmt.Errorf("list %d names: %w", names, err)
		}
		if err := timed(&times[1], turn, small); err != nil {
			return fmt.Errorf("list %d names beside: %w", smallNames, err)
		}
	}
	want := min(listPage, (names+perPrefix-1)/perPrefix)
	if err := timed(&times[2], 20, func() error { return c.prefixes(listed, want) }); err != nil {
		return err
	}
	l.ListPage, l.SmallPage, l.PrefixPage = times[0].Quantile(.5), times[1].Quantile(.5), times[2].Quantile(.5)
	return nil
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
