package local

import (
	"errors"
	"fmt"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// tableFile gathers what Pebble writes to a table. Pebble writes two pieces for each block of a few KiB, the block and its trailer,
// which were two calls of the system for every small blob, in each flush and compaction.
type tableFile struct {
	vfs.File
	held  *[]byte     // from tableBuffers
	err   error       // of a write: sticky, as nobody knows how much of it was done
	spare func() bool // whether there is room for more; nil if all room is for it
}

// tableBuffer is how much is gathered, in bytes.
const tableBuffer = 128 << 10

var tableBuffers = sync.Pool{New: func() any { b := make([]byte, 0, tableBuffer); return &b }}

func newTableFile(f vfs.File, spare func() bool) *tableFile {
	return &tableFile{File: f, held: tableBuffers.Get().(*[]byte), spare: spare}
}

// Write implements vfs.File. An error may be that of an earlier write.
func (t *tableFile) Write(p []byte) (int, error) {
	if len(*t.held)+len(p) > tableBuffer {
		if err := t.flush(); err != nil {
			return 0, err
		}
	}
	if len(p) >= tableBuffer {
		return len(p), t.write(p)
	}
	*t.held = append(*t.held, p...)
	return len(p), t.err
}

// flush writes what was gathered.
func (t *tableFile) flush() error {
	if t.err != nil || len(*t.held) == 0 {
		return t.err
	}
	err := t.write(*t.held)
	*t.held = (*t.held)[:0]
	return err
}

func (t *tableFile) write(p []byte) error {
	if t.err == nil && t.spare != nil && !t.spare() {
		t.err = fmt.Errorf("write a table: %w: what is left is for the log and flushes", syscall.ENOSPC)
	}
	if t.err == nil {
		_, t.err = t.File.Write(p)
	}
	return t.err
}

// Sync implements vfs.File.
func (t *tableFile) Sync() error {
	if err := t.flush(); err != nil {
		return err
	}
	return t.File.Sync()
}

// SyncData implements vfs.File.
func (t *tableFile) SyncData() error {
	if err := t.flush(); err != nil {
		return err
	}
	return t.File.SyncData()
}

// SyncTo implements vfs.File.
func (t *tableFile) SyncTo(length int64) (fullSync bool, err error) {
	if err := t.flush(); err != nil {
		return false, err
	}
	return t.File.SyncTo(length)
}

// Stat implements vfs.File.
func (t *tableFile) Stat() (vfs.FileInfo, error) {
	if err := t.flush(); err != nil {
		return nil, err
	}
	return t.File.Stat()
}

// Close implements vfs.File.
func (t *tableFile) Close() error {
	err := errors.Join(t.flush(), t.File.Close())
	*t.held = (*t.held)[:0] // a failed file may have left something
	tableBuffers.Put(t.held)
	t.held = nil
	return err
}
