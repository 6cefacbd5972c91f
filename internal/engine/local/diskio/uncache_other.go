//go:build !linux

package diskio

import "github.com/cockroachdb/pebble/v2/vfs"

// Uncache does nothing here: a read may be answered from memory.
func Uncache(vfs.File, int64, int64) {}
