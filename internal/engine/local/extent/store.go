package extent

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/klauspost/reedsolomon"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskio"
	"github.com/blobd/blobd/internal/engine/siphash"
)

// Disk is one data directory. FS must allow writes and syncs of a file at the same time, as the operating system does.
type Disk struct {
	Dir string // the folder of the column files; made if it is not there
	FS  vfs.FS
	ID  [16]byte
	OK  bool // false: not there, or not to be trusted; it is neither read nor written
}

// DefaultExtentSize is the size at which a column file is full, in bytes.
const DefaultExtentSize = 256 << 20

// Options of a Store. Disks, K, M and StoreID are required. There are at least K+M disks, in any order.
type Options struct {
	Disks      []Disk
	K, M       int
	StoreID    [16]byte
	ExtentSize int64       // 0 is DefaultExtentSize
	Secret     siphash.Key // of the store: marks frames and footers as its own
	Started    uint64      // number of the start of the store, which is in the headers of what is made
	Version2   uint64      // the first extent of version 2 of the format; a store that was made since has no others
	MaxFiles   int         // column files open for reading at a time; 0 is DefaultMaxFiles
	Logger     *zap.Logger
	Still      bool // seal and repair nothing in the background

	// OnPut, if set, is called with each chunk just before Put returns it, and before its extent can be seen as no longer
	// open: who looks for garbage among the extents that are not open, and guards what OnPut named, misses none.
	OnPut func(engine.Ref)

	// Owned tells whether somebody owns a chunk. It is asked in extents of version 1 only.
	Owned func(engine.Ref) bool
}

// Store keeps chunks in extents. All methods may be called concurrently.
type Store struct {
	opts  Options
	g     geometry
	log   *zap.Logger
	disks []*disk
	rs    reedsolomon.Encoder // nil where m is 0

	files   handles
	work    worker
	rowBufs sync.Pool // of *[]byte, one row of all columns
	allBufs sync.Pool // of *[]byte, g.rows rows of all columns
	coders  sync.Pool // of *coder
	pack    packer

	life    sync.RWMutex // guards closed against the start of an operation
	closed  bool
	stopped atomic.Bool // closed, for readers
	ops     sync.WaitGroup

	appending sync.Mutex
	current   *extent // open for new chunks; guarded by appending
	last      uint64  // newest id; guarded by appending
	deferred  *extent // dropped, but its files keep its id from being given again; guarded by appending

	odd []uint64 // ids in the names of what is no file; of Open

	mu      sync.RWMutex
	extents map[uint64]*extent

	rebuilt atomic.Int64 // rows rebuilt for readers
	dropped atomic.Int64 // extents, since the store was opened
	freed   atomic.Int64 // bytes of content in them
	lacking atomic.Int64 // extents with a column that lacks something; see extent.lacking
}

// Open finds the extents on the disks. It reads one block of each extent and no more: what was open when the last run ended is
// sealed in the background.
func Open(opts Options) (*Store, error) {
	if opts.ExtentSize == 0 {
		opts.ExtentSize = DefaultExtentSize
	}
	if opts.MaxFiles == 0 {
		opts.MaxFiles = DefaultMaxFiles
	}
	if opts.Logger == nil {
		opts.Logger = zap.NewNop()
	}
	switch {
	case opts.K < 1 || opts.M < 0 || opts.K+opts.M > maxColumns:
		return nil, fmt.Errorf("extents of %d+%d columns: at least 1+0 and at most %d in all", opts.K, opts.M, maxColumns)
	case len(opts.Disks) < opts.K+opts.M:
		return nil, fmt.Errorf("extents of %d+%d columns on %d disks", opts.K, opts.M, len(opts.Disks))
	case opts.ExtentSize < 0 || opts.ExtentSize > maxExtentSize:
		return nil, fmt.Errorf("extent size %d: at most %d", opts.ExtentSize, int64(maxExtentSize))
	}
	s := &Store{
		opts:    opts,
		g:       newGeometry(opts.K, opts.M),
		log:     opts.Logger,
		extents: make(map[uint64]*extent),
	}
	if opts.M > 0 {
		// One goroutine: a row is coded in microseconds, and other transfers have use for the other cores.
		rs, err := reedsolomon.New(opts.K, opts.M, reedsolomon.WithMaxGoroutines(1))
		if err != nil {
			return nil, fmt.Errorf("erasure code %d+%d: %w", opts.K, opts.M, err)
		}
		s.rs = rs
	}
	s.files.init(opts.MaxFiles)
	s.rowBufs.New = func() any { b := make([]byte, s.g.columns()*s.g.frame()); return &b }
	s.allBufs.New = func() any { b := make([]byte, s.g.rows*s.g.columns()*s.g.frame()); return &b }
	s.coders.New = func() any { return new(coder) }
	if s.opts.Owned == nil {
		s.opts.Owned = func(engine.Ref) bool { return false }
	}
	s.last = max(opts.Version2, 1) - 1
	for _, d := range opts.Disks {
		s.disks = append(s.disks, &disk{Disk: d})
	}
	for _, d := range s.disks {
		if !d.OK {
			d.fail(errors.New("the disk is missing"))
			continue
		}
		if err := s.scan(d); diskio.Busy(err) {
			return nil, diskio.Kind(err)
		} else if err != nil {
			s.failDisk(d, err)
			d.passes = false // nobody knows what columns it has
		}
	}
	if err := s.recover(); err != nil {
		return nil, err
	}
	s.work.start(s)
	return s, nil
}

// columnName is the name of the file of a column.
func columnName(id uint64, c int) string { return fmt.Sprintf("%016x.%02d", id, c) }

const temporary = ".tmp" // ends the name of a column that is being rebuilt

func parseColumnName(name string) (id uint64, c int, ok bool) {
	left, right, ok := strings.Cut(name, ".")
	if !ok || len(left) != 16 || len(right) != 2 {
		return 0, 0, false
	}
	id, err := strconv.ParseUint(left, 16, 64)
	if err != nil || id == 0 || id == math.MaxUint64 {
		return 0, 0, false
	}
	c, err = strconv.Atoi(right)
	if err != nil || c < 0 || c >= maxColumns || columnName(id, c) != name {
		return 0, 0, false
	}
	return id, c, true
}

// Number returns the extent that a file is a column of.
func Number(name string) (uint64, bool) {
	id, _, ok := parseColumnName(name)
	return id, ok
}

// scan lists the columns on a disk.
func (s *Store) scan(d *disk) error {
	if err := diskio.MakeDir(d.FS, d.Dir); err != nil {
		return err
	}
	names, err := d.FS.List(d.Dir)
	if err != nil {
		return fmt.Errorf("list %s: %w", d.Dir, err)
	}
	slices.Sort(names)
	for _, name := range names {
		path := d.FS.PathJoin(d.Dir, name)
		if strings.HasSuffix(name, temporary) {
			if err := d.FS.Remove(path); err != nil {
				return fmt.Errorf("remove %s: %w", path, err)
			}
			continue
		}
		id, c, ok := parseColumnName(name)
		if !ok {
			s.log.Warn("a file that is no column lies among the extents", zap.String("path", path))
			continue
		}
		switch info, err := d.FS.Stat(path); {
		case err == nil && info.IsDir():
			err = fmt.Errorf("%s is a folder: %w", path, diskio.ErrNotPlain)
			fallthrough
		case errors.Is(err, diskio.ErrNotPlain):
			s.log.Error("a column is missing, and something else has its name", zap.Error(err))
			s.odd = append(s.odd, id)
			continue
		}
		x := s.extents[id]
		if x == nil {
			x = &extent{id: id, found: true, retired: true, cols: make([]atomic.Pointer[column], maxColumns)}
			x.refs.Store(1)
			s.extents[id] = x
		}
		if old := x.cols[c].Load(); old != nil {
			s.log.Warn("a column is there twice; the second is ignored", zap.String("path", path), zap.String("first", old.path))
			continue
		}
		x.cols[c].Store(&column{disk: d, path: path})
	}
	return nil
}

// leap is how far the number of an extent may be ahead of those that a header vouches for. A name alone is anybody's, and new extents get
// higher numbers than all that are there.
const leap = 1 << 20

// recover settles the extents found: their width and their end. None of them is appended to again.
func (s *Store) recover() error {
	named := s.odd
	for _, x := range s.extents {
		ours, err := s.inspect(x)
		if err != nil {
			return fmt.Errorf("extent %016x: %w", x.id, err)
		}
		if ours {
			s.last = max(s.last, x.id)
		} else {
			named = append(named, x.id)
		}
	}
	slices.Sort(named)
	for _, id := range named {
		if id <= s.last || id-s.last <= leap {
			s.last = max(s.last, id)
		} else if x := s.extents[id]; x != nil {
			s.log.Error("files that are no extent of this store lie among them, under a number that is far ahead; they are left alone", zap.String("extent", fmt.Sprintf("%016x", id)))
			delete(s.extents, id)
		}
	}
	for _, x := range s.extents {
		x.cols = x.cols[:s.g.columns()]
		if x.data >= 0 {
			continue
		}
		for c := range x.cols {
			col := x.cols[c].Load()
			if col == nil {
				continue
			}
			if info, err := col.disk.FS.Stat(col.path); err == nil {
				x.end = max(x.end, alignUp(info.Size()))
			}
		}
	}
	return nil
}

// inspect reads the first column of an extent that tells whose it is, and what its footer says, if there is one. Extents of
// another k+m than the store's are refused: it is fixed when the store is made. ours tells that there is such a column.
func (s *Store) inspect(x *extent) (ours bool, err error) {
	x.end, x.data = headerSize, unknown
	for c := range x.cols {
		col := x.cols[c].Load()
		if col == nil {
			continue
		}
		h, e, err := s.readEnds(col, x, c)
		if errors.Is(err, errVersion) {
			return false, fmt.Errorf("%s: %w", col.path, err)
		}
		if err != nil || h.store != s.opts.StoreID || h.disk != col.disk.ID || h.version != s.version(x.id) {
			continue // another column may tell; this one is judged when it is opened
		}
		if int(h.k) != s.g.k || int(h.m) != s.g.m {
			return false, fmt.Errorf("it has %d+%d columns, the store is set to %d+%d", h.k, h.m, s.g.k, s.g.m)
		}
		x.started = h.started
		switch {
		case e.foot != nil:
			x.measured, x.end, x.data = true, e.foot.length, e.foot.data
		case e.former != nil:
			x.end, x.data = e.former.length, e.former.data
		}
		return true, nil
	}
	return false, nil
}

// readEnds reads the header of a column, and its footer if it has one.
func (s *Store) readEnds(col *column, x *extent, c int) (h fileHeader, e ending, err error) {
	f, err := col.disk.FS.Open(col.path)
	if err != nil {
		return h, e, err
	}
	defer f.Close()
	if h, err = readHeader(f); err != nil {
		return h, e, err
	}
	e, err = s.endingOf(f, x, c)
	return h, e, err
}

func readHeader(f vfs.File) (fileHeader, error) {
	b := make([]byte, headerSize)
	if n, err := f.ReadAt(b, 0); n < headerSize {
		return fileHeader{}, errors.Join(errNoHeader, err)
	}
	return decodeFileHeader(b)
}

// Info describes an extent.
type Info struct {
	ID uint64
	// Data is the bytes of the chunks that were given a place, whoever owns them now. Of an extent that a crash left it is an
	// upper bound until it has been sealed.
	Data    int64
	Open    bool // chunks are still being written to it
	Sealed  bool // all its columns carry their SHA-256
	Missing int  // columns without a file
}

// Extents lists the extents by id, but for dropped ones.
func (s *Store) Extents() []Info {
	s.mu.RLock()
	list := make([]*extent, 0, len(s.extents))
	for _, x := range s.extents {
		list = append(list, x)
	}
	s.mu.RUnlock()
	slices.SortFunc(list, func(a, b *extent) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	infos := make([]Info, len(list))
	for i, x := range list {
		x.mu.Lock()
		infos[i] = Info{
			ID:     x.id,
			Data:   x.data,
			Open:   !x.retired || x.writers > 0,
			Sealed: x.sealed,
		}
		if x.data == unknown {
			infos[i].Data = (x.end - headerSize) * int64(s.g.k)
		}
		x.mu.Unlock()
		for c := range x.cols {
			if x.cols[c].Load() == nil {
				infos[i].Missing++
			}
		}
	}
	return infos
}

// acquire finds an extent and keeps it readable until release.
func (s *Store) acquire(id uint64) *extent {
	s.mu.RLock()
	defer s.mu.RUnlock()
	x := s.extents[id]
	if x != nil {
		x.refs.Add(1)
	}
	return x
}

func (s *Store) release(x *extent) {
	if x.refs.Add(-1) == 0 {
		if err := s.remove(x); err != nil {
			s.log.Error("a dropped extent stays on the disks until the next start", zap.Uint64("extent", x.id), zap.Error(err))
		}
	}
}

// Has tells whether an extent is there and not dropped.
func (s *Store) Has(id uint64) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.extents[id] != nil
}

// Drop removes an extent that is not open and in which nobody owns a chunk. Those who read from it read on to their end.
func (s *Store) Drop(id uint64) error {
	if !s.enter() {
		return engine.ErrClosed
	}
	defer s.ops.Done()
	x := s.acquire(id)
	if x == nil {
		return nil
	}
	defer s.release(x)
	x.mu.Lock()
	open := !x.retired || x.writers > 0
	x.mu.Unlock()
	if open {
		return fmt.Errorf("drop extent %016x: it is open", id)
	}
	s.mu.Lock()
	listed := s.extents[id] == x
	delete(s.extents, id)
	s.mu.Unlock()
	if listed {
		s.made(x)
		s.dropped.Add(1)
		x.mu.Lock()
		s.freed.Add(max(0, x.data))
		x.mu.Unlock()
	}
	if listed && !s.keepLast(x) {
		s.release(x)
	}
	return nil
}

// keepLast puts off the removal of the newest extent: its files are what keeps its id from being given again after a restart. The next
// one is made for that if there is room for its headers, so that the room of this one comes back.
func (s *Store) keepLast(x *extent) bool {
	s.appending.Lock()
	defer s.appending.Unlock()
	if x.id != s.last {
		return false
	}
	next, err := s.create()
	if err == nil {
		s.current = next
		return false
	}
	s.log.Warn("the newest extent is dropped when the next one is made", zap.Uint64("extent", x.id), zap.Error(err))
	s.deferred = x
	return true
}

// remove deletes the files of an extent that nobody can reach any more. Directories are not synced: an extent that comes back
// has no owners and is dropped again.
func (s *Store) remove(x *extent) error {
	var errs []error
	for c := range x.cols {
		col := x.cols[c].Load()
		if col == nil {
			continue
		}
		s.files.forget(col)
		if col.disk.OK {
			if err := col.disk.FS.Remove(col.path); err != nil && !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// Seal ends the appending to an extent. It is sealed when the last Put in it is done; Seal does not wait for that.
func (s *Store) Seal(id uint64) error {
	if !s.enter() {
		return engine.ErrClosed
	}
	defer s.ops.Done()
	s.appending.Lock()
	defer s.appending.Unlock()
	x := s.acquire(id)
	if x == nil {
		return fmt.Errorf("seal extent %016x: %w", id, engine.ErrNotFound)
	}
	defer s.release(x)
	if s.current == x {
		s.current = nil
	}
	s.retire(x)
	return nil
}

// retire ends the giving of places in x.
func (s *Store) retire(x *extent) {
	x.mu.Lock()
	was := x.retired
	x.retired = true
	idle := x.writers == 0
	x.mu.Unlock()
	if idle && !was {
		s.work.seal(x)
	}
}

// OpenFiles tells how many column files are open for reading, and how many may be.
func (s *Store) OpenFiles() (n, most int) { return s.files.count(), s.files.limit }

// Health tells how the disks are, but for their room.
func (s *Store) Health() engine.Health {
	h := engine.Health{}
	good := 0
	var details []string
	for _, d := range s.disks {
		dh := engine.DiskHealth{Path: d.Dir, OK: !d.failed(), Detail: d.detail(), Rebuilt: d.rebuilt.Load()}
		if dh.OK {
			good++
		}
		if n := d.unread.Load(); dh.OK && n >= unreadable {
			dh.OK, dh.Detail = false, fmt.Sprintf("the last %d reads failed", n)
		}
		if !dh.OK {
			details = append(details, fmt.Sprintf("%s: %s", d.Dir, dh.Detail))
		}
		h.Disks = append(h.Disks, dh)
	}
	h.Writable = good >= s.g.need()
	h.Degraded = len(details) > 0
	h.Detail = strings.Join(details, "; ")
	return h
}

// Degraded tells whether chunks are, or were, stored without their part on some disk, and have not been healed.
func (s *Store) Degraded() bool { return s.lacking.Load() > 0 || s.Failed() }

// Lacking lists the extents that lost a part of what was acknowledged in them since the store was opened, and wait to be healed.
func (s *Store) Lacking() (ids []uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for id, x := range s.extents {
		if x.lacking.Load() {
			ids = append(ids, id)
		}
	}
	return ids
}

// Failed tells whether a disk takes no writes.
func (s *Store) Failed() bool {
	for _, d := range s.disks {
		if d.failed() {
			return true
		}
	}
	return false
}

// Rebuilt returns how many rows were rebuilt for readers since the store was opened.
func (s *Store) Rebuilt() int64 { return s.rebuilt.Load() }

// Work is what the store did with its extents since it was opened, and what waits to be done.
type Work struct {
	Dropped, DroppedBytes int64
	Tasks                 int // extents and rows to be sealed or repaired
	Packing               int // chunks that wait to be written in a shared row
}

// Work tells of it.
func (s *Store) Work() Work {
	w := Work{Dropped: s.dropped.Load(), DroppedBytes: s.freed.Load()}
	s.work.mu.Lock()
	w.Tasks = len(s.work.queue) + len(s.work.later)
	s.work.mu.Unlock()
	s.pack.mu.Lock()
	w.Packing = len(s.pack.waiting)
	s.pack.mu.Unlock()
	return w
}

// Fail takes a disk out of writing until the store is opened anew.
func (s *Store) Fail(dir string, why error) {
	for _, d := range s.disks {
		if d.Dir == dir {
			s.failDisk(d, why)
		}
	}
}

// Stalled takes a disk out of writing that does not answer, or with nil has it written to again. What it missed is for Heal to rebuild.
func (s *Store) Stalled(dir string, why error) {
	for _, d := range s.disks {
		switch {
		case d.Dir != dir:
		case why != nil:
			s.failDisk(d, why)
		default:
			s.readmit(d)
		}
	}
}

// readmit has a disk written to again that did not answer. Only new extents go on it: the columns that it had open meanwhile lack
// something, or may.
func (s *Store) readmit(d *disk) {
	s.appending.Lock()
	defer s.appending.Unlock()
	d.mu.Lock()
	passes := d.bad.Load() && d.passes
	d.mu.Unlock()
	if !passes {
		return
	}
	s.mu.RLock()
	for _, x := range s.extents {
		x.mu.Lock()
		sealed := x.sealed
		x.mu.Unlock()
		for c := range x.cols {
			if col := x.cols[c].Load(); col != nil && col.disk == d && !x.found && !sealed {
				s.miss(x, col)
			}
		}
	}
	s.mu.RUnlock()
	if x := s.current; x != nil {
		s.current = nil
		s.retire(x)
	}
	d.mu.Lock()
	d.reason, d.passes = "", false
	d.bad.Store(false)
	d.mu.Unlock()
	s.log.Info("a disk answers again and takes writes", zap.String("dir", d.Dir))
}

// failDisk takes a disk out of writing.
func (s *Store) failDisk(d *disk, err error) {
	if d.fail(err) {
		s.log.Error("a disk failed and takes no more writes", zap.String("dir", d.Dir), zap.Error(err))
	}
}

// enter admits an operation, which must call s.ops.Done; false once the store is closed.
func (s *Store) enter() bool {
	s.life.RLock()
	defer s.life.RUnlock()
	if s.closed {
		return false
	}
	s.ops.Add(1)
	return true
}

// Close waits for the Puts under way and ends the background work. Readers still open fail with engine.ErrClosed.
func (s *Store) Close() error {
	s.life.Lock()
	if s.closed {
		s.life.Unlock()
		return nil
	}
	s.closed = true
	s.life.Unlock()
	s.ops.Wait()
	s.stopped.Store(true)
	s.work.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.extents {
		s.unpin(x)
	}
	if s.deferred != nil {
		s.unpin(s.deferred)
	}
	return s.files.close()
}

// unpin lets go of the files that were held open for appending.
func (s *Store) unpin(x *extent) {
	for c := range x.cols {
		if col := x.cols[c].Load(); col != nil {
			s.files.unpin(col)
		}
	}
}
