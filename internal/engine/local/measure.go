package local

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskio"
	"github.com/blobd/blobd/internal/engine/local/groupcommit"
)

// Nothing here is on the way of a request. What is not known at the moment of a measurement anyhow is counted where a sync, a file
// operation or a piece of background work ends.

var _ engine.Meter = (*Store)(nil)

// defined are the metrics of the store, in the order of docs/metrics.md.
var defined []*engine.Metric

func define(kind engine.MetricKind, name, help string, labels ...string) *engine.Metric {
	m := &engine.Metric{Name: name, Help: help, Kind: kind, Labels: labels}
	defined = append(defined, m)
	return m
}

func gauge(name, help string, labels ...string) *engine.Metric {
	return define(engine.Gauge, name, help, labels...)
}

func counter(name, help string, labels ...string) *engine.Metric {
	return define(engine.Counter, name, help, labels...)
}

func histogram(bounds []float64, name, help string, labels ...string) *engine.Metric {
	m := define(engine.Histogram, name, help, labels...)
	m.Bounds = bounds
	return m
}

var (
	diskSeconds = histogram(diskio.Bounds(), "blobd_disk_operation_seconds", "File operations by how long the disk took: read, write, sync, other. Reads that the page cache answered are not among them, and none with --disk-timeout 0.", "path", "operation")
	diskErrors  = counter("blobd_disk_errors_total", "File operations that failed.", "path", "operation")
	diskUnder   = gauge("blobd_disk_operations_under_way", "File operations that wait for the disk.", "path")
	diskOut     = gauge("blobd_disk_stalled", "1 while the disk does not answer and is left out.", "path")

	refusing  = gauge("blobd_store_refuses", "1 where writes are refused for the reason: full (deletes go on), exhausted (no room for deletes either), flush (metadata cannot be flushed), stalled (its disk does not answer), failed (the log broke: until the next start).", "reason")
	replicas  = gauge("blobd_metadata_replicas", "Copies of the metadata in use.")
	replicas0 = gauge("blobd_metadata_replicas_missing", "Copies of the metadata that there should be beyond those; a start with all disks fills them.")
	mending   = gauge("blobd_metadata_repairs_under_way", "Metadata files being repaired from another copy.")

	syncSeconds = histogram(groupcommit.Seconds(), "blobd_log_sync_seconds", "Syncs of the engine's log by how long they took. Every acknowledged write waits for one.")
	syncSizes   = histogram(groupcommit.Sizes(), "blobd_log_sync_group_size", "Syncs of the engine's log by how many transactions and readers shared one.")
	logBytes    = gauge("blobd_log_bytes", "Size of the log that a start would read.")
	logFiles    = gauge("blobd_log_files", "Files of the log.")
	logIn       = counter("blobd_log_written_bytes_total", "Bytes of transactions written to the log.")

	stalls       = counter("blobd_lsm_write_stalls_total", "Times that writers waited for flushes or compactions.")
	stallSeconds = counter("blobd_lsm_write_stall_seconds_total", "How long they waited in all.")
	stalled      = gauge("blobd_lsm_write_stalled", "1 while they wait.")
	levelTables  = gauge("blobd_lsm_level_tables", "Tables of a level of the key space (Pebble).", "level")
	levelBytes   = gauge("blobd_lsm_level_bytes", "Size of a level's tables.", "level")
	levelScore   = gauge("blobd_lsm_level_score", "How urgent a compaction of the level is; from 1 on it is due.", "level")
	levelWritten = counter("blobd_lsm_level_written_bytes_total", "Bytes that flushes and compactions wrote into the level.", "level")
	levelRead    = counter("blobd_lsm_level_read_bytes_total", "Bytes that compactions into the level read.", "level")
	sublevels    = gauge("blobd_lsm_sublevels", "Sublevels of level 0, each of which a read may have to look into.")
	readAmp      = gauge("blobd_lsm_read_amplification", "Levels and sublevels that a read may have to look into.")
	compactions  = counter("blobd_lsm_compactions_total", "Compactions that ended.")
	compactFails = counter("blobd_lsm_compactions_failed_total", "Compactions that failed; they are tried again.")
	compacting   = gauge("blobd_lsm_compactions_running", "Compactions under way.")
	compactTime  = counter("blobd_lsm_compaction_seconds_total", "How long compactions took in all.")
	compactDebt  = gauge("blobd_lsm_compaction_debt_bytes", "Bytes that are to be compacted until the levels have their shape, about.")
	flushes      = counter("blobd_lsm_flushes_total", "Flushes of memtables.")
	memBytes     = gauge("blobd_lsm_memtable_bytes", "Memory of the memtables.")
	memCount     = gauge("blobd_lsm_memtables", "Memtables, those that wait for a flush among them.")
	tombstones   = gauge("blobd_lsm_tombstones", "Deletes that no compaction has carried out yet, about.")
	snapshots    = gauge("blobd_lsm_snapshots", "Open snapshots.")
	iterators    = gauge("blobd_lsm_table_iterators", "Open iterators of tables.")
	lsmDisk      = gauge("blobd_lsm_disk_bytes", "Size of all metadata on a disk: tables, log and what waits to be removed.")
	blockBytes   = gauge("blobd_lsm_block_cache_bytes", "Memory of the block cache.")
	blockHits    = counter("blobd_lsm_block_cache_hits_total", "Blocks of tables found in memory.")
	blockMisses  = counter("blobd_lsm_block_cache_misses_total", "Blocks of tables read from disk.")
	tableHits    = counter("blobd_lsm_table_cache_hits_total", "Tables found open.")
	tableMisses  = counter("blobd_lsm_table_cache_misses_total", "Tables that were opened.")
	filterHits   = counter("blobd_lsm_filter_hits_total", "Reads of a table that its Bloom filter spared.")
	filterMisses = counter("blobd_lsm_filter_misses_total", "Reads of a table that its Bloom filter did not spare.")

	extents      = gauge("blobd_extents", "Extents: open ones take chunks, sealed ones carry their checksums, and closed ones are yet to be sealed.", "state")
	extentBytes  = gauge("blobd_extent_bytes", "Content in the extents without parity, garbage and all.")
	liveBytes    = gauge("blobd_extent_live_bytes", "What of it had an owner when the last collection looked; absent before one has.")
	extentsGone  = counter("blobd_extents_dropped_total", "Extents whose space was given back.")
	goneBytes    = counter("blobd_extents_dropped_bytes_total", "Content without parity that was in them.")
	rebuiltRows  = counter("blobd_rebuilt_rows_total", "Rows of content rebuilt from the other disks for readers.")
	extentTasks  = gauge("blobd_extent_tasks", "Extents and rows that wait to be sealed or repaired.")
	packWaiting  = gauge("blobd_pack_waiting", "Middling chunks that wait to be written together.")
	pinnedChunks = gauge("blobd_pinned_chunks", "Chunks that are being read, or were put and have no owner yet.")

	collections  = counter("blobd_collections_total", "Collections that ended.")
	collectFails = counter("blobd_collections_failed_total", "Collections that did not finish.")
	collectTime  = counter("blobd_collection_seconds_total", "How long collections took in all.")
	movedBytes   = counter("blobd_collection_moved_bytes_total", "Content that collections copied to empty an extent.")
	healed       = counter("blobd_extents_healed_total", "Extents that have all their redundancy again.")
	healFails    = counter("blobd_heal_failures_total", "Times that healing did not finish; it is tried again.")
	healAge      = gauge("blobd_heal_last_complete_age_seconds", "Time since nothing waited to be healed, looked at each minute; absent before that was so.")
)

// Metrics implements engine.Meter.
func (s *Store) Metrics() []*engine.Metric { return Metrics() }

// Metrics are what a Store measures.
func Metrics() []*engine.Metric { return defined }

// activity is what the store did in the background since its start.
type activity struct {
	collections, collectFails atomic.Uint64
	collectNanos, moved       atomic.Int64
	live                      atomic.Int64 // bytes with an owner at the last collection, and one
	healed, healFails         atomic.Uint64
	whole                     atomic.Int64 // when nothing waited to be healed, in nanoseconds; 0: never
}

// collected is what a collection ends with.
func (a *activity) collected(began time.Time, err *error) {
	a.collectNanos.Add(int64(time.Since(began)))
	if *err != nil {
		a.collectFails.Add(1)
	} else {
		a.collections.Add(1)
	}
}

// stallClock counts how long Pebble has writers wait.
type stallClock struct {
	mu    sync.Mutex
	since time.Time // zero while they do not
	n     uint64
	took  time.Duration
}

func (c *stallClock) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since = time.Now()
	c.n++
}

func (c *stallClock) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.took += time.Since(c.since)
	c.since = time.Time{}
}

func (c *stallClock) read() (n uint64, took time.Duration, now bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now = !c.since.IsZero(); now {
		took = time.Since(c.since)
	}
	return c.n, c.took + took, now
}

// keysMeter reads Pebble's metrics. Pebble waits for a write of its manifest before it answers, so nobody waits for Pebble: as long as it
// says nothing, what it said last holds.
type keysMeter struct {
	mu     sync.Mutex // held while Pebble is asked
	closed bool       // guarded by mu
	asking atomic.Bool
	last   atomic.Pointer[pebble.Metrics]
}

const keysPatience = 200 * time.Millisecond

func (k *keysMeter) ask(db *pebble.DB) *pebble.Metrics {
	if k.asking.CompareAndSwap(false, true) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer k.asking.Store(false)
			k.mu.Lock()
			defer k.mu.Unlock()
			if !k.closed {
				k.last.Store(db.Metrics())
			}
		}()
		patience := time.NewTimer(keysPatience)
		defer patience.Stop()
		select {
		case <-done:
		case <-patience.C:
		}
	}
	return k.last.Load()
}

// close waits until Pebble is not being asked, and has it asked no more.
func (k *keysMeter) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
}

// Measure implements engine.Meter.
func (s *Store) Measure(emit func(engine.Measurement)) {
	if !s.gate.enter() {
		return
	}
	defer s.gate.leave()
	show := func(m *engine.Metric, v float64, labels ...string) {
		emit(engine.Measurement{Metric: m, Value: v, Labels: labels})
	}
	s.measureDisks(show, emit)
	s.measureSyncs(emit)
	s.measureKeys(show)
	s.measureExtents(show)
	s.measureWork(show)
}

func (s *Store) measureDisks(show func(*engine.Metric, float64, ...string), emit func(engine.Measurement)) {
	for _, l := range s.io.Loads() {
		show(diskUnder, float64(l.Under), l.Dir)
		show(diskOut, one(l.Out), l.Dir)
		for i, t := range l.Kinds {
			emit(engine.Measurement{Metric: diskSeconds, Labels: []string{l.Dir, diskio.Kinds[i]}, Value: t.Seconds, Counts: t.Counts})
			show(diskErrors, float64(t.Errors), l.Dir, diskio.Kinds[i])
		}
	}
	show(refusing, one(s.space.Full() != nil), "full")
	show(refusing, one(s.space.Exhausted()), "exhausted")
	show(refusing, one(s.state.Stuck()), "flush")
	show(refusing, one(s.state.held() != nil), "stalled")
	show(refusing, one(s.state.Failed() != nil), "failed")
	missing := s.disks.Lagging()
	show(replicas, float64(s.disks.M+1-missing))
	show(replicas0, float64(missing))
	if s.meta != nil {
		show(mending, float64(s.meta.Repairing()))
	} else {
		show(mending, 0)
	}
}

func (s *Store) measureSyncs(emit func(engine.Measurement)) {
	took, sizes := s.syncs.Tallies()
	emit(engine.Measurement{Metric: syncSeconds, Value: float64(took.Sum) / 1e9, Counts: took.Counts})
	emit(engine.Measurement{Metric: syncSizes, Value: float64(sizes.Sum), Counts: sizes.Counts})
}

func (s *Store) measureKeys(show func(*engine.Metric, float64, ...string)) {
	n, took, now := s.state.stalls.read()
	show(stalls, float64(n))
	show(stallSeconds, took.Seconds())
	show(stalled, one(now))
	p := s.keys.ask(s.db)
	if p == nil {
		return
	}
	for i := range p.Levels {
		l, level := &p.Levels[i], strconv.Itoa(i)
		show(levelTables, float64(l.TablesCount), level)
		show(levelBytes, float64(l.TablesSize), level)
		show(levelScore, l.Score, level)
		show(levelWritten, float64(l.TableBytesFlushed+l.TableBytesCompacted), level)
		show(levelRead, float64(l.TableBytesRead), level)
	}
	for _, v := range []struct {
		m *engine.Metric
		v float64
	}{
		{logBytes, float64(p.WAL.Size)}, {logFiles, float64(p.WAL.Files)}, {logIn, float64(p.WAL.BytesIn)},
		{sublevels, float64(p.Levels[0].Sublevels)}, {readAmp, float64(p.ReadAmp())},
		{compactions, float64(p.Compact.Count)}, {compactFails, float64(p.Compact.FailedCount)}, {compacting, float64(p.Compact.NumInProgress)},
		{compactTime, p.Compact.Duration.Seconds()}, {compactDebt, float64(p.Compact.EstimatedDebt)},
		{flushes, float64(p.Flush.Count)}, {memBytes, float64(p.MemTable.Size)}, {memCount, float64(p.MemTable.Count)},
		{tombstones, float64(p.Keys.TombstoneCount)}, {snapshots, float64(p.Snapshots.Count)}, {iterators, float64(p.TableIters)},
		{lsmDisk, float64(p.DiskSpaceUsage())},
		{blockBytes, float64(p.BlockCache.Size)}, {blockHits, float64(p.BlockCache.Hits)}, {blockMisses, float64(p.BlockCache.Misses)},
		{tableHits, float64(p.FileCache.Hits)}, {tableMisses, float64(p.FileCache.Misses)},
		{filterHits, float64(p.Filter.Hits)}, {filterMisses, float64(p.Filter.Misses)},
	} {
		show(v.m, v.v)
	}
}

func (s *Store) measureExtents(show func(*engine.Metric, float64, ...string)) {
	var open, closed, sealed, bytes int64
	for _, info := range s.extents.Extents() {
		bytes += info.Data
		switch {
		case info.Open:
			open++
		case info.Sealed:
			sealed++
		default:
			closed++
		}
	}
	show(extents, float64(open), "open")
	show(extents, float64(closed), "closed")
	show(extents, float64(sealed), "sealed")
	show(extentBytes, float64(bytes))
	if live := s.did.live.Load(); live > 0 {
		show(liveBytes, float64(live-1))
	}
	w := s.extents.Work()
	show(extentsGone, float64(w.Dropped))
	show(goneBytes, float64(w.DroppedBytes))
	show(rebuiltRows, float64(s.extents.Rebuilt()))
	show(extentTasks, float64(w.Tasks))
	show(packWaiting, float64(w.Packing))
	show(pinnedChunks, float64(s.pins.Len()))
}

func (s *Store) measureWork(show func(*engine.Metric, float64, ...string)) {
	d := &s.did
	show(collections, float64(d.collections.Load()))
	show(collectFails, float64(d.collectFails.Load()))
	show(collectTime, time.Duration(d.collectNanos.Load()).Seconds())
	show(movedBytes, float64(d.moved.Load()))
	show(healed, float64(d.healed.Load()))
	show(healFails, float64(d.healFails.Load()))
	if at := d.whole.Load(); at != 0 {
		show(healAge, max(0, s.opts.Now().Sub(time.Unix(0, at)).Seconds()))
	}
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
