// Package local is the engine of one machine: an ordered key space on Pebble and chunks in extents, both on the machine's own
// disks.
//
// # Guarantees beyond the contract
//
//   - With m parity columns the store reads and writes as long as m disks at most are gone: extents are erasure-coded, and Pebble's
//     files are mirrored on m+1 disks. A disk that was away is recognised by its id and epoch and is no source of what it missed.
//   - A directory that is foreign, copied, locked by another process or of a newer format is refused before anything is written.
//   - A write or sync that fails is not tried again. The metadata of a store whose log failed takes no more writes until it is opened
//     anew; reads go on. Nothing below ends the process.
//
// # Locks
//
// In this order: stripe.tx, Store.collecting (for reading), stripe.mu. A collection holds Store.collector and takes
// Store.collecting for writing, and no stripe.
package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskio"
	"github.com/blobd/blobd/internal/engine/local/diskset"
	"github.com/blobd/blobd/internal/engine/local/diskspace"
	"github.com/blobd/blobd/internal/engine/local/extent"
	"github.com/blobd/blobd/internal/engine/local/groupcommit"
	"github.com/blobd/blobd/internal/engine/local/guard"
	"github.com/blobd/blobd/internal/engine/local/logfs"
	"github.com/blobd/blobd/internal/engine/local/mirror"
	"github.com/blobd/blobd/internal/engine/local/overlay"
	"github.com/blobd/blobd/internal/engine/local/privatefs"
	"github.com/blobd/blobd/internal/engine/local/rowcache"
	"github.com/blobd/blobd/internal/engine/local/scrub"
	"github.com/blobd/blobd/internal/engine/local/wal"
	"github.com/blobd/blobd/internal/speedup"
)

// Options of Open. The zero value of a field means its default.
type Options struct {
	Dirs   []string // data directories, one per disk, in any order
	FS     vfs.FS   // default: vfs.Default, for the user alone that the process runs as
	Logger *zap.Logger

	Existing bool // refuse to make a store where there is none
	// AcceptMissing names what the store is to go on without, as the error that refused the start did: disks, logs, columns.
	AcceptMissing []string
	// Replace names disks that are lost for good, as Disks does. For each an empty directory is taken in their order, and what was on the
	// disk is rebuilt there, and where that cannot be they are refused, unless Lossy says that what is left is all there is.
	Replace []string
	Lossy   bool

	// Restore makes a new store that is to be filled: see engine.Restorer. Where there is one it is refused.
	Restore bool

	// Still opens the store without a change to its disks: what a start writes is kept in memory, nothing is collected, healed or
	// scrubbed. It is for looking at a store that nobody serves.
	Still bool

	CacheSize    int64            // bytes of Pebble's block cache; default 80 MiB
	RowCacheSize int64            // bytes of values kept by key; default 48 MiB
	FilterSize   int64            // bytes of the filter of the keys that are there; default a tenth of CacheSize, 8 MiB at most
	MemTableSize uint64           // bytes of a full memtable; default 32 MiB, less on a small disk
	ExtentSize   int64            // bytes of a full extent; default 256 MiB, less on a small disk
	OpTimeout    time.Duration    // that a file operation may take; default: however long it takes
	MaxFiles     int              // files kept open for reading: of metadata two thirds, of extents a sixth; default 1536
	ScrubRate    int64            // bytes a second that a scrub reads; below 0: none unless it is asked for; default DefaultScrubRate
	SealGarbage  int64            // bytes from which on an open extent that is mostly garbage is collected; default 16 MiB
	Now          func() time.Time // default: time.Now
}

// DiskInfo is what is known of one disk of a store, from the outside.
type DiskInfo = diskset.Info

// Disks tells which disks a store has and what is in the directories. It changes nothing, and the store may be open.
func Disks(opts Options) ([]DiskInfo, error) {
	opts = opts.withDefaults()
	return diskset.List(opts.FS, opts.Dirs)
}

// IsData tells whether a directory of this machine is the data directory of a store.
func IsData(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, diskset.FormatName))
	return err == nil
}

// PrivateFS is the system's file system, on which what is made is for this user alone.
func PrivateFS() vfs.FS { return privatefs.New(metaDir, extentDir) }

// Memory is an empty file system for Options.FS that keeps all in memory.
func Memory() vfs.FS { return vfs.NewMem() }

// DefaultMaxFiles is what a store keeps open where it may, MinMaxFiles what it needs. FilesPerDisk is how many locks and folders
// it keeps open on a disk at most, which are not among them.
const (
	DefaultMaxFiles = 1536
	MinMaxFiles     = 160
	FilesPerDisk    = 16
)

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = PrivateFS()
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.CacheSize == 0 {
		o.CacheSize = 80 << 20
	}
	if o.RowCacheSize == 0 {
		o.RowCacheSize = 48 << 20
	}
	if o.FilterSize == 0 {
		o.FilterSize = min(8<<20, o.CacheSize/10)
	}
	if o.MaxFiles == 0 {
		o.MaxFiles = DefaultMaxFiles
	}
	if o.ScrubRate == 0 {
		o.ScrubRate = DefaultScrubRate
	}
	if o.SealGarbage == 0 {
		o.SealGarbage = collectSeal
	}
	if !speedup.RowCache.On() {
		o.RowCacheSize = 0
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Store implements engine.Store.
type Store struct {
	opts  Options
	log   *zap.Logger
	io    *diskio.FS // what Options.FS is, guarded
	disks *diskset.Set
	meta  *mirror.FS // nil where metadata is on one disk
	logs  *wal.List

	replicas  []int // indexes of the disks under meta
	db        *pebble.DB
	extents   *extent.Store
	stripes   *stripeSet
	syncs     *groupcommit.Syncer
	snapshots sharedSnapshots
	rows      *rowcache.Cache
	clock     clock
	gate      gate
	pins      pins
	held      held
	lost      atomic.Uint64 // chunks that a restore has no bytes of
	state     *state
	space     *diskspace.Watch
	patience  time.Duration // that a transaction waits at most that frees space

	readOnly  bool         // while a start on a full disk has not found room
	reopening sync.RWMutex // held for writing while such a start opens the key space anew: extents ask already who owns a chunk

	incomplete incomplete
	healDue    chan struct{}    // receives when there may be something to heal
	holding    map[string]error // directories whose disks hold up metadata; of diskHeld
	statuses   []diskStatus     // by disk
	garbage    atomic.Int64     // bytes that the last collection left

	// collecting is held for writing at the moment a collection decides what lives, for reading by a transaction from the
	// check of the chunks it retains to its queueing.
	collecting sync.RWMutex
	collector  sync.Mutex                          // held by the one collection that runs
	forwarded  atomic.Pointer[map[uint64]struct{}] // extents with forwards; nil if there are none
	released   atomic.Bool                         // a chunk was released since the last collection
	freed      atomic.Uint64                       // transactions that make room
	collectDue chan struct{}                       // receives when a collection cannot wait
	collected  chan struct{}                       // closed when the collection of the start has ended
	damaged    map[engine.Ref]bool                 // chunks that a collection could not read; guarded by collector

	scrubber *scrub.Scrubber
	damage   damages // what it could not bring back

	keys keysMeter
	did  activity

	stop       context.CancelFunc
	background sync.WaitGroup
}

var _ engine.Restorer = (*Store)(nil)

const (
	metaDir   = diskset.MetaDir
	extentDir = diskset.ExtentDir
)

// Open opens the store in the directories, or makes a new one if they are empty.
func Open(opts Options) (_ *Store, err error) {
	opts = opts.withDefaults()
	if opts.Still {
		opts.FS = overlay.New(opts.FS)
		opts.Existing = true
	}
	s := &Store{opts: opts, log: opts.Logger, stripes: newStripes(), rows: rowcache.New(opts.RowCacheSize, opts.FilterSize), clock: clock{now: opts.Now}, state: newState(opts.Logger), patience: freeingPatience,
		collectDue: make(chan struct{}, 1), collected: make(chan struct{})}
	s.syncs = groupcommit.New(s.syncLog)
	s.healDue, s.holding = make(chan struct{}, 1), make(map[string]error)
	s.gate.init()
	reserves := diskspace.FindReserves(opts.FS, opts.Dirs, s.log)
	s.io = diskio.New(logfs.New(reserves.Beneath(opts.FS, extentDir)), opts.Dirs, opts.OpTimeout)
	s.opts.FS = s.io
	defer func() {
		if err != nil {
			s.io.Close()
		}
	}()
	if s.disks, err = diskset.Open(diskset.Options{
		FS: s.io, Logger: s.log, Dirs: opts.Dirs, Existing: opts.Existing, Restore: opts.Restore, AcceptMissing: opts.AcceptMissing, Replace: opts.Replace, Lossy: opts.Lossy,
	}); errors.Is(err, diskset.ErrOccupied) {
		return nil, refuseRestore(opts)
	} else if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.closeFiles())
		}
	}()
	if private, ok := opts.FS.(privatefs.FS); ok {
		for _, d := range s.disks.Disks {
			if d.Usable() {
				private.Tighten(d.Dir, s.log)
			}
		}
	}
	s.space = diskspace.Open(diskspace.Options{
		FS: s.io, Dirs: s.disks.Used(), Reserves: reserves, Logger: s.log, MemTable: int64(opts.MemTableSize), Extent: opts.ExtentSize,
		OnFull: s.collectNow, Unflushed: s.unflushed, Ending: s.state.ending,
	})
	s.opts.MemTableSize, s.opts.ExtentSize = uint64(s.space.MemTable), s.space.Extent
	if err = s.openMeta(); err != nil {
		return nil, err
	}
	if err = s.openExtents(); err != nil {
		return nil, err
	}
	if err = s.load(); err != nil {
		return nil, err
	}
	if err = s.rescue(); err != nil {
		return nil, err
	}
	if err = s.markRestore(); err != nil {
		return nil, err
	}
	s.space.Look()
	if err = s.disks.Finish(); err != nil {
		return nil, err
	}
	s.statuses = make([]diskStatus, len(s.disks.Disks))
	s.io.Handle(diskio.Handlers{Kept: s.kept, Changed: s.diskChanged, Held: s.diskHeld})
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	for i, d := range s.disks.Disks {
		if d.Usable() {
			s.lookAt(i)
			s.background.Go(func() { s.watchDisk(ctx, i) })
		}
	}
	if opts.Still {
		close(s.collected)
		return s, nil
	}
	s.background.Go(func() { s.runCollector(ctx) })
	s.background.Go(func() { s.watchSpace(ctx) })
	if speedup.BloomFilter.On() {
		s.background.Go(func() { s.backfill(ctx) })
	}
	s.background.Go(func() { s.runHealer(ctx) })
	s.background.Go(func() { s.runConfirm(ctx) })
	s.background.Go(func() { s.scrubber.Run(ctx) })
	return s, nil
}

// openMeta opens Pebble, on a mirror if the store has parity. What it finds is held against what the store is known to have, before
// anything is written.
func (s *Store) openMeta() (err error) {
	fs, dir := s.opts.FS, ""
	if s.disks.M == 0 {
		dir = fs.PathJoin(s.disks.Disks[0].Dir, metaDir)
	} else {
		if err = s.openMirror(fs); err != nil {
			return err
		}
		fs, dir = s.meta, metaDir
	}
	if s.disks.Fresh() {
		if err := diskio.MakeDir(fs, dir); err != nil {
			return kind(err)
		}
	} else if err := guard.CheckPresence(fs, dir); err != nil {
		return err
	}
	if s.logs, err = wal.OpenList(fs, dir, wal.ListOptions{Store: s.disks.Store, Start: s.disks.Next(), Since: s.disks.Started, Accepted: s.opts.AcceptMissing, Logger: s.log}); err != nil {
		return kind(err)
	}
	return s.openKeys()
}

// openMirror makes the metadata replicas alike.
func (s *Store) openMirror(base vfs.FS) (err error) {
	current := s.disks.Current()
	o := mirror.Options{Dir: metaDir, Valid: s.validPrefix, Logger: s.log}
	for i, d := range s.disks.Disks {
		if d.Usable() && s.disks.Replicas()&(1<<i) != 0 {
			o.Replicas = append(o.Replicas, mirror.Replica{FS: base, Dir: d.Dir, Current: current&(1<<i) != 0})
			s.replicas = append(s.replicas, i)
		}
	}
	o.Drop = func(replica int, cause error) error { return s.disks.Drop(s.replicas[replica]) }
	s.meta, err = mirror.Open(o)
	return err
}

// validPrefix tells how many bytes of a metadata file are good.
func (s *Store) validPrefix(name string, b []byte) int64 {
	if n, ok := guard.ValidPrefix(name, b); ok {
		return n
	}
	if n, ok := s.disks.LogFrames().ValidPrefix(name, b); ok {
		return n
	}
	return mirror.ValidPrefix(name, b)
}

// members is the mask of the disks whose metadata is in use.
func (s *Store) members() (mask uint32) {
	for i, in := range s.meta.Members() {
		if in {
			mask |= 1 << s.replicas[i]
		}
	}
	return mask
}

func (s *Store) openExtents() (err error) {
	o := extent.Options{
		K: s.disks.K, M: s.disks.M, StoreID: s.disks.Store, Secret: s.disks.Since.Secret, Started: s.disks.Started, Version2: s.disks.Since.Extent,
		ExtentSize: s.opts.ExtentSize, MaxFiles: s.opts.MaxFiles / 6, Logger: s.log, Still: s.opts.Still, OnPut: s.pins.pin, Owned: s.owned,
	}
	for i, d := range s.disks.Disks {
		e := extent.Disk{FS: s.opts.FS, ID: s.disks.IDs[i], OK: d.Usable()}
		if d.Dir != "" {
			e.Dir = s.opts.FS.PathJoin(d.Dir, extentDir)
		}
		o.Disks = append(o.Disks, e)
	}
	s.extents, err = extent.Open(o)
	return kind(err)
}

// load reads what the store keeps of itself.
func (s *Store) load() error {
	if err := s.checkRestored(); err != nil {
		return err
	}
	r := &reader{src: s.db}
	defer r.release()
	limit, err := r.integer(sysStamp, nil)
	if err != nil {
		return fmt.Errorf("read the stamp limit: %w", err)
	}
	s.clock.start(engine.Stamp(limit))
	return errors.Join(s.loadForwarded(), s.loadIncomplete(), s.checkExtents(), s.openScrub())
}

// Close implements engine.Store. What is in memory only is flushed, so that the next start has no log to read.
func (s *Store) Close() error {
	s.state.end()
	if !s.gate.close() {
		return engine.ErrClosed
	}
	s.stop()
	s.background.Wait()
	var errs []error
	if s.state.Failed() == nil {
		b := s.db.NewBatch()
		errs = append(errs, b.Merge(systemKey(sysStamp, nil), appendInt(nil, int64(s.clock.stop())), nil), s.commit(b), b.Close())
		if s.state.Failed() == nil {
			errs = append(errs, s.flush())
		}
	}
	errs = append(errs, s.closeFiles())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close: %w", kind(err))
	}
	return nil
}

// flush flushes the memtable, unless flushes fail: the log has it all.
func (s *Store) flush() error {
	if s.state.Stuck() {
		return nil
	}
	done, err := s.db.AsyncFlush()
	if err != nil {
		return err
	}
	for {
		select {
		case <-done:
			return nil
		case <-s.state.alarm.Load().raised:
			return s.state.held()
		case <-s.state.trouble:
			if s.state.Stuck() {
				return nil
			}
		}
	}
}

// closeFiles closes what Open has opened so far.
func (s *Store) closeFiles() error {
	var errs []error
	if s.extents != nil {
		errs = append(errs, s.extents.Close())
	}
	if s.db != nil {
		s.snapshots.drop(true)
		errs = append(errs, s.closeKeys())
	}
	if s.logs != nil {
		errs = append(errs, s.logs.Close())
	}
	if s.meta != nil {
		s.meta.Wait()
	}
	errs = append(errs, s.disks.Close())
	s.io.Close()
	return errors.Join(errs...)
}

// closeKeys closes the key space, unless its disk does not answer: then it is left as a crash would leave it.
func (s *Store) closeKeys() error {
	done := make(chan error, 1)
	go func() {
		s.keys.close()
		done <- closePebble(s.db)
	}()
	select {
	case err := <-done:
		return err
	case <-s.state.alarm.Load().raised:
		return s.state.held()
	}
}
