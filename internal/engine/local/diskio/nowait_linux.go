package diskio

import (
	"unsafe"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// readableNow returns the descriptor of a file whose reads may be tried without waiting.
func readableNow(f vfs.File) uintptr { return f.Fd() }

// readNow reads what of p there is at off in the page cache: all of it, or less, down to nothing. Why it is less the usual call finds out.
func readNow(fd uintptr, p []byte, off int64) int {
	if len(p) == 0 {
		return 0
	}
	v := unix.Iovec{Base: unsafe.SliceData(p)}
	v.SetLen(len(p))
	// The kernel takes the offset in two halves; on machines of 64 bits the first is all of it.
	n, _, errno := unix.Syscall6(unix.SYS_PREADV2, fd, uintptr(unsafe.Pointer(&v)), 1, uintptr(off), uintptr(uint64(off)>>32), unix.RWF_NOWAIT)
	if errno != 0 {
		return 0
	}
	return int(n)
}
