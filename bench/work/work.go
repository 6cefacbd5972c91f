// Package work has the workloads and drives them.
//
// A workload is a loop that each of a number of clients runs on a connection of its own: make a request, send it, check every
// byte of the answer that can be known, count the time. A turn is one server's share of a workload; turns alternate between the
// servers (A B A B …). A turn ends by its time or its number of operations, whichever comes first, and at the first error, which
// fails the whole run.
package work

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blobd/blobd/bench/content"
	"github.com/blobd/blobd/bench/fleet"
	"github.com/blobd/blobd/bench/wire"
)

// Target is a server as the workloads see it, with what they remember of it.
type Target struct {
	*fleet.Server
	Fill    Fill
	next    atomic.Uint64       // numbers of new items
	pages   map[string][]uint16 // page blobs: how often each page was written
	appends []*appendBlob       // made in this turn
	batches []uint64            // first rows of the transactions of this turn
	mu      sync.Mutex          // guards pages, appends and batches
}

// Fill says how much is prepared before reads are measured.
type Fill struct {
	Small int // blobs of 4 KiB and of 64 KiB, entities
	Names int // names to list
}

// NewTarget wraps a server that has just been started.
func NewTarget(s *fleet.Server, fill Fill) *Target {
	return &Target{Server: s, Fill: fill, pages: map[string][]uint16{}}
}

// Group is a set of workloads that share one life of each server.
type Group struct {
	Name string
	// Prepare makes what the workloads read. A server that does not offer the service yet answers NotOffered.
	Prepare   func(ctx context.Context, t *Target) error
	Workloads []Workload
}

// Workload is one kind of work.
type Workload struct {
	Name string
	// Clients are the numbers of clients at which a full run measures it; Usual is the one of a quick run.
	Clients []int
	Usual   int
	// Ceilings names the references besides the peer. The first is the one that the goal is set against.
	Ceilings []string
	// Layouts tells that blobd's layouts over several disks are measured too.
	Layouts bool
	// Bytes of content and items (names, entities) that one operation moves.
	Bytes, Items int
	// MaxOps bounds a turn.
	MaxOps int64
	// Before makes what this turn uses up; not measured.
	Before func(ctx context.Context, t *Target, ops int64) error
	// Client returns the operation of one client for one turn.
	Client func(t *Target, c *Client) func() error
	// After checks what the turn has written; not measured.
	After func(ctx context.Context, t *Target, turn *Turn) error
}

// NotOffered is the answer of a server that does not have an operation (yet).
type NotOffered struct{ What string }

func (e NotOffered) Error() string { return e.What + " is not offered" }

// Client is one client during one turn.
type Client struct {
	Number int
	Blob   *wire.Conn
	Table  *wire.Conn
	rng    *rand.Rand
	req    wire.Request
	check  content.Checker
	buf    bytes.Buffer
	answer bytes.Buffer // where buf is the request
	path   []byte
	ops    int64
}

func newClient(t *Target, number int, seed uint64) *Client {
	return &Client{
		Number: number, Blob: wire.NewConn(t.Server.Blob, wire.Emulator), Table: wire.NewConn(t.tableAddr(), wire.Emulator),
		rng: rand.New(rand.NewPCG(seed, uint64(number))),
	}
}

func (t *Target) tableAddr() string {
	if t.Ceiling { // it has one address
		return t.Server.Blob
	}
	return t.Server.Table
}

func (c *Client) close() {
	c.Blob.Close()
	c.Table.Close()
}

// Turn is what one server did of a workload in one go.
type Turn struct {
	Ops, Bytes, Items int64
	Errors            int64
	Err               error // the first
	Elapsed           time.Duration
	Latency           *Histogram
	CPU               time.Duration // the server's, until it was idle again
	ClientCPU         time.Duration
	OtherCPU          time.Duration // everybody else's on this machine
	PeakRSS           int64
	Written           int64  // bytes to the disk
	first, last       uint64 // numbers of the items made: (first, last]
}

// Limit bounds a turn.
type Limit struct {
	Time  time.Duration
	Bytes int64
}

// settle is how long a server may take to come to rest after a turn.
const settle = 3 * time.Second

// Run drives one turn.
func (w *Workload) Run(ctx context.Context, t *Target, clients int, limit Limit) (*Turn, error) {
	ops := w.ops(t, limit)
	if w.Before != nil && !t.Ceiling {
		if err := w.Before(ctx, t, ops); err != nil {
			return nil, fmt.Errorf("%s on %s: prepare a turn: %w", w.Name, t.Name, err)
		}
		if err := t.Settle(ctx, settle); err != nil {
			return nil, err
		}
	}
	turn := &Turn{Latency: &Histogram{}, first: t.next.Load()}
	seed := rand.Uint64()
	all := make([]*Client, clients)
	for i := range all {
		all[i] = newClient(t, i, seed)
		defer all[i].close()
		if err := all[i].warm(); err != nil {
			return nil, fmt.Errorf("%s on %s: connect: %w", w.Name, t.Name, err)
		}
	}
	t.ResetPeak()
	before, err := t.Usage()
	if err != nil {
		return nil, err
	}
	busy, err := fleet.BusyCPU()
	if err != nil {
		return nil, err
	}
	self := fleet.SelfCPU()
	w.drive(ctx, t, all, ops, limit.Time, turn)
	turn.ClientCPU = fleet.SelfCPU() - self
	during, err := t.Usage()
	if err != nil {
		return nil, fmt.Errorf("%s: %w; its output ends with:\n%s", w.Name, errors.Join(turn.Err, err), t.LogTail())
	}
	busyNow, err := fleet.BusyCPU()
	if err != nil {
		return nil, err
	}
	turn.OtherCPU = max(0, busyNow-busy-(during.CPU-before.CPU)-turn.ClientCPU)
	if err := t.Settle(ctx, settle); err != nil {
		return nil, err
	}
	after, err := t.Usage()
	if err != nil {
		return nil, err
	}
	turn.CPU, turn.PeakRSS, turn.Written = after.CPU-before.CPU, after.PeakRSS, after.Written-before.Written
	turn.last = t.next.Load()
	turn.Bytes, turn.Items = turn.Ops*int64(w.Bytes), turn.Ops*int64(w.Items)
	if turn.Err == nil && w.After != nil && !t.Ceiling {
		if turn.Err = w.After(ctx, t, turn); turn.Err != nil {
			turn.Errors++
		}
	}
	if turn.Err != nil {
		turn.Err = fmt.Errorf("%s on %s, %d clients: %w", w.Name, t.Name, clients, turn.Err)
	}
	return turn, ctx.Err()
}

// ops is the most operations that a turn may do.
func (w *Workload) ops(t *Target, limit Limit) int64 {
	n := int64(1 << 40)
	if w.Bytes > 0 {
		n = max(limit.Bytes/int64(w.Bytes), 4)
	}
	if w.Before != nil { // it uses up what was made for it
		n = int64(limit.Time.Seconds()*20000) + 100
		if t.Slow {
			n /= 10
		}
	}
	if w.MaxOps > 0 {
		n = min(n, w.MaxOps)
	}
	return n
}

func (w *Workload) drive(ctx context.Context, t *Target, all []*Client, ops int64, limit time.Duration, turn *Turn) {
	var begun atomic.Int64
	var failed atomic.Bool
	var wg sync.WaitGroup
	var mu sync.Mutex // guards turn
	run := make([]func() error, len(all))
	for i, c := range all {
		run[i] = w.Client(t, c)
	}
	begin := time.Now()
	end := begin.Add(limit)
	for i := range all {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var h Histogram
			var err error
			at := time.Now()
			for at.Before(end) && begun.Add(1) <= ops && !failed.Load() && ctx.Err() == nil {
				if err = run[i](); err != nil {
					failed.Store(true)
					break
				}
				now := time.Now()
				h.Add(now.Sub(at))
				at = now
			}
			mu.Lock()
			defer mu.Unlock()
			turn.Latency.Merge(&h)
			if err != nil {
				turn.Errors++
				if turn.Err == nil {
					turn.Err = err
				}
			}
		}()
	}
	wg.Wait()
	turn.Elapsed = time.Since(begin)
	turn.Ops = int64(turn.Latency.Count())
}

// warm opens the connection outside the measured time.
func (c *Client) warm() error {
	_, err := c.Blob.Do(&wire.Request{Method: "GET", Path: "/", Query: []wire.Field{{Name: "comp", Value: "list"}}}, nil)
	return err
}

// expect turns an answer that is not the wanted one into an error.
func expect(resp *wire.Response, err error, status int) error {
	if err != nil {
		return err
	}
	if resp.Status != status {
		return fmt.Errorf("answer %d %s instead of %d", resp.Status, resp.Code, status)
	}
	return nil
}

// item makes "/container/b00000042".
func (c *Client) item(container string, index uint64) string {
	c.path = append(append(append(c.path[:0], '/'), container...), "/b"...)
	c.path = appendNumber(c.path, index)
	return string(c.path)
}

// appendNumber adds n with at least eight digits, so that names sort as numbers.
func appendNumber(out []byte, n uint64) []byte {
	for d := uint64(10000000); d > n && d > 1; d /= 10 {
		out = append(out, '0')
	}
	return strconv.AppendUint(out, n, 10)
}

// parallel runs fn for 0 … n-1 on some clients.
func parallel(ctx context.Context, t *Target, n int, fn func(c *Client, i uint64) error) error {
	const clients = 16
	var next atomic.Int64
	errs := make([]error, clients)
	var wg sync.WaitGroup
	for k := range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			c := newClient(t, k, 0)
			defer c.close()
			for errs[k] == nil && ctx.Err() == nil {
				i := next.Add(1) - 1
				if i >= int64(n) {
					return
				}
				if errs[k] = fn(c, uint64(i)); errs[k] != nil {
					next.Store(int64(n)) // the others stop too
				}
			}
		}()
	}
	wg.Wait()
	for _, err := range append(errs, ctx.Err()) {
		if err != nil {
			return err
		}
	}
	return nil
}
