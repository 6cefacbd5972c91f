package main

import (
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/blobd/blobd/internal/speedup"
)

// leastProcessors is how many threads at least run at a time. Where the cores are few and shared with the clients, the system
// stops one of as many threads as cores for milliseconds, with all that waits in its queue: the slowest of a hundred small reads took
// twice as long (docs/performance.md).
const leastProcessors = 4

// giveProcessors sees to leastProcessors, unless the operator has set GOMAXPROCS or bounded the CPU of the process's container: more
// threads would use the time up earlier and then all stand still until the next period. go_sched_gomaxprocs_threads shows the outcome.
func giveProcessors(root string) {
	if os.Getenv("GOMAXPROCS") == "" && speedup.Processors.On() && !cpuLimited(root) && runtime.GOMAXPROCS(0) < leastProcessors {
		runtime.GOMAXPROCS(leastProcessors)
	}
}

// cpuLimited tells whether a control group of the process, or one around it, has a limit on CPU time: cpu.max of cgroup v2, or
// cpu.cfs_quota_us of v1. Within a container the file at the root of the mount is the container's own.
func cpuLimited(root string) bool {
	text, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return false // not Linux, or no control groups
	}
	for line := range strings.Lines(string(text)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		mount, file, none := "sys/fs/cgroup", "cpu.max", "max"
		if controllers != "" {
			if !hasController(controllers, "cpu") {
				continue
			}
			mount, file, none = "sys/fs/cgroup/cpu", "cpu.cfs_quota_us", "-1"
		}
		for ; ; group = path.Dir(group) {
			limit, err := os.ReadFile(filepath.Join(root, mount, group, file))
			if fields := strings.Fields(string(limit)); err == nil && len(fields) > 0 && fields[0] != none {
				return true
			}
			if group == "/" || group == "." || group == "" {
				break
			}
		}
	}
	return false
}

func hasController(list, name string) bool {
	for c := range strings.SplitSeq(list, ",") {
		if c == name {
			return true
		}
	}
	return false
}
