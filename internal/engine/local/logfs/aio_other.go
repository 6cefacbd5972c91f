//go:build !linux

package logfs

func writeSync(uintptr, []byte, int64, func()) error { return errNoAIO }
