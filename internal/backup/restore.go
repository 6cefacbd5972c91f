package backup

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/crc64"
)

// RefVisitor runs visit on the Refs in an entry of the key space, where they lie in the value, each with a length that its chunk has at
// least.
type RefVisitor func(space engine.Space, key, value []byte, visit func(ref []byte, size int64) error) error

// RestoreOptions of Restore and Verify. The zero value of a field means its default.
type RestoreOptions struct {
	Dir        string
	FS         vfs.FS         // of Dir
	Number     uint64         // of the backup; default: the last
	Rate       int64          // bytes a second that are read of the backup; default: no limit
	Incomplete bool           // restore a backup that lacks content: to read that fails, the rest is there
	Progress   func(Progress) // is told how far it is, often, by one goroutine

	// Open makes the store, once the backup is known to have what it needs.
	Open func() (engine.Restorer, error)
	Refs RefVisitor
}

// errIncomplete: a backup lacks content.
var errIncomplete = errors.New("it is restored with --incomplete: to read what is missing will fail")

// pick finds the backup to restore.
func (o *RestoreOptions) pick() (*Manifest, error) {
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	list, err := List(o.FS, o.Dir)
	if err != nil {
		return nil, err
	}
	for _, m := range slices.Backward(list) {
		if o.Number == 0 || m.Number == o.Number {
			return m, nil
		}
	}
	if o.Number != 0 {
		return nil, fmt.Errorf("%s holds no backup %d", o.Dir, o.Number)
	}
	return nil, fmt.Errorf("%s holds no backup that came to its end", o.Dir)
}

func storeID(m *Manifest) (id [16]byte, err error) {
	b, err := hex.DecodeString(m.Store)
	if err != nil || len(b) != len(id) {
		return id, damaged(name(m.Number, manifestEnd), "the id of the store is malformed")
	}
	return [16]byte(b), nil
}

func openIndex(fs vfs.FS, dir string, m *Manifest) (*index, error) {
	id, err := storeID(m)
	if err != nil {
		return nil, err
	}
	b, err := openBlocks(fs, dir, name(m.Number, indexEnd), m.Index, header(kindIndex, id, m.Number))
	if err != nil {
		return nil, err
	}
	return &index{blocks: b}, nil
}

// eachEntry visits the index of a backup.
func eachEntry(fs vfs.FS, dir string, m *Manifest, fn func(e entry) error) error {
	x, err := openIndex(fs, dir, m)
	if err != nil {
		return err
	}
	var e entry
	for err == nil {
		if err = x.next(&e); err == nil {
			err = fn(e)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, x.blocks.close())
}

// eachBlock visits the blocks of the records of a backup.
func eachBlock(ctx context.Context, fs vfs.FS, dir string, m *Manifest, fn func(b []byte) error) error {
	id, err := storeID(m)
	if err != nil {
		return err
	}
	file := name(m.Number, recordsEnd)
	r, err := openBlocks(fs, dir, file, m.Records, header(kindRecords, id, m.Number))
	if err != nil {
		return err
	}
	for err == nil {
		var b []byte
		if b, err = r.next(); err == nil {
			err = errors.Join(ctx.Err(), fn(b))
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	} else if err == ErrDamaged { // bare, of visitRecords
		err = damaged(file, "a record is malformed")
	}
	return errors.Join(err, r.close())
}

// Verify reads all of a backup and compares it with its checksums.
func Verify(ctx context.Context, o RestoreOptions) (*Manifest, error) {
	m, err := o.pick()
	if err != nil {
		return nil, err
	}
	if err := o.verify(ctx, m); err != nil {
		return nil, err
	}
	var total, done int64
	for _, p := range m.Packs {
		total += p.Size
	}
	pace := &pace{rate: o.Rate}
	for _, p := range m.Packs {
		if err := readWhole(ctx, o.FS, o.Dir, name(p.Number, packEnd), p.File, pace, func(n int64) {
			done += n
			o.Progress(Progress{"reading", done, total})
		}); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// verify reads the records and the index of a backup, and looks whether its content is there.
func (o *RestoreOptions) verify(ctx context.Context, m *Manifest) error {
	packs := make(map[uint64]Pack)
	for _, p := range m.Packs {
		f, err := openFile(o.FS, o.Dir, name(p.Number, packEnd), p.File)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		packs[p.Number] = p
	}
	chunks, size := int64(0), int64(0)
	if err := eachEntry(o.FS, o.Dir, m, func(e entry) error {
		chunks++
		size += e.size
		if p, ok := packs[e.pack]; !e.lost && (!ok || e.offset < headerSize || e.offset > p.Size-frameSize-e.size) {
			return damaged(name(m.Number, indexEnd), "chunk %x is said to lie where nothing is", e.ref[:])
		}
		return ctx.Err()
	}); err != nil {
		return err
	}
	entries := int64(0)
	if err := eachBlock(ctx, o.FS, o.Dir, m, func(b []byte) error {
		return visitRecords(b, func(engine.Space, []byte, []byte) error { entries++; return nil }, func([]byte, engine.Amount) error { return nil })
	}); err != nil {
		return err
	}
	if chunks != m.Chunks || size != m.Bytes || entries != m.Entries {
		return damaged(name(m.Number, manifestEnd), "it counts %d entries and %d chunks of %d bytes, and there are %d and %d of %d", m.Entries, m.Chunks, m.Bytes, entries, chunks, size)
	}
	return nil
}

// restore is a restore under way.
type restore struct {
	RestoreOptions
	ctx   context.Context
	m     *Manifest
	id    [16]byte
	to    engine.Restorer
	pace  *pace
	packs packFiles
	done  int64
	sum   uint64 // of the entries and counters as they were loaded
}

// Restore makes a store from a backup and compares it with it. What it was cut off from is not taken for a store.
func Restore(ctx context.Context, o RestoreOptions) (_ *Manifest, err error) {
	m, err := o.pick()
	if err != nil {
		return nil, err
	}
	if !m.Complete && !o.Incomplete {
		return nil, fmt.Errorf("backup %d lacks %d chunks of content: %w", m.Number, m.Damaged, errIncomplete)
	}
	if err := o.verify(ctx, m); err != nil {
		return nil, err
	}
	r := &restore{RestoreOptions: o, ctx: ctx, m: m, pace: &pace{rate: o.Rate}}
	if r.id, err = storeID(m); err != nil {
		return nil, err
	}
	r.packs = packFiles{fs: o.FS, dir: o.Dir, id: r.id, open: make(map[uint64]vfs.File), packs: make(map[uint64]Pack)}
	for _, p := range m.Packs {
		r.packs.packs[p.Number] = p
	}
	defer func() { err = errors.Join(err, r.packs.close()) }()
	if r.to, err = o.Open(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.to.Close()) }()
	if err := r.content(); err != nil {
		return nil, err
	}
	if err := r.records(); err != nil {
		return nil, err
	}
	if err := r.compare(); err != nil {
		return nil, fmt.Errorf("the store is not as the backup: %w", err)
	}
	return m, r.to.Finish(ctx, engine.Stamp(m.Stamp))
}

func (r *restore) progress(doing string, n int64) {
	r.done += n
	r.Progress(Progress{Doing: doing, Done: r.done, Total: 2 * r.m.Bytes})
}

const (
	loadChunks      = 256      // chunks to a transaction
	loadBytes       = 32 << 20 // of them
	loadOwners      = 256      // of each of them
	loadOwnersOfOne = 1 << 16  // to a transaction for one chunk
	loadWorkers     = 8        // chunks that are put at a time
)

// content puts the chunks, and notes where each is.
func (r *restore) content() error {
	var batch []entry
	size := int64(0)
	flush := func() error {
		err := r.putAll(batch)
		r.progress("copying", size)
		batch, size = batch[:0], 0
		return err
	}
	if err := eachEntry(r.FS, r.Dir, r.m, func(e entry) error {
		batch = append(batch, e)
		if size += e.size; len(batch) < loadChunks && size < loadBytes {
			return nil
		}
		return flush()
	}); err != nil {
		return err
	}
	return flush()
}

func (r *restore) putAll(batch []entry) error {
	refs := make([]engine.Ref, len(batch))
	g, ctx := errgroup.WithContext(r.ctx)
	g.SetLimit(loadWorkers)
	for i := range batch {
		e := &batch[i]
		if e.lost {
			refs[i] = r.to.Lost(e.size)
			continue
		}
		if err := r.pace.wait(ctx, e.size); err != nil {
			break
		}
		g.Go(func() (err error) {
			refs[i], err = r.put(ctx, e)
			return err
		})
	}
	err := errors.Join(g.Wait(), r.ctx.Err())
	if err == nil {
		err = r.own(batch, refs)
	}
	for _, ref := range refs {
		if ref != (engine.Ref{}) {
			r.to.Forget(ref)
		}
	}
	return errors.Join(err, r.packs.trim())
}

// own gives chunks the owners they have in the backup, and notes where they are.
func (r *restore) own(batch []entry, refs []engine.Ref) error {
	if err := r.to.Load(r.ctx, func(tx engine.Tx) error {
		for i, e := range batch {
			tx.Set(engine.SpaceRestore, e.ref[:], refs[i][:])
			retain(tx, refs[i], min(e.owners, loadOwners))
		}
		return nil
	}); err != nil {
		return err
	}
	for i, e := range batch {
		for left := e.owners - loadOwners; left > 0; left -= loadOwnersOfOne {
			if err := r.to.Load(r.ctx, func(tx engine.Tx) error {
				retain(tx, refs[i], min(left, loadOwnersOfOne))
				return nil
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

func retain(tx engine.Tx, ref engine.Ref, n int64) {
	for range n {
		tx.Retain(ref)
	}
}

var buffers = sync.Pool{New: func() any { b := make([]byte, frameSize+engine.MaxChunk); return &b }}

// put copies a chunk into the store.
func (r *restore) put(ctx context.Context, e *entry) (engine.Ref, error) {
	p := buffers.Get().(*[]byte)
	defer buffers.Put(p)
	b := (*p)[:frameSize+e.size]
	if err := r.packs.read(e, b); err != nil {
		return engine.Ref{}, err
	}
	c, err := r.to.Put(ctx, bytes.NewReader(b[frameSize:]), e.size)
	if err == nil && c.CRC64 != e.sum {
		err = fmt.Errorf("chunk %x was not stored as it is in the backup", e.ref[:])
	}
	return c.Ref, err
}

// packFiles keeps files of content open.
type packFiles struct {
	fs    vfs.FS
	dir   string
	id    [16]byte
	packs map[uint64]Pack

	mu   sync.Mutex
	open map[uint64]vfs.File
}

const maxOpen = 64

func (f *packFiles) get(number uint64) (vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if file := f.open[number]; file != nil {
		return file, nil
	}
	file, err := openFile(f.fs, f.dir, name(number, packEnd), f.packs[number].File)
	if err != nil {
		return nil, err
	}
	head := make([]byte, headerSize)
	if _, err := file.ReadAt(head, 0); err != nil || string(head) != string(header(kindContent, f.id, number)) {
		return nil, errors.Join(damaged(name(number, packEnd), "its header is not its own"), file.Close())
	}
	f.open[number] = file
	return file, nil
}

// trim closes files when too many are open; nobody reads.
func (f *packFiles) trim() error {
	if len(f.open) < maxOpen {
		return nil
	}
	return f.close()
}

func (f *packFiles) close() error {
	var errs []error
	for _, file := range f.open {
		errs = append(errs, file.Close())
	}
	clear(f.open)
	return errors.Join(errs...)
}

// read fills b with the frame and the chunk of an entry, and verifies both.
func (f *packFiles) read(e *entry, b []byte) error {
	file, err := f.get(e.pack)
	if err != nil {
		return err
	}
	if _, err := file.ReadAt(b, e.offset); err != nil {
		return damaged(name(e.pack, packEnd), "at byte %d: %v", e.offset, err)
	}
	if string(b[:frameSize]) != string(appendFrame(nil, e)) || crc64.Sum(b[frameSize:]) != e.sum {
		return damaged(name(e.pack, packEnd), "the chunk at byte %d is not of its checksum", e.offset)
	}
	return nil
}

// records loads the key space, with the Refs that chunks have now.
func (r *restore) records() error {
	return eachBlock(r.ctx, r.FS, r.Dir, r.m, func(b []byte) error {
		lost, err := r.rewrite(b)
		defer r.to.Forget(lost...)
		if err != nil {
			return err
		}
		r.sum = crc64.Update(r.sum, b)
		return r.to.Load(r.ctx, func(tx engine.Tx) error {
			for _, ref := range lost {
				tx.Retain(ref)
			}
			return visitRecords(b, func(space engine.Space, key, value []byte) error { tx.Set(space, key, value); return nil },
				func(name []byte, value engine.Amount) error { tx.Add(name, value); return nil })
		})
	})
}

// rewrite puts the Refs of the new store in the place of those of the old. A chunk that the backup knows nothing of had no owner, as
// only a defect leaves one: what refers to it is lost.
func (r *restore) rewrite(b []byte) (lost []engine.Ref, err error) {
	err = r.to.View(r.ctx, nil, func(now engine.Reader) error {
		return visitRecords(b, func(space engine.Space, key, value []byte) error {
			if space <= engine.SpaceSystem || space == engine.SpaceRestore {
				return ErrDamaged
			}
			return r.Refs(space, key, value, func(ref []byte, size int64) error {
				next, err := now.Get(engine.SpaceRestore, ref)
				if errors.Is(err, engine.ErrNotFound) {
					if !r.Incomplete {
						return fmt.Errorf("the record at %q refers to chunk %x, which had no owner when the backup was made: %w", key, ref, errIncomplete)
					}
					gone := r.to.Lost(size)
					lost = append(lost, gone)
					next, err = gone[:], nil
				}
				copy(ref, next)
				return err
			})
		}, func([]byte, engine.Amount) error { return nil })
	})
	return lost, err
}

// compareRecords holds the key space against what was loaded.
func (r *restore) compareRecords() (err error) {
	snap, err := r.to.Snapshot(r.ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, snap.Close()) }()
	sum, b := uint64(0), []byte(nil)
	if err := snap.Entries(r.ctx, func(space engine.Space, key, value []byte) error {
		if space != engine.SpaceRestore {
			b = appendRecord(b[:0], space, key, value)
			sum = crc64.Update(sum, b)
		}
		return nil
	}); err != nil {
		return err
	}
	if err := snap.Counters(r.ctx, func(name []byte, value engine.Amount) error {
		b = appendCounter(b[:0], name, value)
		sum = crc64.Update(sum, b)
		return nil
	}); err != nil {
		return err
	}
	if sum != r.sum {
		return errors.New("the records differ")
	}
	return nil
}

// compare reads the store and holds it against the backup.
func (r *restore) compare() (err error) {
	if err := eachEntry(r.FS, r.Dir, r.m, func(e entry) error {
		defer r.progress("comparing", e.size)
		if e.lost {
			return nil
		}
		c := engine.Chunk{Size: e.size, CRC64: e.sum}
		if err := r.to.View(r.ctx, nil, func(now engine.Reader) error {
			v, err := now.Get(engine.SpaceRestore, e.ref[:])
			copy(c.Ref[:], v)
			return err
		}); err != nil {
			return err
		}
		p := buffers.Get().(*[]byte)
		defer buffers.Put(p)
		content, err := r.to.OpenWhole(r.ctx, c)
		if err == nil {
			_, err = io.ReadFull(content, (*p)[:e.size])
			err = errors.Join(err, content.Close())
		}
		if err == nil && crc64.Sum((*p)[:e.size]) != e.sum {
			err = engine.ErrCorrupt
		}
		if err != nil {
			return fmt.Errorf("chunk %x: %w", c.Ref[:], err)
		}
		return nil
	}); err != nil {
		return err
	}
	return r.compareRecords()
}
