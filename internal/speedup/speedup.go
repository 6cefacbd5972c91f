// Package speedup lists the parts of blobd that are there for speed alone. Each can be turned off, and nothing but speed changes; each
// counts whether it pays where it runs. docs/operations.md has the table of both.
//
// Built with the tag plain all of them are off from the beginning, which is how the tests run without them (make plain).
package speedup

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
)

// Part is one of them.
type Part int

const (
	SyncGroups  Part = iota // engine: a sync of the log is held back for those who are about to need one
	RowCache                // engine: values that are read again stay in memory
	BloomFilter             // engine: most keys that are not there are known in memory not to be
	AsyncLog                // engine: a write of the log and its sync are one request that no thread waits for
	RawSockets              // rest: short calls to sockets that the scheduler is not told of
	MD5Lanes                // bodies that are there at the same time are hashed together
	HeapRoom                // a small heap is collected less often
	Processors              // at least four threads run at a time
	parts
)

var names = [parts]string{"sync-groups", "row-cache", "bloom-filter", "async-log", "raw-sockets", "md5-lanes", "heap-room", "processors"}

func (p Part) String() string { return names[p] }

// All is every part.
func All() []Part {
	all := make([]Part, parts)
	for i := range all {
		all[i] = Part(i)
	}
	return all
}

var off = func() (o [parts]bool) {
	for i := range o {
		o[i] = plain
	}
	return o
}()

// On tells whether the part is to be used.
func (p Part) On() bool { return !off[p] }

// TurnOff turns parts off by their names, "all" for every one. It is called before anything else runs.
func TurnOff(which ...string) error {
	for _, name := range which {
		i := slices.Index(names[:], name)
		switch {
		case name == "all":
			for i := range off {
				off[i] = true
			}
		case i < 0:
			return fmt.Errorf("there is no part %q; there are %s, and all", name, strings.Join(names[:], ", "))
		default:
			off[i] = true
		}
	}
	return nil
}

// Counter counts what a part does. Those who count at the same time should give different hints.
type Counter struct {
	Name, Help string
	// Level tells that it may fall.
	Level bool
	cells [cells]cell
}

const cells = 16

type cell struct {
	n atomic.Int64
	_ [56]byte // a cache line of its own
}

// Add counts.
func (c *Counter) Add(hint uint64, n int64) { c.cells[hint%cells].n.Add(n) }

// Set sets the count of what may fall and is not added to.
func (c *Counter) Set(n int64) { c.cells[0].n.Store(n) }

// Value is the count.
func (c *Counter) Value() (sum int64) {
	for i := range c.cells {
		sum += c.cells[i].n.Load()
	}
	return sum
}

// The counters, as /metrics has them.
var (
	Syncs       = counter("blobd_log_syncs_total", "Syncs of the engine's log.")
	SyncWrites  = counter("blobd_log_sync_waiters_total", "Transactions and readers that waited for those syncs; by their number, how many shared one.")
	SyncsHeld   = counter("blobd_log_syncs_held_total", "Syncs held back for more to share them (sync-groups).")
	SyncsInVain = counter("blobd_log_syncs_held_in_vain_total", "Syncs held back, and nobody came (sync-groups).")

	RowHits   = counter("blobd_row_cache_hits_total", "Look-ups answered by the row cache.")
	RowMisses = counter("blobd_row_cache_misses_total", "Look-ups that the row cache could have answered and did not.")
	RowBytes  = level("blobd_row_cache_bytes", "Bytes in the row cache.")

	FilterAbsent = counter("blobd_bloom_filter_absent_total", "Look-ups answered by the Bloom filter: the key is not there.")
	FilterVain   = counter("blobd_bloom_filter_vain_total", "Look-ups of keys that are not there, which the Bloom filter did not spare.")
	FilterReady  = level("blobd_bloom_filter_ready", "1 when the Bloom filter knows the keys of before the start.")

	AsyncWrites    = counter("blobd_log_async_writes_total", "Writes of the log that no thread waited for (async-log).")
	AsyncFallbacks = counter("blobd_log_async_fallbacks_total", "Logs that went back to the usual calls, as the system refused (async-log).")

	RawCalls  = counter("blobd_socket_raw_calls_total", "Calls to sockets that the scheduler was not told of (raw-sockets).")
	RawInVain = counter("blobd_socket_raw_calls_in_vain_total", "Such calls that found nothing to read or no room to write (raw-sockets).")

	MD5Bodies = counter("blobd_md5_bodies_total", "Pieces of bodies hashed where others could have joined: whole bodies up to 64 KiB, and each 64 KiB of longer ones.")
	MD5Rounds = counter("blobd_md5_rounds_total", "Rounds in which they were hashed; by them, how many were hashed together (md5-lanes).")
)

var counters []*Counter

func counter(name, help string) *Counter {
	c := &Counter{Name: name, Help: help}
	counters = append(counters, c)
	return c
}

func level(name, help string) *Counter {
	c := counter(name, help)
	c.Level = true
	return c
}

// Counters are all of them.
func Counters() []*Counter { return counters }
