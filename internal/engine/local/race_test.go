//go:build race

package local_test

// Under the race detector a power cut costs ten times as much, and other numbers of them find no other races.
func init() { *crashPoints = 600 }
