//go:build unix

package main

import (
	"fmt"
	"syscall"

	"github.com/blobd/blobd/internal/engine/local"
)

// descriptors shares out what the hard limit allows: the soft one is for programs that keep descriptors in sets of 1024.
func descriptors(disks int) (fileBudget, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fileBudget{store: local.DefaultMaxFiles}, fmt.Errorf("read the limit of open files: %w", err)
	}
	if limit.Cur < limit.Max {
		raised := syscall.Rlimit{Cur: limit.Max, Max: limit.Max}
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil {
			limit = raised
		}
	}
	return shareFiles(uint64(limit.Cur), disks)
}
