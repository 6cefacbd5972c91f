//go:build unix

package md5lanes

import (
	"crypto/md5"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"
)

func BenchmarkKernel(b *testing.B) {
	const size = 32 << 10
	buffers := make([][]byte, maxLanes)
	for i := range buffers {
		buffers[i] = make([]byte, size)
	}
	b.Run("crypto", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			md5.Sum(buffers[0])
		}
	})
	for _, k := range runnable() {
		b.Run(fmt.Sprintf("%s/lanes=%d", k.name, k.lanes), func(b *testing.B) {
			g := new(group)
			for i := range k.lanes {
				g.from[i] = &buffers[i][0]
			}
			b.SetBytes(int64(k.lanes * size))
			for b.Loop() {
				k.advance(&g.state, &g.from, size/blockSize)
			}
		})
	}
}

// between shares the rounds of a benchmark out among goroutines. What a round costs the processors is told beside how long it
// takes: a server that is busy has no other core to spare.
func between(b *testing.B, goroutines int, work func(goroutine int)) {
	before := processorTime()
	var wg sync.WaitGroup
	for i := range goroutines {
		wg.Go(func() {
			for range (b.N + goroutines - 1 - i) / goroutines {
				work(i)
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64((processorTime()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkSum(b *testing.B) {
	for _, size := range []int{512, 1 << 10, 4 << 10, 16 << 10} {
		for _, callers := range []int{1, 2, 8, 32, 128} {
			bodies := make([][]byte, callers)
			for i := range bodies {
				bodies[i] = make([]byte, size)
			}
			name := fmt.Sprintf("size=%d/callers=%d", size, callers)
			b.Run(name+"/crypto", func(b *testing.B) {
				b.SetBytes(int64(size))
				between(b, callers, func(i int) { md5.Sum(bodies[i]) })
			})
			b.Run(name+"/lanes", func(b *testing.B) {
				b.SetBytes(int64(size))
				between(b, callers, func(i int) { Sum(bodies[i]) })
			})
		}
	}
}

func BenchmarkDigest(b *testing.B) {
	const size, piece = 4 << 20, 64 << 10
	buffers := sync.Pool{New: func() any { return new([piece]byte) }}
	for _, streams := range []int{1, 2, 4, 8, 16, 32} {
		body := make([]byte, piece)
		b.Run(fmt.Sprintf("streams=%d/crypto", streams), func(b *testing.B) {
			b.SetBytes(size)
			between(b, streams, func(int) {
				h := md5.New()
				for range size / piece {
					h.Write(body)
				}
				h.Sum(nil)
			})
		})
		b.Run(fmt.Sprintf("streams=%d/goroutine", streams), func(b *testing.B) {
			b.SetBytes(size)
			between(b, streams, func(int) {
				h, todo, free := md5.New(), make(chan []byte, 4), make(chan []byte, 4)
				for range 4 {
					free <- buffers.Get().(*[piece]byte)[:]
				}
				var wg sync.WaitGroup
				wg.Go(func() {
					for p := range todo {
						h.Write(p)
						free <- p
					}
				})
				for range size / piece {
					p := <-free
					copy(p, body)
					todo <- p
				}
				close(todo)
				wg.Wait()
				for range 4 {
					buffers.Put((*[piece]byte)(<-free))
				}
			})
		})
		b.Run(fmt.Sprintf("streams=%d/lanes", streams), func(b *testing.B) {
			b.SetBytes(size)
			between(b, streams, func(int) {
				d := New(size)
				defer d.Close()
				for range size / piece {
					d.Write(body)
				}
				d.Sum()
			})
		})
	}
}
