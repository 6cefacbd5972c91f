package local_test

import (
	"bytes"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
)

// benchStore opens a store on real disks, or on what the machine has for them: $TMPDIR says where.
func benchStore(b *testing.B, disks int) *local.Store {
	b.Helper()
	o := local.Options{OpTimeout: time.Minute}
	for range disks {
		o.Dirs = append(o.Dirs, b.TempDir())
	}
	s, err := local.Open(o)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	return s
}

// BenchmarkUpdate sets 4 KiB inline with a small record, from 32 goroutines: what a small Put Blob costs the engine. cpu-us/op has
// the flushes and compactions in it; with -benchtime 100000x they are those of a server that goes on for long.
func BenchmarkUpdate(b *testing.B) {
	for _, tt := range []struct{ disks, writers int }{{1, 32}, {1, 8}, {1, 1}, {3, 32}} {
		b.Run(fmt.Sprintf("disks=%d/writers=%d", tt.disks, tt.writers), func(b *testing.B) {
			s := benchStore(b, tt.disks)
			record, data := make([]byte, 200), content4K()
			var n atomic.Int64
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			start := cpuTime(b)
			defer func() { b.ReportMetric(float64((cpuTime(b)-start).Microseconds())/float64(b.N), "cpu-us/op") }()
			var writers errgroup.Group
			for range tt.writers {
				writers.Go(func() error {
					for {
						i := n.Add(1)
						if i > int64(b.N) {
							return nil
						}
						key := fmt.Appendf(nil, "container/blob-%09d", i)
						if err := s.Update(background, key, func(tx engine.Tx) error {
							if _, err := tx.Get(recordSpace, key); err != engine.ErrNotFound {
								return fmt.Errorf("unexpected: %w", err)
							}
							tx.Stamp()
							tx.Set(recordSpace, key, record)
							tx.Set(dataSpace, key, data)
							tx.Add([]byte("bytes"), engine.Amount{Bytes: int64(len(data))})
							return nil
						}); err != nil {
							return err
						}
					}
				})
			}
			require.NoError(b, writers.Wait())
		})
	}
}

func content4K() []byte { return object{seed: 1, sizes: [3]int{4096}}.content(0) }

// fill writes n small blobs.
func fill(b *testing.B, s *local.Store, n int) {
	b.Helper()
	data := content4K()
	for i := 0; i < n; i += 100 {
		require.NoError(b, s.Update(background, []byte("c/"), func(tx engine.Tx) error {
			for j := i; j < min(i+100, n); j++ {
				key := fmt.Appendf(nil, "c/%08d", j)
				tx.Set(recordSpace, key, data[:200])
				tx.Set(dataSpace, key, data)
			}
			return nil
		}))
	}
}

// BenchmarkGet looks up a record and 4 KiB of content: what a small Get Blob costs the engine.
func BenchmarkGet(b *testing.B) {
	for _, disks := range []int{1, 3} {
		b.Run(fmt.Sprintf("disks=%d", disks), func(b *testing.B) {
			s := benchStore(b, disks)
			const n = 20_000
			fill(b, s, n)
			b.ResetTimer()
			var at atomic.Int64
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				var key []byte
				for pb.Next() {
					key = fmt.Appendf(key[:0], "c/%08d", at.Add(7919)%n)
					if err := s.View(background, key, func(r engine.Reader) error {
						if _, err := r.Get(recordSpace, key); err != nil {
							return err
						}
						_, err := r.Get(dataSpace, key)
						return err
					}); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkScan reads a page of 5 000 records.
func BenchmarkScan(b *testing.B) {
	s := benchStore(b, 1)
	fill(b, s, 20_000)
	b.ResetTimer()
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		if err := s.View(background, []byte("c/"), func(r engine.Reader) error {
			it := r.Scan(recordSpace, []byte("c/00005"), nil)
			for it.Next() && n < 5000 {
				if _, err := it.Value(); err != nil {
					return err
				}
				n++
			}
			return it.Close()
		}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkChunk puts and opens chunks, with the transaction that owns them.
func BenchmarkChunk(b *testing.B) {
	for _, disks := range []int{1, 3} {
		for _, size := range []int{64 << 10, 1 << 20} {
			data := object{seed: 1, sizes: [3]int{size}}.content(0)
			name := fmt.Sprintf("disks=%d/%dK", disks, size>>10)
			b.Run("put/"+name, func(b *testing.B) {
				s := benchStore(b, disks)
				var n atomic.Int64
				b.SetBytes(int64(size))
				b.SetParallelism(8)
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						c, err := s.Put(background, bytes.NewReader(data), int64(size))
						if err == nil {
							key := fmt.Appendf(nil, "blob-%09d", n.Add(1)%1000)
							err = s.Update(background, key, func(tx engine.Tx) error {
								tx.Retain(c.Ref)
								tx.Set(recordSpace, key, c.Ref[:])
								return nil
							})
						}
						s.Forget(c.Ref)
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
			for _, whole := range []bool{false, true} { // held to the sum of the chunk, or not
				b.Run(fmt.Sprintf("open/%s/whole=%v", name, whole), func(b *testing.B) {
					s := benchStore(b, disks)
					c, err := s.Put(background, bytes.NewReader(data), int64(size))
					require.NoError(b, err)
					defer s.Forget(c.Ref)
					open := func() (io.ReadCloser, error) { return s.Open(background, c.Ref, 0, int64(size)) }
					if whole {
						open = func() (io.ReadCloser, error) { return s.OpenWhole(background, c) }
					}
					b.SetBytes(int64(size))
					b.ReportAllocs()
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							r, err := open()
							if err == nil {
								_, err = r.(io.WriterTo).WriteTo(io.Discard)
								_ = r.Close() // it was read to its end
							}
							if err != nil {
								b.Error(err)
								return
							}
						}
					})
				})
			}
		}
	}
}
