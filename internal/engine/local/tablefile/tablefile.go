// Package tablefile gathers what Pebble writes to a table. Pebble writes two pieces for each block of a few KiB, the block and its trailer,
// which were two calls of the system for every small blob, in each flush and compaction.
package tablefile

import (
	"errors"
	"fmt"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// file is a table being written.
type file struct {
	vfs.File
	held  *[]byte     // from buffers
	err   error       // of a write: sticky, as nobody knows how much of it was done
	spare func() bool // whether there is room for more; nil if all room is for it
}

// Buffer is how much is gathered before it is written, in bytes.
const Buffer = 128 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, Buffer); return &b }}

// New returns a table that is written to f, as long as spare, which may be nil, tells that there is room for more.
func New(f vfs.File, spare func() bool) vfs.File {
	return &file{File: f, held: buffers.Get().(*[]byte), spare: spare}
}

// Write implements vfs.File. An error may be that of an earlier write.
func (t *file) Write(p []byte) (int, error) {
	if len(*t.held)+len(p) > Buffer {
		if err := t.flush(); err != nil {
			return 0, err
		}
	}
	if len(p) >= Buffer {
		return len(p), t.write(p)
	}
	*t.held = append(*t.held, p...)
	return len(p), t.err
}

// flush writes what was gathered.
func (t *file) flush() error {
	if t.err != nil || len(*t.held) == 0 {
		return t.err
	}
	err := t.write(*t.held)
	*t.held = (*t.held)[:0]
	return err
}

func (t *file) write(p []byte) error {
	if t.err == nil && t.spare != nil && !t.spare() {
		t.err = fmt.Errorf("write a table: %w: what is left is for the log and flushes", syscall.ENOSPC)
	}
	if t.err == nil {
		_, t.err = t.File.Write(p)
	}
	return t.err
}

// Sync implements vfs.File.
func (t *file) Sync() error {
	if err := t.flush(); err != nil {
		return err
	}
	return t.File.Sync()
}

// SyncData implements vfs.File.
func (t *file) SyncData() error {
	if err := t.flush(); err != nil {
		return err
	}
	return t.File.SyncData()
}

// SyncTo implements vfs.File.
func (t *file) SyncTo(length int64) (fullSync bool, err error) {
	if err := t.flush(); err != nil {
		return false, err
	}
	return t.File.SyncTo(length)
}

// noFd is nobody's descriptor.
const noFd = vfs.InvalidFd - 1

// Fd implements vfs.File. Pebble does nothing with the descriptor but to look whether there is one: without, it syncs the whole table every
// 512 KiB, and waits for that, where SyncTo has the system begin to write. What is beneath has none, as nobody would watch what is done with it.
func (t *file) Fd() uintptr { return noFd }

// Stat implements vfs.File.
func (t *file) Stat() (vfs.FileInfo, error) {
	if err := t.flush(); err != nil {
		return nil, err
	}
	return t.File.Stat()
}

// Close implements vfs.File.
func (t *file) Close() error {
	err := errors.Join(t.flush(), t.File.Close())
	*t.held = (*t.held)[:0] // a failed file may have left something
	buffers.Put(t.held)
	t.held = nil
	return err
}
