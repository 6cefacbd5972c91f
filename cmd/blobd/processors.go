package main

import (
	"os"
	"runtime"
)

// leastProcessors is how many threads at least run at a time. Where the cores are few and shared with the clients, the system
// stops one of as many threads as cores for milliseconds, with all that waits in its queue: the slowest of a hundred small reads took
// twice as long (docs/performance.md).
const leastProcessors = 4

// giveProcessors sees to leastProcessors, unless the operator has set GOMAXPROCS.
func giveProcessors() {
	if os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) < leastProcessors {
		runtime.GOMAXPROCS(leastProcessors)
	}
}
