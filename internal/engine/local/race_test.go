//go:build race || invariants || plain

package local_test

// Under the race detector and with invariants checked a power cut, a flip or a write costs ten times as much, and more of them find no other races.
func init() {
	*crashPoints, *bitFlips, *everyByte, faultStep, fullDisk = 300, 80, 401, 1, 12<<20
}
