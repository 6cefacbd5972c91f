package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// What lies under a name that an operator gives may be exchanged by another process at any time. Nothing here waits for one: neither at a
// named pipe, for the other end, nor for what a reader does not take.

// largestFile is far more than any chain of certificates is long; a device may have no end.
const largestFile = 1 << 20

// ReadRegular reads a small regular file, which may be reached by links.
func ReadRegular(name string) (_ []byte, err error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	text, err := io.ReadAll(io.LimitReader(f, largestFile+1))
	if len(text) > largestFile {
		return nil, fmt.Errorf("%s is longer than %d bytes", name, largestFile)
	}
	return text, err
}

// ReplaceFile makes a file appear whole under a name, whatever was there, with a mode that an older one has no part in. It follows no link.
func ReplaceFile(name string, text []byte, mode os.FileMode) error {
	fresh := name + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(fresh, name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(fresh))
	}
	return nil
}

// LogFile is where lines are appended: a file, or a named pipe, a terminal or a device that somebody reads. Who does not take them keeps
// nobody waiting for long; what is lost by that is lost in whole lines.
type LogFile struct {
	mu      sync.Mutex
	f       *os.File
	ours    bool // to close
	cut     bool // the last line is not whole
	stalled bool // the reader did not take what was there for it
}

// readerWait is how long the reader of a pipe may take nothing. Then what it does not take at once is lost, until it takes some again.
const readerWait = time.Second

// OpenLogFile opens one, and makes it if it is not there. Links are followed, as to another volume.
func OpenLogFile(name string, mode os.FileMode) (*LogFile, error) {
	switch filepath.ToSlash(filepath.Clean(name)) { // a socket, as systemd's journal gives, cannot be opened by its name
	case "/dev/stdout":
		return &LogFile{f: os.Stdout}, nil
	case "/dev/stderr":
		return &LogFile{f: os.Stderr}, nil
	}
	if info, err := os.Stat(name); err == nil && info.Mode().Type() == os.ModeNamedPipe {
		// Open for reading too, it needs no reader to be there first, and keeps what is in it while one starts anew.
		if f, err := os.OpenFile(name, os.O_RDWR|syscall.O_NONBLOCK, 0); err == nil {
			return &LogFile{f: f, ours: true}, nil
		}
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY|syscall.O_NONBLOCK, mode)
	if errors.Is(err, syscall.ENXIO) {
		return nil, fmt.Errorf("%w: it is a socket, or a pipe that nobody reads: start the reader first", err)
	}
	if err != nil {
		return nil, err
	}
	return &LogFile{f: f, ours: true}, nil
}

// Write implements io.Writer. It tells of what is lost.
func (l *LogFile) Write(p []byte) (n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		if _, err := l.write([]byte("\n")); err != nil {
			return 0, err
		}
		l.cut = false
	}
	if n, err = l.write(p); n > 0 {
		l.cut = p[n-1] != '\n'
	}
	return n, err
}

func (l *LogFile) write(p []byte) (n int, err error) {
	for {
		wait := readerWait
		if l.stalled {
			wait = time.Millisecond
		}
		_ = l.f.SetWriteDeadline(time.Now().Add(wait)) // only what is polled, as pipes are, has one
		some, err := l.f.Write(p[n:])
		n += some
		if late := errors.Is(err, os.ErrDeadlineExceeded); !late || some == 0 {
			l.stalled = late
			return n, err
		}
	}
}

// Close implements io.Closer.
func (l *LogFile) Close() error {
	if !l.ours {
		return nil
	}
	return l.f.Close()
}
