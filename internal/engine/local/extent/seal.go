package extent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/minio/sha256-simd"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// sealFound seals an extent. One that was found without all its footers was interrupted, by a crash or by the failure of a disk, and
// what was acknowledged meanwhile may be missing in a column: it is healed first. The caller holds x.upkeep.
func (s *Store) sealFound(ctx context.Context, x *extent) error {
	if !x.found || s.g.m == 0 {
		return s.sealExtent(ctx, x)
	}
	for c := range x.cols {
		col := x.cols[c].Load()
		if col == nil {
			continue
		}
		h, err := s.files.acquire(s, x, c, col)
		if err != nil {
			continue
		}
		e, err := s.endingOf(h.file, x, c)
		s.files.release(h)
		if err == nil && e.foot == nil {
			_, err := s.examine(ctx, x, true)
			return err
		}
	}
	return s.sealExtent(ctx, x)
}

// sealExtent gives every column its footer and lets go of the files held open for appending. The caller holds x.upkeep.
func (s *Store) sealExtent(ctx context.Context, x *extent) error {
	s.unpinRetired(x)
	end, err := s.measure(ctx, x)
	if err != nil {
		return err
	}
	sealed := true
	for c := range x.cols {
		col := x.cols[c].Load()
		if col == nil || col.failed.Load() || col.disk.failed() {
			sealed = false
			continue
		}
		if err := s.sealColumn(ctx, x, c, col, end); err != nil {
			sealed = false
			if ctx.Err() != nil {
				return ctx.Err()
			}
			s.log.Warn("a column cannot be sealed", zap.String("path", col.path), zap.Error(err))
		}
	}
	x.mu.Lock()
	x.sealed = sealed
	x.end = end
	x.mu.Unlock()
	return nil
}

// measure finds out where the rows of an extent end, in all columns at the same offset, and how many bytes of chunks are in it. The
// writer knows, and any footer tells. Otherwise the frames do; what looks like a footer may be what a client wrote, unless it lies
// outside of them.
func (s *Store) measure(ctx context.Context, x *extent) (end int64, err error) {
	x.mu.Lock()
	known, end := x.measured, x.end
	x.mu.Unlock()
	if known {
		return end, nil
	}
	var rep Report
	endings := s.columnEnds(ctx, x, &rep)
	end, data := int64(headerSize), int64(0)
	for _, e := range endings {
		if e.foot != nil {
			return e.foot.length, s.measured(x, e.foot.length, e.foot.data)
		}
	}
	err = s.walk(ctx, x, endings, func(r *row) error {
		end = r.off + int64(s.g.stride(int(r.head.rowLength)))
		data += r.content()
		return nil
	}, nil)
	if err != nil {
		return 0, err
	}
	rows := end
	for _, e := range endings {
		if e.trace && rows <= e.size-footerSize {
			end = max(end, e.size-footerSize)
		} else {
			end = max(end, e.size)
		}
	}
	return end, s.measured(x, end, data)
}

func (s *Store) measured(x *extent, end, data int64) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.measured, x.end, x.data = true, end, data
	return nil
}

// unpinRetired lets go of the files of an extent in which nobody writes any more.
func (s *Store) unpinRetired(x *extent) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.retired && x.writers == 0 {
		s.unpin(x)
	}
}

// sealColumn gives a column its footer at end, unless it has one.
func (s *Store) sealColumn(ctx context.Context, x *extent, c int, col *column, end int64) error {
	h, err := s.files.acquire(s, x, c, col)
	if err != nil {
		return err
	}
	defer s.files.release(h)
	if e, err := s.endingOf(h.file, x, c); err != nil || e.foot != nil {
		return err
	}
	f, err := col.disk.FS.OpenReadWrite(col.path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	return errors.Join(s.writeFooter(ctx, f, x, c, col.disk, end), f.Close())
}

// ending is how a column ends.
type ending struct {
	size  int64   // of the file, rounded up to where a row may begin
	foot  *footer // nil if it is not sealed
	trace bool    // its last bytes look like a footer that is damaged, or of version 1; a client may have written them

	former *footer // they are one of version 1, for all that they say
}

// content returns where the content ends, so far as the column itself tells. Rows may reach beyond it.
func (e *ending) content() int64 {
	switch {
	case e.foot != nil:
		return e.foot.length
	case e.trace:
		return e.size - footerSize
	}
	return e.size
}

// reach returns up to where there may be rows.
func (e *ending) reach() int64 {
	if e.foot != nil {
		return e.foot.length
	}
	return e.size
}

// endingOf looks at how a column ends: where its file does or, if that is known, where all columns of the extent do.
func (s *Store) endingOf(f vfs.File, x *extent, c int) (e ending, err error) {
	info, err := f.Stat()
	if err != nil {
		return e, err
	}
	size := info.Size()
	e.size = max(headerSize, alignUp(size))
	x.mu.Lock()
	known, end := x.measured, x.end
	x.mu.Unlock()
	places := []int64{size - footerSize}
	if known && end < size-footerSize {
		places = append(places, end)
	}
	for i, at := range places {
		if at < headerSize {
			continue
		}
		b := make([]byte, footerSize)
		if _, err := f.ReadAt(b, at); err != nil && err != io.EOF {
			return e, err
		}
		if ft, ok := decodeFooter(b, &s.opts.Secret); ok && ft.at(x.id, c, at) {
			e.foot = &ft
			return e, nil
		}
		if i > 0 || size%rowAlign != 0 {
			continue
		}
		e.trace = string(b[:8]) == magicFooter || binary.BigEndian.Uint64(b[24:]) == uint64(at)
		if ft, ok := decodeFormerFooter(b); ok && ft.at(x.id, c, at) && s.version(x.id) == 1 {
			e.former = &ft
		}
	}
	return e, nil
}

// at tells whether a footer belongs where it was found.
func (f *footer) at(id uint64, c int, off int64) bool {
	return f.extent == id && int(f.column) == c && f.length == off
}

// writeFooter sums what lies before length and appends the footer.
func (s *Store) writeFooter(ctx context.Context, f vfs.File, x *extent, c int, d *disk, length int64) error {
	// First the content: a footer that speaks for bytes that a power cut then takes away would be a false alarm.
	if err := s.judge(d, f.SyncData()); err != nil {
		return err
	}
	x.mu.Lock()
	foot := footer{extent: x.id, column: uint8(c), length: length, data: x.data}
	x.mu.Unlock()
	var err error
	if foot.sha256, err = sumFile(ctx, f, length); err != nil {
		return err
	}
	return s.writeSynced(f, d, foot.encode(&s.opts.Secret), length)
}

// writeSynced writes p and syncs the file.
func (s *Store) writeSynced(f vfs.File, d *disk, p []byte, off int64) error {
	_, err := f.WriteAt(p, off)
	if err == nil {
		err = f.SyncData()
	}
	return s.judge(d, err)
}

// judge takes a disk out of writing for a failed write or sync, which it returns.
func (s *Store) judge(d *disk, err error) error {
	if err != nil && diskio.Excuse(err) == nil {
		s.failDisk(d, err)
	}
	return err
}

// sumFile returns the SHA-256 of the first length bytes of a file, as if zeros followed its end.
func sumFile(ctx context.Context, f vfs.File, length int64) (sum [32]byte, err error) {
	h := sha256.New()
	b := make([]byte, min(length, 1<<20))
	for off := int64(0); off < length; {
		if err := ctx.Err(); err != nil {
			return sum, err
		}
		p := b[:min(int64(len(b)), length-off)]
		n, err := f.ReadAt(p, off)
		if err != nil && err != io.EOF {
			return sum, fmt.Errorf("read at %d: %w", off, err)
		}
		clear(p[n:])
		h.Write(p)
		off += int64(len(p))
	}
	h.Sum(sum[:0])
	return sum, nil
}
