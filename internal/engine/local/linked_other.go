//go:build !unix

package local

import "github.com/cockroachdb/pebble/v2/vfs"

func linked(f vfs.File, _ string) vfs.File { return f }
