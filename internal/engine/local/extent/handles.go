package extent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine/siphash"
)

// DefaultMaxFiles is how many column files are open for reading at a time, in use or kept for the next reader.
const DefaultMaxFiles = 256

var errForeign = errors.New("the file belongs to another store, disk or column")

// version returns the version of an extent's format.
func (s *Store) version(id uint64) uint32 {
	if id < s.opts.Version2 {
		return 1
	}
	return formatVersion
}

// tag returns what marks the frame at a place as the store's own. Nobody else can know it before it is written, and a place is written
// once: a copy of the frame, which a client may store, always comes to lie at another. In version 1 it is the same in all frames.
func (s *Store) tag(id uint64, c int, off int64) uint64 {
	return makeTag(&s.opts.StoreID, &s.opts.Secret, s.opts.Version2, id, c, off)
}

func makeTag(store *[16]byte, secret *siphash.Key, version2, id uint64, c int, off int64) uint64 {
	if id < version2 {
		return binary.BigEndian.Uint64(store[:])
	}
	return siphash.Sum(secret, id, uint64(off)<<8|uint64(c))
}

// handles keeps column files open between uses, those used last. Files that are appended to come on top of its limit: they cannot
// wait for one another.
type handles struct {
	mu     sync.Mutex
	limit  int
	idle   handle    // ring of the idle ones: next is the one used last, prev the one longest unused
	open   int       // files not pinned, and those being opened
	room   sync.Cond // of mu: a handle became idle, or was closed
	closed bool
}

type handle struct {
	file vfs.File
	col  *column
	refs int  // guarded by handles.mu, as all below
	gone bool // close at the last release

	prev, next *handle // in the ring, while refs is 0
}

func (t *handles) init(limit int) {
	t.limit = limit
	t.room.L = &t.mu
	t.idle.prev, t.idle.next = &t.idle, &t.idle
}

// park puts a handle into the ring as the one used last.
func (t *handles) park(h *handle) {
	h.prev, h.next = &t.idle, t.idle.next
	h.prev.next, h.next.prev = h, h
	t.room.Signal()
}

// unpark takes a handle out of the ring, if it is there.
func (t *handles) unpark(h *handle) {
	if h.next != nil {
		h.prev.next, h.next.prev = h.next, h.prev
		h.prev, h.next = nil, nil
	}
}

// pin takes over a file just created; it stays open until unpin.
func (t *handles) pin(col *column, f vfs.File) {
	h := &handle{file: f, col: col, refs: 1}
	col.h, col.pinned = h, h
}

// unpin ends the appending to a column, once.
func (t *handles) unpin(col *column) {
	if h := col.pinned; h != nil {
		col.pinned = nil
		t.mu.Lock()
		t.open++
		t.mu.Unlock()
		t.release(h)
	}
}

// acquire returns the open file of a column, opening it if need be.
func (t *handles) acquire(s *Store, x *extent, c int, col *column) (*handle, error) {
	if h := t.get(col); h != nil {
		return h, nil
	}
	t.makeRoom()
	f, err := s.openColumn(x, c, col)
	if err != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.closedOne()
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if h := col.h; h != nil { // somebody else was faster
		t.use(h)
		t.closedOne()
		return h, f.Close()
	}
	h := &handle{file: f, col: col, refs: 1}
	col.h = h
	return h, nil
}

// makeRoom counts a file that is about to be opened. Where there are as many as may be, one that is idle is closed; a use of one is
// short, so that the wait for it is too.
func (t *handles) makeRoom() {
	t.mu.Lock()
	for t.open >= t.limit && t.idle.prev == &t.idle && !t.closed {
		t.room.Wait()
	}
	var old *handle
	if t.open >= t.limit && t.idle.prev != &t.idle {
		old = t.evict()
	}
	t.open++
	t.mu.Unlock()
	if old != nil {
		old.file.Close() // only read from since it was last synced
	}
}

// evict takes out the handle that was not used for longest. The caller closes its file.
func (t *handles) evict() *handle {
	old := t.idle.prev
	t.unpark(old)
	old.col.h = nil
	t.closedOne()
	return old
}

// closedOne counts a file that is closed.
func (t *handles) closedOne() {
	t.open--
	t.room.Signal()
}

// count tells how many files are open for reading only.
func (t *handles) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open
}

func (t *handles) get(col *column) *handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	if col.h == nil {
		return nil
	}
	t.use(col.h)
	return col.h
}

func (t *handles) use(h *handle) {
	h.refs++
	t.unpark(h)
}

func (t *handles) release(h *handle) {
	var old *handle
	t.mu.Lock()
	h.refs--
	if h.refs == 0 {
		if h.gone || t.closed {
			old = h
			if h.col.h == h {
				h.col.h = nil
			}
			t.closedOne()
		} else {
			t.park(h)
			if t.open > t.limit {
				old = t.evict()
			}
		}
	}
	t.mu.Unlock()
	if old != nil {
		old.file.Close() // only read from since it was last synced
	}
}

// forget drops the open file of a column whose file is going away or was replaced.
func (t *handles) forget(col *column) {
	t.mu.Lock()
	h := col.h
	col.h = nil
	if h != nil {
		h.gone = true
		t.unpark(h)
	}
	idle := h != nil && h.refs == 0
	if idle {
		t.closedOne()
	}
	t.mu.Unlock()
	if idle {
		h.file.Close()
	}
}

// close closes what is idle; what is in use is closed by its last release.
func (t *handles) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.room.Broadcast()
	var errs []error
	for h := t.idle.next; h != &t.idle; h = t.idle.next {
		t.unpark(h)
		h.col.h = nil
		t.open--
		errs = append(errs, h.file.Close())
	}
	return errors.Join(errs...)
}

// openColumn opens a column for reading and looks at whose it is. A header that cannot be read is no obstacle: every frame
// names its store, extent and column.
func (s *Store) openColumn(x *extent, c int, col *column) (vfs.File, error) {
	f, err := col.disk.FS.Open(col.path)
	if err != nil {
		return nil, err
	}
	b := make([]byte, headerSize)
	n, _ := f.ReadAt(b, 0)
	h, err := decodeFileHeader(b[:n])
	switch {
	case errors.Is(err, errVersion):
	case err != nil:
		s.work.repairHeader(x, c)
		err = nil
	case h.store != s.opts.StoreID || h.disk != col.disk.ID || h.extent != x.id || int(h.column) != c || h.version != s.version(x.id):
		err = errForeign
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", col.path, err)
	}
	return f, nil
}

// readAt reads from column c into b and returns how much there was.
func (s *Store) readAt(x *extent, c int, b []byte, off int64) (int, error) {
	col := x.cols[c].Load()
	if col == nil {
		return 0, errMissing
	}
	h, err := s.files.acquire(s, x, c, col)
	if err != nil {
		col.disk.tell(s, err)
		return 0, err
	}
	defer s.files.release(h)
	n, err := h.file.ReadAt(b, off)
	col.disk.tell(s, err)
	return n, err
}

// unreadable is how many reads in a row fail on a disk that is said to be unreadable.
const unreadable = 4

// tell notes how a read ended.
func (d *disk) tell(s *Store, err error) {
	switch {
	case err == nil, errors.Is(err, io.EOF):
		if d.unread.Load() != 0 && d.unread.Swap(0) >= unreadable {
			s.log.Info("a disk can be read again", zap.String("dir", d.Dir))
		}
	case transient(err), errors.Is(err, errForeign), errors.Is(err, errVersion), errors.Is(err, fs.ErrNotExist):
	case d.unread.Add(1) == unreadable:
		s.log.Error("a disk cannot be read", zap.String("dir", d.Dir), zap.Error(err))
	}
}

var errMissing = errors.New("the column is missing")
