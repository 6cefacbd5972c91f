// Package view sees bytes as a string without a copy. The string lives as long as the bytes, and they are not changed meanwhile: what is
// kept longer is cloned, and internal/invariants finds what was not.
package view

import "unsafe"

// String is the bytes as a string.
func String(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
