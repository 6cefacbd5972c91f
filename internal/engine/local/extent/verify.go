package extent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/crc64"
	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// Report is what a full reading of an extent found.
type Report struct {
	Rows int   // rows with at least one good frame
	Bad  []Bad // in the order of columns for a row, of rows in the extent
}

// Bad is a part of a column that is not what was written there.
type Bad struct {
	Column int
	Offset int64
	Detail string
	// Lost: it cannot be rebuilt. Garbage, such as the tail that a crash left, is often like that: only the owners of the
	// chunks can tell whether anything was lost.
	Lost bool
}

// Verify reads a whole extent, also what no chunk of it needs, and reports what is not as it was written. Places of an open
// extent that are being written to may look bad.
func (s *Store) Verify(ctx context.Context, id uint64) (Report, error) {
	return s.examineID(ctx, id, false)
}

// Heal does what Verify does and repairs what can be repaired: bad blocks, headers, footers, and whole columns that are missing.
// An extent that is open is only verified.
func (s *Store) Heal(ctx context.Context, id uint64) (Report, error) {
	return s.examineID(ctx, id, true)
}

func (s *Store) examineID(ctx context.Context, id uint64, heal bool) (rep Report, err error) {
	if !s.enter() {
		return rep, engine.ErrClosed
	}
	defer s.ops.Done()
	x := s.acquire(id)
	if x == nil {
		return rep, fmt.Errorf("extent %016x: %w", id, engine.ErrNotFound)
	}
	defer s.release(x)
	x.upkeep.Lock()
	defer x.upkeep.Unlock()
	return s.examine(ctx, x, heal)
}

// examine reads an extent and heals it if told to and it is not open. The caller holds x.upkeep.
func (s *Store) examine(ctx context.Context, x *extent, heal bool) (rep Report, err error) {
	x.mu.Lock()
	heal = heal && x.retired && x.writers == 0
	x.mu.Unlock()
	for c := range x.cols {
		if col := x.cols[c].Load(); heal && s.g.m > 0 && col != nil {
			s.vanished(x, c, col) // then it is made anew, and no block of it repaired
		}
	}
	ends := s.columnEnds(ctx, x, &rep)
	surface := len(rep.Bad) // what is wrong with headers, footers and whole files
	var ours [maxColumns]bool
	err = s.walk(ctx, x, ends, func(r *row) error {
		rep.Rows++
		before := len(rep.Bad)
		for c := range r.good {
			ours[c] = ours[c] || r.good[c]
		}
		for c := range s.g.columns() {
			if r.holds(c) && !r.good[c] && x.cols[c].Load() != nil {
				rep.Bad = append(rep.Bad, Bad{Column: c, Offset: r.off, Detail: "bad block"})
			}
		}
		if len(rep.Bad) == before {
			return nil
		}
		bad := rep.Bad[before:]
		good := r.good
		if r.restore() != nil {
			for i := range bad {
				bad[i].Lost = true
			}
			return nil
		}
		if !heal {
			return nil
		}
		for _, b := range bad {
			ours[b.Column] = true
		}
		return s.rewriteRow(r, good)
	}, func(from, to int64, r *row) {
		// Between rows there are zeros: padding, and what was given to writers who failed.
		for c := range s.g.columns() {
			end := min(to, ends[c].content())
			if n := int(end - from); n > 0 && !allZero(r.frame(c)[:min(n, r.read[c])]) {
				rep.Bad = append(rep.Bad, Bad{Column: c, Offset: from, Detail: "bytes that belong to no block", Lost: true})
			}
		}
	})
	if err != nil {
		return rep, err
	}
	if !heal {
		return rep, nil
	}
	if _, err := s.healColumns(ctx, x); err != nil {
		return rep, err
	}
	var lost [maxColumns]bool
	for _, bad := range rep.Bad[surface:] {
		lost[bad.Column] = lost[bad.Column] || bad.Lost
	}
	for _, bad := range rep.Bad[:surface] {
		if lost[bad.Column] {
			continue // its footer keeps telling so
		}
		if err := s.healSurface(ctx, x, bad.Column, ours[bad.Column]); err != nil {
			return rep, err
		}
	}
	return rep, s.sealExtent(ctx, x)
}

// healSurface makes good the header and the footer of a column whose blocks have been repaired as far as they can be. ours tells
// whether any of them showed that the file is a column of this extent.
func (s *Store) healSurface(ctx context.Context, x *extent, c int, ours bool) error {
	col := x.cols[c].Load()
	if col == nil || col.failed.Load() || col.disk.failed() {
		return nil
	}
	h, err := s.files.acquire(s, x, c, col)
	if err != nil {
		s.log.Warn("a column cannot be repaired", zap.String("path", col.path), zap.Error(err))
		return nil
	}
	defer s.files.release(h)
	if _, err := readHeader(h.file); errors.Is(err, errNoHeader) && ours {
		if err := s.rewrite(x, c, col, s.headerOf(x, c, col.disk).encode(), 0); err != nil {
			return err
		}
	}
	e, err := s.endingOf(h.file, x, c)
	if err != nil || e.foot == nil {
		return err // it is sealed anew
	}
	foot, length := e.foot, e.foot.length
	// Every block is good: what differs now is padding.
	sum, err := sumFile(ctx, h.file, length)
	if err != nil || sum == foot.sha256 {
		return err
	}
	foot.sha256 = sum
	return s.rewrite(x, c, col, foot.encode(&s.opts.Secret), length)
}

// columnEnds returns how each column ends, and examines headers and footers.
func (s *Store) columnEnds(ctx context.Context, x *extent, rep *Report) []ending {
	ends := make([]ending, len(x.cols))
	for c := range x.cols {
		add := func(off int64, detail string, lost bool) {
			rep.Bad = append(rep.Bad, Bad{Column: c, Offset: off, Detail: detail, Lost: lost})
		}
		col := x.cols[c].Load()
		if col == nil {
			add(0, "the column is missing", s.g.m == 0)
			continue
		}
		h, err := s.files.acquire(s, x, c, col)
		if err != nil {
			add(0, err.Error(), s.g.m == 0)
			continue
		}
		b := make([]byte, headerSize)
		n, _ := h.file.ReadAt(b, 0)
		if _, err := decodeFileHeader(b[:n]); err != nil {
			add(0, err.Error(), false)
		}
		e, err := s.endingOf(h.file, x, c)
		x.mu.Lock()
		sealed := x.sealed
		x.mu.Unlock()
		switch {
		case err != nil:
			add(0, err.Error(), true)
		case e.foot == nil && sealed:
			add(e.content(), "the footer is bad", false)
		case e.foot != nil:
			if sum, err := sumFile(ctx, h.file, e.foot.length); err != nil || sum != e.foot.sha256 {
				// Where, the blocks will tell; if they are all good the damage is in the padding.
				add(0, "the content is not what was sealed", false)
			}
		}
		ends[c] = e
		s.files.release(h)
	}
	return ends
}

func allZero(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), len(zeros))
		if !bytes.Equal(b[:n], zeros[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}

// walk calls each for every row that has a good frame and gap for every stretch between rows, with a row buffer that begins there.
//
// Where a row is not good the next one is looked for among bytes that clients chose. That is safe as nobody else can make a frame for
// the place where it is found. In an extent of version 1 anybody could: there it only counts if somebody owns a chunk in it.
func (s *Store) walk(ctx context.Context, x *extent, ends []ending, each func(*row) error, gap func(from, to int64, r *row)) error {
	pooled := s.rowBufs.Get().(*[]byte)
	defer s.rowBufs.Put(pooled)
	r := &row{s: s, x: x, buf: *pooled}
	end := int64(headerSize)
	for _, e := range ends {
		end = max(end, e.reach())
	}
	searched := false
	for off := int64(headerSize); off < end; {
		if err := ctx.Err(); err != nil {
			return err
		}
		r.load(off)
		if r.found && searched && s.version(x.id) == 1 && !r.owned() {
			r.found = false
		}
		searched = !r.found
		if r.found {
			off += int64(s.g.stride(int(r.head.rowLength)))
			if err := each(r); err != nil {
				return err
			}
			continue
		}
		next := off + r.next()
		if gap != nil {
			gap(off, min(next, end), r)
		}
		off = next
	}
	return nil
}

// next returns how far it is from a place without a good frame to one that may have one.
func (r *row) next() int64 {
	for at := rowAlign; at <= blockSize; at += rowAlign {
		for c := range r.s.g.columns() {
			if _, ok := r.frameAt(c, at); ok {
				return int64(at)
			}
		}
	}
	return blockSize
}

// repairRow rewrites the frames of a row that are not good. The caller holds x.upkeep.
func (s *Store) repairRow(x *extent, off int64) error {
	pooled := s.rowBufs.Get().(*[]byte)
	defer s.rowBufs.Put(pooled)
	r := &row{s: s, x: x, buf: *pooled}
	r.load(off)
	good := r.good
	if err := r.restore(); err != nil {
		return err
	}
	return s.rewriteRow(r, good)
}

// rewriteRow writes the frames of a restored row that were not good to their columns, so far as those have files.
func (s *Store) rewriteRow(r *row, good [maxColumns]bool) error {
	var errs []error
	for c := range s.g.columns() {
		col := r.x.cols[c].Load()
		if good[c] || !r.holds(c) || col == nil || col.failed.Load() || col.disk.failed() {
			continue
		}
		f, err := decodeFrame(r.frame(c), s.tag(r.x.id, c, r.off))
		if err != nil {
			return err
		}
		err = s.rewrite(r.x, c, col, r.frame(c)[:s.g.head+int(f.length)], r.off)
		if err == nil {
			s.log.Info("a bad block was repaired", zap.String("path", col.path), zap.Int64("offset", r.off))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// rewrite overwrites a part of a column with what it should be.
func (s *Store) rewrite(x *extent, c int, col *column, p []byte, off int64) error {
	h, err := s.files.acquire(s, x, c, col) // tells whether the file is there and ours
	if err != nil {
		return fmt.Errorf("repair %s: %w", col.path, err)
	}
	defer s.files.release(h)
	f, err := col.disk.FS.OpenReadWrite(col.path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("repair %s: %w", col.path, err)
	}
	err = s.writeSynced(f, col.disk, p, off)
	if err == nil {
		err = s.readBack(f, col.disk, p, off)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("repair %s at %d: %w", col.path, off, err)
	}
	return nil
}

var errLies = errors.New("the disk does not give back what was just written and synced")

// readBack holds what a disk has, so far as it can be asked, against what was written and synced. One that has something else takes no
// more writes; one that cannot be read now has not been shown to lie, and the repair is tried again.
func (s *Store) readBack(f vfs.File, d *disk, p []byte, off int64) error {
	diskio.Uncache(f, off, int64(len(p)))
	got := make([]byte, len(p))
	_, err := f.ReadAt(got, off)
	if err == nil && !bytes.Equal(got, p) || errors.Is(err, io.EOF) {
		return s.judge(d, errLies)
	}
	return err
}

// rewriteHeader writes the header of a column again, if it is bad and the column is ours. The caller holds x.upkeep.
func (s *Store) rewriteHeader(ctx context.Context, x *extent, c int) error {
	col := x.cols[c].Load()
	if col == nil || col.disk.failed() {
		return nil
	}
	h, err := s.files.acquire(s, x, c, col)
	if err != nil {
		return err
	}
	_, err = readHeader(h.file)
	s.files.release(h)
	if !errors.Is(err, errNoHeader) {
		return nil
	}
	if ours, err := s.ours(ctx, x, c, col); err != nil || !ours {
		return err
	}
	return s.rewrite(x, c, col, s.headerOf(x, c, col.disk).encode(), 0)
}

// ours tells whether a column without a header is the one that its name says: a block in it does, or it holds nothing at all.
func (s *Store) ours(ctx context.Context, x *extent, c int, col *column) (bool, error) {
	h, err := s.files.acquire(s, x, c, col)
	if err != nil {
		return false, err
	}
	defer s.files.release(h)
	e, err := s.endingOf(h.file, x, c)
	if err != nil {
		return false, err
	}
	end := e.content()
	pooled := s.rowBufs.Get().(*[]byte)
	defer s.rowBufs.Put(pooled)
	r := &row{s: s, x: x, buf: *pooled}
	blank := true
	for r.off = headerSize; r.off < end; r.off += blockSize {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		b := r.frame(c)
		n, err := h.file.ReadAt(b, r.off)
		if err != nil && err != io.EOF {
			return false, err
		}
		r.read[c] = int(min(int64(n), end-r.off))
		if allZero(b[:r.read[c]]) {
			continue
		}
		blank = false
		for at := 0; at < blockSize; at += rowAlign {
			if _, ok := r.frameAt(c, at); ok {
				return true, nil
			}
		}
	}
	return blank, nil
}

func (s *Store) headerOf(x *extent, c int, d *disk) fileHeader {
	return fileHeader{store: s.opts.StoreID, disk: d.ID, extent: x.id, column: uint8(c), k: uint8(s.g.k), m: uint8(s.g.m), version: s.version(x.id), started: x.started}
}

// healColumns rebuilds the columns of an extent that have no file, each on a disk that has no other column of it, as far as
// there are such disks. It returns how many it rebuilt. The caller holds x.upkeep.
func (s *Store) healColumns(ctx context.Context, x *extent) (n int, err error) {
	x.mu.Lock()
	open := !x.retired || x.writers > 0
	x.mu.Unlock()
	if open || s.g.m == 0 {
		return 0, nil
	}
	s.unpinRetired(x)
	used := make(map[*disk]bool)
	var missing []int
	for c := range x.cols {
		col := x.cols[c].Load()
		switch {
		case col == nil || s.vanished(x, c, col):
			missing = append(missing, c)
			continue
		case col.failed.Load() && !col.disk.failed():
			// What the page cache shows of it need not be what the disk has.
			if err := s.rebuildColumn(ctx, x, c, col.disk); err != nil {
				return n, err
			}
			n++
		}
		used[col.disk] = true
	}
	for _, c := range missing {
		for _, d := range s.disks {
			if used[d] || d.failed() {
				continue
			}
			used[d] = true
			if err := s.rebuildColumn(ctx, x, c, d); err != nil {
				return n, err
			}
			n++
			break
		}
	}
	for c := range x.cols {
		if col := x.cols[c].Load(); col == nil || col.failed.Load() {
			return n, nil
		}
	}
	s.made(x)
	return n, nil
}

// vanished tells whether the file of a column is no longer there.
func (s *Store) vanished(x *extent, c int, col *column) bool {
	_, err := col.disk.FS.Stat(col.path)
	if !errors.Is(err, os.ErrNotExist) || col.disk.failed() {
		return false
	}
	s.files.forget(col)
	x.cols[c].CompareAndSwap(col, nil)
	return true
}

// rebuildColumn makes the file of a column from the others, in place of one that failed if there is one. Rows that cannot be rebuilt stay
// holes: they are garbage, or lost.
func (s *Store) rebuildColumn(ctx context.Context, x *extent, c int, d *disk) (err error) {
	path := d.FS.PathJoin(d.Dir, columnName(x.id, c))
	old := x.cols[c].Load()
	// One of this run may have been made late, by a disk that did not answer when it was asked to.
	if _, err := d.FS.Stat(path); err == nil && x.found && (old == nil || old.path != path) {
		return fmt.Errorf("rebuild %s: a file that is not ours is in the way", path)
	}
	end, err := s.measure(ctx, x)
	if err != nil {
		return err
	}
	f, err := d.FS.Create(path+temporary, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("rebuild %s: %w", path, err)
	}
	lost := 0
	type block struct {
		off int64
		sum uint64
		n   int
	}
	var written []block
	fill := func() error {
		if _, err := f.Write(s.headerOf(x, c, d).encode()); err != nil {
			return s.judge(d, err)
		}
		var rep Report
		ends := s.columnEnds(ctx, x, &rep)
		err := s.walk(ctx, x, ends, func(r *row) error {
			if !r.holds(c) {
				return nil
			}
			if r.restore() != nil {
				lost++
				return nil
			}
			fr, err := decodeFrame(r.frame(c), s.tag(x.id, c, r.off))
			if err != nil {
				return err
			}
			p := r.frame(c)[:s.g.head+int(fr.length)]
			written = append(written, block{r.off, crc64.Sum(p), len(p)})
			_, err = f.WriteAt(p, r.off)
			return s.judge(d, err)
		}, nil)
		if err == nil {
			err = s.judge(d, f.SyncData())
		}
		if err != nil {
			return err
		}
		diskio.Uncache(f, 0, end)
		b := make([]byte, s.g.frame())
		for _, w := range written {
			if err := ctx.Err(); err != nil {
				return err
			}
			_, err := f.ReadAt(b[:w.n], w.off)
			if err == nil && crc64.Sum(b[:w.n]) != w.sum {
				err = errLies
			}
			if err != nil {
				return s.judge(d, err)
			}
		}
		return s.writeFooter(ctx, f, x, c, d, end)
	}
	if err := errors.Join(fill(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("rebuild %s: %w", path, err), d.FS.Remove(path+temporary))
	}
	if err := d.FS.Rename(path+temporary, path); err != nil {
		return fmt.Errorf("rebuild %s: %w", path, err)
	}
	if err := diskio.SyncDir(d.FS, d.Dir); err != nil {
		return fmt.Errorf("rebuild %s: %w", path, err)
	}
	x.cols[c].Store(&column{disk: d, path: path})
	if old != nil {
		s.files.forget(old)
	}
	s.log.Info("a missing column was rebuilt", zap.String("path", path), zap.Int("rows lost", lost))
	return nil
}
