package logfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// aio has the kernel write and sync while its user is parked with those who wait for sockets (io_submit(2) with an eventfd(2)). A
// thread that waits for the disk instead keeps one of the scheduler's processors until the scheduler's monitor has seen that and
// hands it to another thread, thousands of times a second. One write at a time.
type aio struct {
	context uintptr
	done    *os.File // an eventfd, readable when the write has ended
	doneFD  uint32   // the same
	request iocb
	count   [8]byte // of the eventfd
	event   ioEvent
}

// iocb is the kernel's struct iocb where bytes are little-endian.
type iocb struct {
	_       uint64 // data
	_       uint32 // key
	rwFlags uint32
	opcode  uint16
	_       int16 // priority
	fd      uint32
	buf     uint64
	size    uint64
	offset  int64
	_       uint64
	flags   uint32
	eventFD uint32
}

// ioEvent is its struct io_event.
type ioEvent struct {
	_, _   uint64 // data, object
	result int64
	_      int64
}

const (
	opcodeWrite  = 1 // IOCB_CMD_PWRITE
	flagEventFD  = 1 // IOCB_FLAG_RESFD
	unknownFlag  = 1 << 30
	littleEndian = runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64"
)

// idle are those that nobody uses: as many as were used at a time.
var idle struct {
	sync.Mutex
	all []*aio
}

// writeSync writes p at off of a file that is open for direct writes, and makes it durable, with what of the file's metadata is needed
// to read it. What is to be done meanwhile is called once the write has begun. errNoAIO: nothing was done, and the usual calls may do it.
func writeSync(fd uintptr, p []byte, off int64, meanwhile func()) error {
	a, err := takeAIO(fd)
	if err != nil {
		return err
	}
	if a.submit(fd, unix.RWF_DSYNC, p, off) != 0 {
		err = errNoAIO // why not, the usual calls find out as well
	} else {
		meanwhile()
		if err := errors.Join(a.wait(), a.collect()); err != nil { // nobody knows what the kernel does with it
			return err
		}
		err = a.outcome(len(p))
	}
	runtime.KeepAlive(p)
	idle.Lock()
	defer idle.Unlock()
	idle.all = append(idle.all, a)
	return err
}

func takeAIO(fd uintptr) (*aio, error) {
	idle.Lock()
	defer idle.Unlock()
	if n := len(idle.all); n > 0 {
		a := idle.all[n-1]
		idle.all = idle.all[:n-1]
		return a, nil
	}
	return newAIO(fd)
}

func newAIO(fd uintptr) (*aio, error) {
	if !littleEndian {
		return nil, errNoAIO
	}
	a := &aio{}
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&a.context)), 0); errno != 0 {
		return nil, errNoAIO
	}
	done, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, a.end()
	}
	a.done, a.doneFD = os.NewFile(uintptr(done), "eventfd"), uint32(done)
	// There are systems that take requests and do not look at their flags. A sync that is not made would not be noticed.
	if a.submit(fd, unknownFlag, nil, 0) != unix.EOPNOTSUPP {
		_ = a.done.Close()
		return nil, a.end()
	}
	return a, nil
}

// end gives the context back, with what is under way on it.
func (a *aio) end() error {
	_, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, a.context, 0, 0)
	return errNoAIO
}

// submit begins a write.
func (a *aio) submit(fd uintptr, flags uint32, p []byte, off int64) unix.Errno {
	a.request = iocb{
		opcode: opcodeWrite, rwFlags: flags, fd: uint32(fd),
		buf: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(p)))), size: uint64(len(p)), offset: off,
		flags: flagEventFD, eventFD: a.doneFD,
	}
	request := &a.request
	_, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, a.context, 1, uintptr(unsafe.Pointer(&request)))
	return errno
}

// wait returns when the write has ended.
func (a *aio) wait() error {
	if _, err := a.done.Read(a.count[:]); err != nil {
		return fmt.Errorf("wait for a write: %w", err)
	}
	return nil
}

// collect takes the event of the write that has ended.
func (a *aio) collect() error {
	got, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, a.context, 1, 1, uintptr(unsafe.Pointer(&a.event)), 0, 0)
	switch {
	case errno != 0:
		return fmt.Errorf("read the outcome of a write: %w", errno)
	case got != 1:
		return errors.New("a write ended without an outcome")
	}
	return nil
}

// outcome tells how a write of n bytes ended.
func (a *aio) outcome(n int) error {
	switch result := a.event.result; {
	case result < 0:
		errno := unix.Errno(-result)
		if refused(errno) || errno == unix.EOPNOTSUPP {
			return errNoAIO
		}
		return fmt.Errorf("write and sync: %w", errno)
	case result != int64(n):
		return fmt.Errorf("write and sync: %d of %d bytes: %w", result, n, io.ErrShortWrite)
	}
	return nil
}
