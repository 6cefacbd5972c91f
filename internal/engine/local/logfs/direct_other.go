//go:build !linux

package logfs

import "github.com/cockroachdb/pebble/v2/vfs"

func setDirect(vfs.File, bool) bool { return false }

func refused(error) bool { return false }

func firstHole(_ vfs.File, length int64) int64 { return length }
