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

// settle seals an extent. One that was found without all its footers was interrupted, by a crash or by the failure of a disk, and
// what was acknowledged meanwhile may be missing in a column: it is healed first. The caller holds x.upkeep.
func (s *Store) settle(ctx context.Context, x *extent) error {
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
		_, foot, err := contentOf(h.file, x.id, c)
		s.files.release(h)
		if err == nil && foot == nil {
			_, err := s.examine(ctx, x, true)
			return err
		}
	}
	return s.sealExtent(ctx, x)
}

// sealExtent gives every column its footer and lets go of the files held open for appending. The caller holds x.upkeep.
func (s *Store) sealExtent(ctx context.Context, x *extent) error {
	s.unpinRetired(x)
	end := s.endOf(x)
	if err := s.count(ctx, x); err != nil {
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

// endOf returns where the rows of an extent end: in all columns at the same offset, which any footer tells, or else the longest
// of the columns.
func (s *Store) endOf(x *extent) int64 {
	end := int64(headerSize)
	for c := range x.cols {
		col := x.cols[c].Load()
		if col == nil {
			continue
		}
		h, err := s.files.acquire(s, x, c, col)
		if err != nil {
			continue
		}
		length, foot, err := contentOf(h.file, x.id, c)
		s.files.release(h)
		if err == nil && foot != nil {
			return length
		}
		end = max(end, length)
	}
	return end
}

// count finds out how many bytes of chunks are in an extent that a crash left.
func (s *Store) count(ctx context.Context, x *extent) error {
	x.mu.Lock()
	known := x.data != unknown
	x.mu.Unlock()
	if known {
		return nil
	}
	var data int64
	var rep Report
	err := s.walk(ctx, x, s.columnEnds(ctx, x, &rep), func(r *row) error {
		data += r.content()
		return nil
	}, nil)
	if err != nil {
		return err
	}
	x.mu.Lock()
	x.data = data
	x.mu.Unlock()
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
	_, foot, err := contentOf(h.file, x.id, c)
	if err != nil || foot != nil {
		return err
	}
	f, err := col.disk.FS.OpenReadWrite(col.path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	return errors.Join(s.writeFooter(ctx, f, x, c, col.disk, end), f.Close())
}

// contentOf returns where the content of a column ends, and its footer if it is sealed.
func contentOf(f vfs.File, id uint64, c int) (length int64, foot *footer, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, nil, err
	}
	size := info.Size()
	if size >= headerSize+footerSize {
		b := make([]byte, footerSize)
		if _, err := f.ReadAt(b, size-footerSize); err != nil && err != io.EOF {
			return 0, nil, err
		}
		ft, ok := decodeFooter(b)
		if ok && ft.extent == id && int(ft.column) == c && ft.length == size-footerSize {
			return ft.length, &ft, nil
		}
		// A footer with a bad bit is written again where it was.
		if string(b[:8]) == magicFooter || binary.BigEndian.Uint64(b[24:]) == uint64(size-footerSize) {
			return size - footerSize, nil, nil
		}
	}
	return max(headerSize, alignUp(size)), nil, nil
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
	return s.writeSynced(f, d, foot.encode(), length)
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
