package main

import (
	"fmt"

	"github.com/blobd/blobd/internal/engine/local"
)

// fileBudget shares out the file descriptors that the process may have. Connections come from anybody: were they to take the last one,
// the store could not open its files.
type fileBudget struct {
	store       int // files of the store
	connections int // of clients; 0 is no limit
}

// otherFiles are what neither is, beside what a store holds of each of its disks: logs, listeners, directories being synced, files being written, sources of copies.
const otherFiles = 64

// fewestConnections are so few that a server with less is of no use.
const fewestConnections = 48

// shareFiles divides a limit of so many descriptors, for a store on so many disks.
func shareFiles(limit uint64, disks int) (fileBudget, error) {
	const most = 1 << 30
	n := int(min(limit, most))
	store := max(local.MinMaxFiles, min(local.DefaultMaxFiles, n/3))
	other := otherFiles + disks*local.FilesPerDisk
	if n < store+fewestConnections+other {
		return fileBudget{}, fmt.Errorf("this process may have %d open files, %d are needed: raise the limit (ulimit -n, LimitNOFILE)",
			n, store+fewestConnections+other)
	}
	return fileBudget{store: store, connections: n - store - other}, nil
}
