//go:build !race

package framing

import (
	"syscall"
	"unsafe"
)

// read and write are calls to a socket that does not block, made without telling the scheduler: it would send its monitor, which
// takes away the processor of a thread that the system has stopped in a call, and wakes another thread to run on it. That costs more
// than a short call does.
func read(fd uintptr, p []byte) (int, error) { return call(syscall.SYS_READ, fd, p) }

func write(fd uintptr, p []byte) (int, error) { return call(syscall.SYS_WRITE, fd, p) }

func call(number, fd uintptr, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(number, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
