package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"

	"github.com/blobd/blobd/internal/speedup"
)

// heapRoom is how much garbage may gather before it is collected, in bytes, where the heap is smaller than that. The heap of a
// server whose caches lie outside of it is so small that the default, as much again as lives, collects many times a second: a
// fifth of the CPU of small reads.
const heapRoom = 48 << 20

// giveHeapRoom sets the collector's percentage anew after every collection, unless the operator has set GOGC. The percentage is shown as
// go_gc_gogc_percent.
func giveHeapRoom() {
	if os.Getenv("GOGC") != "" || !speedup.HeapRoom.On() {
		return
	}
	percent := 100
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	var watch func(*[64]byte)
	// An object that nobody refers to is finalized after each collection, and made again.
	watch = func(*[64]byte) {
		metrics.Read(live)
		if now := gcPercent(live[0].Value.Uint64()); now*10 < percent*9 || now*9 > percent*10 {
			percent = now
			debug.SetGCPercent(percent)
		}
		runtime.SetFinalizer(new([64]byte), watch)
	}
	watch(nil)
}

// gcPercent is the percentage that leaves heapRoom above what lives, and at least as much again.
func gcPercent(live uint64) int {
	const least = 4 << 20 // of what is counted as alive, so that the percentage has a bound
	return int(max(100, 100*heapRoom/max(live, least)))
}
