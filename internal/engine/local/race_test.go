//go:build race || invariants || plain

package local_test

// Under the race detector and with invariants checked a power cut or a flip costs ten times as much, and more of them find no other races.
func init() { *crashPoints, *bitFlips, *everyByte, faultStep = 300, 80, 401, 1 }
