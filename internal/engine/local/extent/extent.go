// Package extent keeps chunks in extents: append-only runs of erasure-coded rows, each in k+m column files, one to a disk.
//
// # Guarantees
//
//   - What Put acknowledged is on the platters of every column that could be written, and of at least k of them: the columns, and
//     the directory entries of new ones, are synced before it returns.
//   - No byte is handed out by Open that was not compared with the checksum made when it was written, in a frame that also names
//     its store, extent, column and offset. What does not verify is rebuilt from k other columns, served, and repaired behind the
//     reader's back; what cannot be rebuilt is engine.ErrCorrupt (engine.ErrUnavailable while disks are missing).
//   - A place in an extent is written once. An extent that a crash or a restart interrupted is never appended to again, so a
//     doubtful tail is only ever garbage: the owner of a chunk is recorded after Put returned.
//   - Ids of extents are never given twice.
//   - A transfer holds one pooled buffer (see geometry.rows) and no lock while it waits for its reader or writer.
//
// The bytes are specified in docs/format.md, section Extents.
//
// # Failures
//
// A write or sync that fails is not tried again. Its disk takes no more writes until the store is opened anew, or, if it only did not
// answer, until it does again (Stalled); what is missing there is rebuilt by Heal. A full disk is different, and so is a shortage of
// descriptors or memory, which is no disk's fault: the chunk fails with engine.ErrNoSpace or engine.ErrBusy, and the disk stays in use.
//
// # Locks
//
// In this order: extent.upkeep, Store.appending, extent.mu, Store.mu, handles.mu, disk.mu. The first is for work that no request
// waits for. The others are not held during file operations, but for the creation of an extent under Store.appending, which every
// Put would have to wait for anyway.
package extent

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// An extent is one run of rows. It starts open (one appender writes to it), is retired when it is full or in doubt, and sealed
// once no writer is left in it.
type extent struct {
	id      uint64
	started uint64                   // number of the start that made it, 0 if that is not known
	found   bool                     // at the start; the others were made since
	cols    []atomic.Pointer[column] // k+m; nil where there is no file

	lacking atomic.Bool // a column is missing, or lacks something that was acknowledged; counted in Store.lacking

	refs atomic.Int64 // readers, and one for being listed; the files go with the last

	upkeep sync.Mutex // one at a time changes files that are not appended to: seals, repairs, rebuilds

	mu       sync.Mutex
	end      int64 // offset after the last row, in every column
	data     int64 // bytes of the chunks given a place, or unknown
	measured bool  // by the writer, a footer or a walk; otherwise end and data are guesses
	writers  int   // Puts that have a place here and are not done
	retired  bool  // no place is given any more
	sealed   bool  // every column has its footer

	group syncGroup
}

const unknown = -1

// A column is one file of an extent.
type column struct {
	disk   *disk
	path   string
	pinned *handle     // held from creation until the extent is sealed; nil for what was found at start
	dirty  atomic.Bool // written since the last sync began

	// failed is set for good when a sync failed, as of what was written since the one before anything may be lost, and when something
	// was not written here. The column takes no more, and is replaced by Heal.
	failed atomic.Bool
	excuse atomic.Pointer[error] // with failed: the kind of failure, if the disk is not to blame

	h *handle // guarded by handles.mu
}

func (c *column) writable() bool {
	return c != nil && c.pinned != nil && !c.failed.Load() && !c.disk.failed()
}

// A disk is one data directory as the store sees it.
type disk struct {
	Disk
	mu     sync.Mutex
	reason string // why it takes no writes; empty while it does
	passes bool   // it did not answer, and may come back: Store.Stalled
	bad    atomic.Bool

	unread  atomic.Int64 // reads in a row that failed
	rebuilt atomic.Int64 // blocks that it did not give as they were written, and that were rebuilt for readers
}

func (d *disk) failed() bool { return d.bad.Load() }

// fail takes the disk out of writing, and tells whether it was the first to do so. It is for good, unless the disk only does not answer.
func (d *disk) fail(err error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	passes := errors.Is(err, diskio.ErrStalled)
	if d.bad.Load() && (passes || !d.passes) {
		return false
	}
	d.reason, d.passes = err.Error(), passes
	d.bad.Store(true)
	return true
}

func (d *disk) detail() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.reason
}

// enough tells whether what is written to the extent now survives what it is meant to survive.
func (s *Store) enough(x *extent) error {
	n := 0
	for c := range x.cols {
		col := x.cols[c].Load()
		if col.writable() {
			n++
		} else if col != nil {
			if why := col.excuse.Load(); why != nil {
				return *why
			}
		}
	}
	if n < s.g.need() {
		return engine.ErrUnavailable
	}
	return nil
}

// syncGroup makes one fdatasync of each column serve all who wrote before it began. There is no timer: who comes while none is
// running starts one at once, who comes during one shares the next.
type syncGroup struct {
	mu      sync.Mutex
	running bool
	next    *syncBatch
}

type syncBatch struct {
	lead chan struct{} // one of the batch receives from it and does the work
	done chan struct{} // closed when the work is done
}

// sync returns when all that the caller wrote has been synced, or its column has been marked as failed.
func (s *Store) sync(x *extent) {
	g := &x.group
	g.mu.Lock()
	if !g.running {
		g.running = true
		g.mu.Unlock()
		s.syncColumns(x)
		g.finish()
		return
	}
	if g.next == nil {
		g.next = &syncBatch{lead: make(chan struct{}, 1), done: make(chan struct{})}
	}
	b := g.next
	g.mu.Unlock()
	select {
	case <-b.done:
		return
	case <-b.lead:
	}
	g.mu.Lock()
	g.next = nil // from here on those who come are the next batch
	g.mu.Unlock()
	s.syncColumns(x)
	close(b.done)
	g.finish()
}

func (g *syncGroup) finish() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.next != nil {
		g.next.lead <- struct{}{}
		return
	}
	g.running = false
}

// syncColumns syncs every column written since the last time, side by side: they are on different disks.
func (s *Store) syncColumns(x *extent) {
	var wg sync.WaitGroup
	var first *column
	for c := range x.cols {
		col := x.cols[c].Load()
		if !col.writable() || !col.dirty.Swap(false) {
			continue
		}
		if first == nil {
			first = col
			continue
		}
		wg.Go(func() { s.syncColumn(x, col) })
	}
	if first != nil {
		s.syncColumn(x, first)
	}
	wg.Wait()
}

func (s *Store) syncColumn(x *extent, col *column) {
	err := col.pinned.file.SyncData()
	if err == nil {
		return
	}
	// The kernel may have dropped the pages and would call the next sync a success: nothing unsynced in this file counts.
	if why := diskio.Excuse(err); why != nil {
		col.excuse.Store(&why)
	}
	s.miss(x, col)
	s.judge(col.disk, err)
	x.mu.Lock()
	x.retired = true
	x.mu.Unlock()
}

// write puts p at an offset of column c. A column that is not there or fails is passed over: enough decides in the end. If p was lent
// to a disk that does not answer, it is that disk's for good.
func (s *Store) write(x *extent, c int, p []byte, off int64) (lent bool, err error) {
	col := x.cols[c].Load()
	if !col.writable() {
		s.miss(x, col)
		return false, nil
	}
	if l, ok := col.pinned.file.(diskio.Lender); ok {
		err = l.WriteLentAt(p, off)
	} else {
		_, err = col.pinned.file.WriteAt(p, off)
	}
	if err != nil {
		if diskio.Excuse(err) != nil {
			return false, diskio.Kind(err)
		}
		s.miss(x, col)
		s.judge(col.disk, err)
		return errors.Is(err, diskio.ErrStalled), nil
	}
	// After the write, never before it: a sync that clears the mark must have begun after the bytes were there.
	col.dirty.Store(true)
	return false, nil
}

// miss notes that a column lacks something, nil if there is no such column: it takes no more, also if its disk is well again.
func (s *Store) miss(x *extent, col *column) {
	if col != nil {
		col.failed.Store(true)
	}
	if s.g.m > 0 && !x.lacking.Swap(true) {
		s.lacking.Add(1)
	}
}

// made notes that an extent lacks nothing any more, or is gone.
func (s *Store) made(x *extent) {
	if x.lacking.Swap(false) {
		s.lacking.Add(-1)
	}
}
