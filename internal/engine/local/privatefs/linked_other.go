//go:build !unix

package privatefs

import "github.com/cockroachdb/pebble/v2/vfs"

func (o *owned) linked(f vfs.File, _ string) (vfs.File, error) { return f, nil }

func (o *owned) renamed(string, string) {}
