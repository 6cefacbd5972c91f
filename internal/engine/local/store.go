// Package local is the engine of one machine: an ordered key space on Pebble and chunks in extents, both on the machine's own
// disks.
package local

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
)

// Options of Open. The zero value of a field means its default.
type Options struct {
	Dirs   []string // data directories, one per disk, in any order
	FS     vfs.FS   // default: vfs.Default
	Logger *zap.Logger

	CacheSize    int64            // bytes of Pebble's block cache; default 128 MiB
	MemTableSize uint64           // bytes of a full memtable; default 32 MiB
	Now          func() time.Time // default: time.Now
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.CacheSize == 0 {
		o.CacheSize = 128 << 20
	}
	if o.MemTableSize == 0 {
		o.MemTableSize = 32 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Store implements engine.Store.
type Store struct {
	opts    Options
	log     *zap.Logger
	db      *pebble.DB
	stripes *stripeSet
	clock   clock
	gate    gate
	chunks  chunks
	pins    pins

	// collecting is held for writing at the moment a collection decides what lives, for reading by a transaction from the
	// check of the chunks it retains to its queueing. Taken after a stripe's lock.
	collecting sync.RWMutex

	failMu  sync.Mutex
	failure error // sticky: the metadata can no longer be written
}

var _ engine.Store = (*Store)(nil)

// Open opens the store in the directories, or makes a new one if they are empty.
func Open(opts Options) (*Store, error) {
	opts = opts.withDefaults()
	if len(opts.Dirs) == 0 {
		return nil, errors.New("no data directory given")
	}
	s := &Store{opts: opts, log: opts.Logger, stripes: newStripes(), clock: clock{now: opts.Now}}
	s.gate.init()
	cache := pebble.NewCache(opts.CacheSize)
	defer cache.Unref()
	popts := &pebble.Options{
		FS:                    opts.FS,
		FormatMajorVersion:    pebble.FormatNewest,
		Merger:                merger,
		Cache:                 cache,
		MemTableSize:          opts.MemTableSize,
		L0CompactionThreshold: 2,
		L0StopWritesThreshold: 1000,
		Logger:                pebbleLogger{s},
	}
	for i := range popts.Levels {
		popts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	dir := opts.FS.PathJoin(opts.Dirs[0], "meta")
	if err := opts.FS.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open %s: %w", opts.Dirs[0], kind(err))
	}
	db, err := pebble.Open(dir, popts)
	if err != nil {
		return nil, fmt.Errorf("open the key space in %s: %w", dir, kind(err))
	}
	s.db = db
	if err := s.load(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// load reads what the store keeps of itself.
func (s *Store) load() error {
	r := &reader{src: s.db}
	defer r.release()
	limit, err := r.integer(sysStamp, nil)
	if err != nil {
		return fmt.Errorf("read the stamp limit: %w", err)
	}
	s.clock.start(engine.Stamp(limit))
	return s.chunks.open(s)
}

// View implements engine.Store.
func (s *Store) View(ctx context.Context, scope []byte, fn func(engine.Reader) error) error {
	if !s.gate.enter() {
		return engine.ErrClosed
	}
	defer s.gate.leave()
	if err := ctx.Err(); err != nil {
		return err
	}
	err := s.view(fn)
	// What fn saw of the partition, and the error it made of it, may rest on a transaction whose sync is under way.
	if werr := s.stripes.of(scope).wait(); werr != nil {
		return werr
	}
	return err
}

func (s *Store) view(fn func(engine.Reader) error) error {
	snap := s.db.NewSnapshot()
	r := readerPool.Get().(*reader)
	r.src = snap
	defer func() {
		r.release()
		readerPool.Put(r)
		_ = snap.Close()
	}()
	return fn(r)
}

var readerPool = sync.Pool{New: func() any { return new(reader) }}

// Update implements engine.Store.
func (s *Store) Update(ctx context.Context, partition []byte, fn func(engine.Tx) error) error {
	if !s.gate.enter() {
		return engine.ErrClosed
	}
	defer s.gate.leave()
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.failed(); err != nil {
		return err
	}
	t := txPool.Get().(*tx)
	defer func() {
		t.reset()
		txPool.Put(t)
	}()
	t.store, t.partition, t.src, t.batch = s, partition, s.db, s.db.NewBatch()

	p := s.stripes.of(partition)
	seq, err := s.run(p, t, fn)
	if err != nil || seq == 0 {
		// The refusal, too, may rest on a transaction whose sync is under way.
		if werr := p.wait(); werr != nil {
			return werr
		}
		return err
	}
	err = t.batch.SyncWait()
	if err != nil {
		err = fmt.Errorf("commit: %w", s.fail(err))
	}
	p.settle(seq, err)
	if err == nil && t.limit != 0 {
		s.clock.durable(t.limit)
	}
	return err
}

// run runs fn under the stripe's lock and queues what it wrote, as number seq of the stripe; 0 if it wrote nothing.
func (s *Store) run(p *stripe, t *tx, fn func(engine.Tx) error) (seq uint64, err error) {
	p.tx.Lock()
	defer p.tx.Unlock()
	if err := fn(t); err != nil {
		return 0, err
	}
	if t.err != nil {
		return 0, t.err
	}
	if t.batch.Empty() {
		return 0, nil
	}
	if len(t.retained) > 0 {
		s.collecting.RLock()
		defer s.collecting.RUnlock()
		if err := t.checkRetained(); err != nil {
			return 0, err
		}
	}
	seq = p.queue()
	if err := s.apply(t.batch); err != nil {
		p.settle(seq, err)
		return 0, err
	}
	return seq, nil
}

// apply queues a batch. Pebble panics once its log has failed: that becomes the store's failure.
func (s *Store) apply(b *pebble.Batch) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("commit: %w", s.fail(fmt.Errorf("%v", r)))
		}
	}()
	if err := s.failed(); err != nil {
		return err
	}
	if err := s.db.ApplyNoSyncWait(b, pebble.Sync); err != nil {
		return fmt.Errorf("commit: %w", s.fail(err))
	}
	return nil
}

// fail makes the store refuse writes from now on and returns the error to give for it.
func (s *Store) fail(err error) error {
	s.failMu.Lock()
	defer s.failMu.Unlock()
	if s.failure == nil {
		s.failure = kind(err)
		if !errors.Is(s.failure, engine.ErrNoSpace) && !errors.Is(s.failure, engine.ErrCorrupt) {
			s.failure = fmt.Errorf("%w: %w", engine.ErrUnavailable, err)
		}
		s.log.Error("the store takes no more writes", zap.Error(err))
	}
	return s.failure
}

func (s *Store) failed() error {
	s.failMu.Lock()
	defer s.failMu.Unlock()
	return s.failure
}

// Health implements engine.Store.
func (s *Store) Health() engine.Health {
	h := engine.Health{Writable: true}
	if err := s.failed(); err != nil {
		h.Writable, h.Detail = false, err.Error()
	}
	for _, d := range s.opts.Dirs {
		disk := engine.DiskHealth{Path: filepath.Clean(d), OK: true}
		if u, err := s.opts.FS.GetDiskUsage(d); err == nil {
			disk.Free, disk.Total = u.AvailBytes, u.TotalBytes
		}
		h.Disks = append(h.Disks, disk)
	}
	return h
}

// Close implements engine.Store.
func (s *Store) Close() error {
	if !s.gate.close() {
		return engine.ErrClosed
	}
	var errs []error
	if s.failed() == nil {
		b := s.db.NewBatch()
		key := []byte{byte(engine.SpaceSystem), sysStamp}
		errs = append(errs, b.Merge(key, appendInt(nil, int64(s.clock.stop())), nil), b.Commit(pebble.Sync), s.db.Flush())
	}
	errs = append(errs, s.db.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}

// pebbleLogger takes Pebble's log. Pebble calls Fatalf where it cannot go on: the store then takes no more writes, and lives.
type pebbleLogger struct{ s *Store }

func (l pebbleLogger) Infof(format string, args ...any) { l.s.log.Sugar().Debugf(format, args...) }

func (l pebbleLogger) Errorf(format string, args ...any) { l.s.log.Sugar().Errorf(format, args...) }

func (l pebbleLogger) Fatalf(format string, args ...any) { l.s.fail(fmt.Errorf(format, args...)) }
