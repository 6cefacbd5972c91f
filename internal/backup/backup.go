// Package backup keeps a store at moments of its life in a directory elsewhere, and makes stores of them again.
//
// # Guarantees
//
//   - A backup is the store at one moment: key space, counters, and all content that has an owner.
//   - It is there from the moment its manifest is, which is written last, when everything else is durable and was read back. A backup that
//     is cut off before leaves those before it as they were, and files that the next one removes.
//   - A chunk that the backup before has is not read again: chunks never change, and are told apart by store and Ref.
//   - No byte of a file is believed without a checksum. What is damaged is named and refused.
//   - It knows records and chunks, and nothing of how an engine keeps them. Refs are rewritten by a restore, so that any layout, or any
//     engine, can be restored to.
//
// Refused, and why: docs/design/009-backup.md.
package backup

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/crc64"
	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// Store is a store that can be backed up.
type Store interface {
	engine.Store
	engine.Snapshotter
}

// Options of Run. The zero value of a field means its default.
type Options struct {
	Dir      string
	FS       vfs.FS         // of Dir
	Keep     int            // backups to keep, this one among them, once it is complete; default: all
	Rate     int64          // bytes a second that are read, and that are read back; default: no limit
	PackSize int64          // bytes from which on a file of content ends; default 256 MiB
	Progress func(Progress) // is told how far it is, often

	// Names tells what is kept in chunks; default: nobody knows.
	Names func(ctx context.Context, refs []engine.Ref) map[engine.Ref][]string
}

// Progress is how far a backup or a restore is.
type Progress struct {
	Doing string `json:"doing"`
	Done  int64  `json:"done"`  // bytes
	Total int64  `json:"total"` // bytes
}

const (
	defaultPack = 256 << 20
	maxDamage   = 1000 // chunks told of one by one
)

type run struct {
	Options
	pace
	ctx   context.Context
	store Store
	snap  engine.Snapshot
	id    [16]byte

	m      *Manifest
	former *Manifest // the backup before; nil if there is none
	packs  map[uint64]Pack
	wanes  map[uint64]bool // packs of which less than half is alive: what lives in them is copied, so that they can go
	gone   map[uint64]bool // packs that are not there, or cut
	first  uint64          // number of the first pack of this backup
	next   uint64          // number of the next pack
	pack   *writer
	buf    []byte

	damaged []engine.Ref
	done    int64
}

// Run makes a backup. One that lacks chunks that could not be read is made all the same, and says so.
func Run(ctx context.Context, s Store, o Options) (_ *Manifest, err error) {
	if o.PackSize == 0 {
		o.PackSize = defaultPack
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	lock, err := openDir(o.FS, o.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	list, err := List(o.FS, o.Dir)
	if err != nil {
		return nil, err
	}
	if err := tidy(o.FS, o.Dir, list); err != nil {
		return nil, fmt.Errorf("remove what an interrupted backup left: %w", err)
	}
	snap, err := s.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, snap.Close()) }()
	r := &run{Options: o, pace: pace{rate: o.Rate}, ctx: ctx, store: s, snap: snap, id: snap.Store(), packs: make(map[uint64]Pack), wanes: make(map[uint64]bool), gone: make(map[uint64]bool)}
	r.m = &Manifest{Format: formatVersion, Number: 1, Store: hex.EncodeToString(r.id[:]), Stamp: uint64(snap.Stamp()), Taken: time.Now().UTC().Truncate(time.Second)}
	if len(list) > 0 {
		r.former = list[len(list)-1]
		r.m.Number = r.former.Number + 1
		if r.former.Store != r.m.Store {
			return nil, fmt.Errorf("%s holds backups of another store (%s, and this one is %s): name an empty directory", o.Dir, r.former.Store, r.m.Store)
		}
	}
	for _, m := range list {
		for _, p := range m.Packs {
			r.next = max(r.next, p.Number+1)
		}
	}
	r.first = max(r.next, 1)
	r.next = r.first
	if err := r.copy(); err != nil {
		// What it has written goes with the next backup at the latest.
		return nil, errors.Join(err, tidy(o.FS, o.Dir, list))
	}
	// One before it may have what an incomplete one lacks.
	if list = append(list, r.m); r.m.Complete && o.Keep > 0 && len(list) > o.Keep {
		if err := tidy(o.FS, o.Dir, list[len(list)-o.Keep:]); err != nil {
			return r.m, fmt.Errorf("the backup is made; removing old ones: %w", err)
		}
	}
	return r.m, nil
}

// openDir makes the directory if need be, and locks it.
func openDir(fs vfs.FS, dir string) (io.Closer, error) {
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("directory of backups: %w", err)
	}
	names, err := fs.List(dir)
	if err != nil {
		return nil, fmt.Errorf("directory of backups: %w", err)
	}
	for _, n := range names {
		if _, _, ok := parseName(n); !ok && n != lockName && n != "lost+found" {
			return nil, fmt.Errorf("%s holds %q, which is of no backup: name an empty directory, or one with backups", dir, n)
		}
	}
	lock, err := fs.Lock(fs.PathJoin(dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("%s is in use by another backup or restore: %w", dir, err)
	}
	return lock, nil
}

// List returns the backups in a directory, the oldest first.
func List(fs vfs.FS, dir string) (list []*Manifest, err error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, fmt.Errorf("directory of backups: %w", err)
	}
	for _, n := range names {
		number, end, ok := parseName(n)
		if !ok || end != manifestEnd || n != name(number, end) {
			continue
		}
		b, err := readFile(fs, fs.PathJoin(dir, n))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n, err)
		}
		m, err := decodeManifest(n, b)
		if err != nil {
			return nil, err
		}
		if m.Number != number {
			return nil, damaged(n, "it is the manifest of backup %d", m.Number)
		}
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b *Manifest) int { return int(a.Number) - int(b.Number) })
	return list, nil
}

func readFile(fs vfs.FS, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<30))
	return b, errors.Join(err, f.Close())
}

// tidy removes the files that no backup in the list names.
func tidy(fs vfs.FS, dir string, list []*Manifest) error {
	keep := make(map[string]bool)
	for _, m := range list {
		for _, end := range []string{manifestEnd, recordsEnd, indexEnd} {
			keep[name(m.Number, end)] = true
		}
		for _, p := range m.Packs {
			keep[name(p.Number, packEnd)] = true
		}
	}
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	// Manifests go first, for good: what is cut off leaves files that nothing names.
	for _, manifests := range []bool{true, false} {
		removed := false
		for _, n := range names {
			if _, end, ok := parseName(n); !ok || keep[n] || manifests != (end == manifestEnd) {
				continue
			}
			if err := fs.Remove(fs.PathJoin(dir, n)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			removed = true
		}
		if manifests && removed {
			if err := diskio.SyncDir(fs, dir); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *run) copy() error {
	if err := r.survey(); err != nil {
		return err
	}
	if err := r.records(); err != nil {
		return fmt.Errorf("records: %w", err)
	}
	if err := r.content(); err != nil {
		return err
	}
	if err := diskio.SyncDir(r.FS, r.Dir); err != nil {
		return err
	}
	if err := r.readBack(); err != nil {
		return fmt.Errorf("what was written does not read back: %w", err)
	}
	return r.publish()
}

// formerIndex visits the entries of the backup before side by side with the chunks of the snapshot: had is nil for a chunk that it lacks.
func (r *run) formerIndex(fn func(ref engine.Ref, size, owners int64, had *entry) error) error {
	var x *index
	var have entry
	var end error = io.EOF
	if r.former != nil {
		var err error
		if x, err = openIndex(r.FS, r.Dir, r.former); err != nil {
			return err
		}
		defer func() { _ = x.blocks.close() }() // it was read only
		end = x.next(&have)
	}
	return r.snap.Chunks(r.ctx, func(ref engine.Ref, size, owners int64) error {
		for end == nil && slices.Compare(have.ref[:], ref[:]) < 0 {
			end = x.next(&have)
		}
		if end != nil && !errors.Is(end, io.EOF) {
			return end
		}
		if end == nil && have.ref == ref && have.size == size && !have.lost {
			return fn(ref, size, owners, &have)
		}
		return fn(ref, size, owners, nil)
	})
}

// survey counts what there is, and finds the packs of former backups in which little lives.
func (r *run) survey() error {
	alive := make(map[uint64]int64)
	if err := r.formerIndex(func(_ engine.Ref, size, _ int64, had *entry) error {
		r.m.Chunks++
		r.m.Bytes += size
		if had != nil {
			alive[had.pack] += size + frameSize
		}
		return nil
	}); err != nil {
		return err
	}
	if r.former == nil {
		return nil
	}
	for _, p := range r.former.Packs {
		r.packs[p.Number] = p
		r.wanes[p.Number] = alive[p.Number] < p.Size/2
		// What lies in a file that is gone, or cut, is copied again.
		f, err := openFile(r.FS, r.Dir, name(p.Number, packEnd), p.File)
		if err != nil {
			r.gone[p.Number] = true
			continue
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) progress(doing string, n int64) {
	r.done += n
	r.Progress(Progress{Doing: doing, Done: r.done, Total: r.m.Bytes})
}

// records writes the key space.
func (r *run) records() (err error) {
	w, err := create(r.FS, r.Dir, name(r.m.Number, recordsEnd), header(kindRecords, r.id, r.m.Number))
	if err != nil {
		return err
	}
	b := make([]byte, 0, blockMax)
	flush := func(from int) error {
		if len(b) < from || len(b) == 0 {
			return nil
		}
		if err := r.wait(r.ctx, int64(len(b))); err != nil {
			return err
		}
		err := w.block(b)
		b = b[:0]
		return err
	}
	err = r.snap.Entries(r.ctx, func(space engine.Space, key, value []byte) error {
		b = appendRecord(b, space, key, value)
		r.m.Entries++
		return flush(blockSize)
	})
	if err == nil {
		err = r.snap.Counters(r.ctx, func(name []byte, value engine.Amount) error {
			b = appendCounter(b, name, value)
			return flush(blockSize)
		})
	}
	if err == nil {
		err = flush(0)
	}
	f, ferr := w.finish()
	r.m.Records = f
	return errors.Join(err, ferr)
}

// content writes the chunks that are new, and the index of all.
func (r *run) content() (err error) {
	w, err := create(r.FS, r.Dir, name(r.m.Number, indexEnd), header(kindIndex, r.id, r.m.Number))
	if err != nil {
		return err
	}
	b := make([]byte, 0, blockSize)
	used := make(map[uint64]bool)
	r.buf = make([]byte, engine.MaxChunk)
	err = r.formerIndex(func(ref engine.Ref, size, owners int64, had *entry) error {
		e := entry{ref: ref, size: size, owners: owners}
		if had != nil && r.gone[had.pack] {
			had = nil
		}
		if had == nil || r.wanes[had.pack] {
			bad, err := r.chunk(&e)
			switch {
			case err != nil:
				return err
			case bad == nil:
				had = &e
			case had == nil:
				e.lost = true
				r.lost(ref, bad)
			}
		}
		if !e.lost {
			e.sum, e.pack, e.offset = had.sum, had.pack, had.offset
			used[e.pack] = true
		}
		if b = e.appendTo(b); len(b) >= blockSize {
			if err := w.block(b); err != nil {
				return err
			}
			b = b[:0]
		}
		r.progress("copying", size)
		return nil
	})
	if err == nil && len(b) > 0 {
		err = w.block(b)
	}
	f, ferr := w.finish()
	r.m.Index = f
	if err = errors.Join(err, ferr, r.endPack()); err != nil {
		return err
	}
	for _, n := range slices.Sorted(maps.Keys(used)) {
		r.m.Packs = append(r.m.Packs, r.packs[n])
	}
	return nil
}

// lost notes a chunk that no backup has and that cannot be read.
func (r *run) lost(ref engine.Ref, bad error) {
	r.m.Damaged++
	if len(r.m.Damage) < maxDamage {
		r.m.Damage = append(r.m.Damage, Damage{Chunk: hex.EncodeToString(ref[:]), Error: bad.Error()})
		r.damaged = append(r.damaged, ref)
	}
}

// chunk copies a chunk, or says why it cannot be read. It is read whole before any of it is written.
func (r *run) chunk(e *entry) (bad, err error) {
	if err := r.wait(r.ctx, e.size); err != nil {
		return nil, err
	}
	p := r.buf[:e.size]
	if err := readChunk(r.ctx, r.store, e.ref, p); err != nil {
		if !errors.Is(err, engine.ErrCorrupt) && !errors.Is(err, engine.ErrUnavailable) {
			return nil, fmt.Errorf("read chunk %x: %w", e.ref[:], err)
		}
		return err, nil
	}
	if r.pack != nil && r.pack.size >= r.PackSize {
		if err := r.endPack(); err != nil {
			return nil, err
		}
	}
	if r.pack == nil {
		w, err := create(r.FS, r.Dir, name(r.next, packEnd), header(kindContent, r.id, r.next))
		if err != nil {
			return nil, err
		}
		r.pack = w
		r.next++
	}
	e.sum, e.pack, e.offset = crc64.Sum(p), r.next-1, r.pack.size
	r.m.Copied += e.size
	return nil, errors.Join(r.pack.write(appendFrame(nil, e)), r.pack.write(p))
}

func readChunk(ctx context.Context, s engine.Store, ref engine.Ref, p []byte) error {
	c, err := s.Open(ctx, ref, 0, int64(len(p)))
	if err != nil {
		return err
	}
	_, err = io.ReadFull(c, p)
	return errors.Join(err, c.Close())
}

func (r *run) endPack() error {
	if r.pack == nil {
		return nil
	}
	f, err := r.pack.finish()
	r.pack = nil
	r.packs[r.next-1] = Pack{Number: r.next - 1, File: f}
	return err
}

// readBack reads what was written, and looks whether what former backups have written is there.
func (r *run) readBack() error {
	r.done = 0
	for _, f := range []struct {
		name string
		file File
		kind byte
	}{{name(r.m.Number, recordsEnd), r.m.Records, kindRecords}, {name(r.m.Number, indexEnd), r.m.Index, kindIndex}} {
		if err := r.readBlocks(f.name, f.file, header(f.kind, r.id, r.m.Number)); err != nil {
			return err
		}
	}
	for _, p := range r.m.Packs {
		if p.Number >= r.first {
			if err := readWhole(r.ctx, r.FS, r.Dir, name(p.Number, packEnd), p.File, &r.pace, func(n int64) { r.progress("reading back", n) }); err != nil {
				return err
			}
			continue
		}
		f, err := openFile(r.FS, r.Dir, name(p.Number, packEnd), p.File)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) readBlocks(name string, want File, head []byte) error {
	b, err := openBlocks(r.FS, r.Dir, name, want, head)
	if err != nil {
		return err
	}
	for err == nil {
		if _, err = b.next(); err == nil {
			err = r.wait(r.ctx, blockSize)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, b.close())
}

// readWhole holds a file to its length and sum.
func readWhole(ctx context.Context, fs vfs.FS, dir, name string, want File, p *pace, progress func(int64)) error {
	f, err := openFile(fs, dir, name, want, vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	buf, sum := make([]byte, 1<<20), uint64(0)
	for left := want.Size; left > 0 && err == nil; {
		n := min(left, int64(len(buf)))
		if _, err = io.ReadFull(f, buf[:n]); err != nil {
			err = damaged(name, "%v", err)
			break
		}
		sum = crc64.Update(sum, buf[:n])
		left -= n
		progress(n)
		err = p.wait(ctx, n)
	}
	if err == nil && sumText(sum) != want.CRC64 {
		err = damaged(name, "it is not of the sum in the manifest")
	}
	return errors.Join(err, f.Close())
}

// publish writes the manifest.
func (r *run) publish() error {
	if r.Names != nil && len(r.damaged) > 0 {
		names := r.Names(r.ctx, r.damaged)
		for i, ref := range r.damaged {
			r.m.Damage[i].Names = names[ref]
		}
	}
	r.m.Complete = r.m.Damaged == 0
	b, err := r.m.encode()
	if err != nil {
		return err
	}
	if err := diskio.WriteFile(r.FS, r.Dir, name(r.m.Number, manifestEnd), b); err != nil {
		return err
	}
	return diskio.SyncDir(r.FS, r.FS.PathDir(r.Dir))
}

// pace keeps to a rate.
type pace struct {
	rate  int64 // bytes a second; 0: none
	from  time.Time
	moved int64
}

// wait returns when n more bytes may be moved.
func (p *pace) wait(ctx context.Context, n int64) error {
	if p.rate <= 0 {
		return ctx.Err()
	}
	if p.from.IsZero() {
		p.from = time.Now()
	}
	due := p.from.Add(time.Duration(float64(p.moved) / float64(p.rate) * float64(time.Second)))
	p.moved += n
	d := time.Until(due)
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
