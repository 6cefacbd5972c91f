//go:build unix && (!linux || race)

package framing

import "syscall"

// The race detector learns from these calls what happens before what.

func read(fd uintptr, p []byte) (int, error) { return syscall.Read(int(fd), p) }

func write(fd uintptr, p []byte) (int, error) { return syscall.Write(int(fd), p) }
