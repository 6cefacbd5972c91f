package extent

import (
	"bytes"
	"context"
	"crypto/md5"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/crc64"
)

// The benchmarks work on real files in a temporary directory; on one machine all columns are on one disk.

var benchSizes = []int64{64 << 10, 1 << 20, 8 << 20}

func benchWidths(b *testing.B, fn func(b *testing.B, s *Store, size int64, workers int)) {
	for _, w := range []struct{ k, m int }{{1, 0}, {4, 2}} {
		for _, size := range benchSizes {
			for _, workers := range []int{1, 32} {
				b.Run(fmt.Sprintf("%d+%d/%dK/%d", w.k, w.m, size>>10, workers), func(b *testing.B) {
					opts := options(w.k, w.m, realDisks(b, w.k+w.m))
					opts.ExtentSize = DefaultExtentSize
					fn(b, open(b, opts), size, workers)
				})
			}
		}
	}
}

// each runs fn b.N times on so many goroutines.
func each(b *testing.B, workers int, fn func() error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	before := cpu()
	defer func() { b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-us/op") }()
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := fn(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// cpu returns the processor time that the process has used: a busy machine does not change it much.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkPut(b *testing.B) {
	benchWidths(b, func(b *testing.B, s *Store, size int64, workers int) {
		data := pattern(1, size)
		b.SetBytes(size)
		b.ReportAllocs()
		b.ResetTimer()
		each(b, workers, func() error {
			c, err := s.Put(context.Background(), bytes.NewReader(data), size)
			if err != nil {
				return err
			}
			// So that long runs do not fill the disk.
			if id := ID(c.Ref); id > 2 {
				for _, info := range s.Extents() {
					if info.ID+1 < id && !info.Open {
						return s.Drop(info.ID)
					}
				}
			}
			return nil
		})
	})
}

func BenchmarkOpen(b *testing.B) {
	benchWidths(b, func(b *testing.B, s *Store, size int64, workers int) {
		const chunks = 16
		var refs []engine.Ref
		for i := range chunks {
			refs = append(refs, put(b, s, pattern(uint64(i), size)))
		}
		var n atomic.Int64
		b.SetBytes(size)
		b.ReportAllocs()
		b.ResetTimer()
		each(b, workers, func() error {
			r, err := s.Open(context.Background(), refs[n.Add(1)%chunks], 0, size)
			if err != nil {
				return err
			}
			if _, err := r.(io.WriterTo).WriteTo(io.Discard); err != nil {
				return err
			}
			return r.Close()
		})
	})
}

// BenchmarkPlacement compares the two ways to lay down a chunk of one block: whole in one column of a shared row, or striped.
func BenchmarkPlacement(b *testing.B) {
	for _, name := range []string{"packed", "striped"} {
		for _, workers := range []int{1, 32} {
			for _, reading := range []bool{false, true} {
				b.Run(fmt.Sprintf("%s/read=%v/%d", name, reading, workers), func(b *testing.B) {
					opts := options(4, 2, realDisks(b, 6))
					opts.ExtentSize = DefaultExtentSize
					s := open(b, opts)
					data := pattern(1, blockSize)
					write := func() (engine.Chunk, error) {
						if name == "packed" {
							return s.putPacked(context.Background(), bytes.NewReader(data), blockSize)
						}
						return s.putStriped(context.Background(), bytes.NewReader(data), blockSize)
					}
					c, err := write()
					require.NoError(b, err)
					b.SetBytes(blockSize)
					b.ResetTimer()
					each(b, workers, func() error {
						if !reading {
							_, err := write()
							return err
						}
						r, err := s.Open(context.Background(), c.Ref, 0, blockSize)
						if err != nil {
							return err
						}
						if _, err := r.(io.WriterTo).WriteTo(io.Discard); err != nil {
							return err
						}
						return r.Close()
					})
				})
			}
		}
	}
}

// BenchmarkCeilingPut is the least that a Put with Content-MD5 can cost: sums, a write, a sync, all by itself.
func BenchmarkCeilingPut(b *testing.B) {
	for _, sum := range []bool{false, true} {
		for _, size := range benchSizes {
			b.Run(fmt.Sprintf("md5=%v/%dK", sum, size>>10), func(b *testing.B) {
				f, err := vfs.Default.Create(filepath.Join(b.TempDir(), "f"), vfs.WriteCategoryUnspecified)
				require.NoError(b, err)
				defer f.Close()
				data := pattern(1, size)
				b.SetBytes(size)
				off := int64(0)
				for b.Loop() {
					if sum {
						md5.Sum(data)
					}
					crc64.Sum(data)
					_, err := f.WriteAt(data, off)
					require.NoError(b, err)
					require.NoError(b, f.SyncData())
					if off += size; off > DefaultExtentSize {
						off = 0
						require.NoError(b, os.Truncate(f.(interface{ Name() string }).Name(), 0))
					}
				}
			})
		}
	}
}

// BenchmarkCeilingOpen is a read and its sum.
func BenchmarkCeilingOpen(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprintf("%dK", size>>10), func(b *testing.B) {
			f, err := vfs.Default.Create(filepath.Join(b.TempDir(), "f"), vfs.WriteCategoryUnspecified)
			require.NoError(b, err)
			defer f.Close()
			_, err = f.WriteAt(pattern(1, size*16), 0)
			require.NoError(b, err)
			buf := make([]byte, min(size, 256<<10))
			b.SetBytes(size)
			i := int64(0)
			for b.Loop() {
				at := i % 16 * size
				for off := int64(0); off < size; off += int64(len(buf)) {
					_, err := f.ReadAt(buf, at+off)
					require.NoError(b, err)
					crc64.Sum(buf)
				}
				i++
			}
		})
	}
}
