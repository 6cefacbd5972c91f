package local_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
)

// What the upkeep of a store costs, and takes. Each of these is one measurement: run them with -benchtime 1x.

const (
	upkeepContent = 1 << 30 // bytes in the store
	upkeepTurn    = 3 * time.Second
	upkeepTurns   = 6 // of each kind, in alternation
)

// writeContent puts so many bytes in chunks of 8 MiB, four at a time, and tells how long it took.
func writeContent(b *testing.B, s *local.Store, total int) time.Duration {
	content := bytes.Repeat([]byte("content of a chunk which is eight MiB long, "), engine.MaxChunk/44+1)[:engine.MaxChunk]
	var n atomic.Int64
	start := time.Now()
	var writers errgroup.Group
	for range 4 {
		writers.Go(func() error {
			for {
				i := n.Add(1)
				if i > int64(total/engine.MaxChunk) {
					return nil
				}
				if err := putOwned(s, fmt.Sprintf("content-%06d/", i), content); err != nil {
					return err
				}
			}
		})
	}
	require.NoError(b, writers.Wait())
	return time.Since(start)
}

func putOwned(s *local.Store, key string, content []byte) error {
	c, err := s.Put(background, bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return err
	}
	defer s.Forget(c.Ref)
	return s.Update(background, []byte(key), func(tx engine.Tx) error {
		tx.Retain(c.Ref)
		tx.Set(recordSpace, []byte(key), c.Ref[:])
		return nil
	})
}

// rate runs op by so many workers until the time is over, and tells how often in a second.
func rate(b *testing.B, workers int, d time.Duration, op func(i int64) error) float64 {
	ctx, cancel := context.WithTimeout(background, d)
	defer cancel()
	var n atomic.Int64
	var group errgroup.Group
	for range workers {
		group.Go(func() error {
			for ctx.Err() == nil {
				if err := op(n.Add(1)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	start := time.Now()
	require.NoError(b, group.Wait())
	return float64(n.Load()) / time.Since(start).Seconds()
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// BenchmarkBesideScrub puts and gets 4 KiB, by 8 at a time, in turns with and without a scrub at its default rate beside it, on 2+1 disks.
// The ratios are medians of with by without.
func BenchmarkBesideScrub(b *testing.B) {
	s := benchStore(b, 3)
	writeContent(b, s, upkeepContent)
	fill(b, s, 10_000)
	s.Collected()
	s.Idle()
	data := content4K()
	var next atomic.Int64
	put := func(int64) error {
		key := fmt.Appendf(nil, "put/%012d", next.Add(1))
		return s.Update(background, key, func(tx engine.Tx) error {
			tx.Set(recordSpace, key, data[:200])
			tx.Set(dataSpace, key, data)
			return nil
		})
	}
	get := func(i int64) error {
		return s.View(background, []byte("put/"), func(r engine.Reader) error {
			_, err := r.Get(dataSpace, fmt.Appendf(nil, "put/%012d", 1+i*7919%10_000))
			return err
		})
	}
	for next.Load() < 10_000 {
		require.NoError(b, put(0))
	}
	for b.Loop() {
		var puts, gets [2][]float64
		for turn := range 2 * upkeepTurns {
			with := turn % 2
			if with == 1 {
				require.NoError(b, s.StartScrub())
			}
			puts[with] = append(puts[with], rate(b, 8, upkeepTurn, put))
			gets[with] = append(gets[with], rate(b, 8, upkeepTurn, get))
			require.NoError(b, s.PauseScrub())
		}
		ratio := func(v [2][]float64) float64 {
			var r []float64
			for i := range v[0] {
				r = append(r, v[1][i]/v[0][i])
			}
			b.Logf("a second: without %.0f, with %.0f", v[0], v[1])
			return median(r)
		}
		b.ReportMetric(ratio(puts), "put-ratio")
		b.ReportMetric(ratio(gets), "get-ratio")
		b.ReportMetric(float64(s.Health().Scrub.ReadBytes)/upkeepTurns/2/upkeepTurn.Seconds()/(1<<20), "scrub-MiB/s")
	}
}

// BenchmarkHealLostDisk writes 1 GiB to 4+2 disks, loses one, and rebuilds it: idle, and beside writers of 1 MiB.
func BenchmarkHealLostDisk(b *testing.B) {
	for b.Loop() {
		o := local.Options{OpTimeout: time.Minute}
		for range 6 {
			o.Dirs = append(o.Dirs, b.TempDir())
		}
		s, err := local.Open(o)
		require.NoError(b, err)
		cpu := cpuTime(b)
		wrote := writeContent(b, s, upkeepContent)
		require.NoError(b, s.Close())
		b.ReportMetric((cpuTime(b) - cpu).Seconds(), "written-cpu-s")
		b.ReportMetric(upkeepContent/wrote.Seconds()/(1<<20), "written-MiB/s")

		cpu = cpuTime(b)
		idle := replaceFirst(b, &o, func(*local.Store) {})
		b.ReportMetric((cpuTime(b) - cpu).Seconds(), "healed-cpu-s")
		b.ReportMetric(upkeepContent/idle.Seconds()/(1<<20), "healed-MiB/s")
		b.ReportMetric(wrote.Seconds()/idle.Seconds(), "healed/written")

		content := bytes.Repeat([]byte("x"), 1<<20)
		var n atomic.Int64
		put := func(int64) error { return putOwned(s, fmt.Sprintf("load-%09d/", n.Add(1)), content) }
		var with, without []float64
		loaded := replaceFirst(b, &o, func(open *local.Store) {
			s = open
			for s.Health().Healing > 0 {
				with = append(with, rate(b, 4, time.Second, put))
			}
			for range len(with) {
				without = append(without, rate(b, 4, time.Second, put))
			}
		})
		require.NotEmpty(b, with)
		b.Logf("puts of 1 MiB a second: with %.0f, without %.0f; healing and as long without it took %v", with, without, loaded)
		b.ReportMetric(median(with)/median(without), "put-ratio")
	}
}

// replaceFirst replaces the first disk by an empty directory, opens the store, has load run beside, and tells how long it takes until all is
// healed.
func replaceFirst(b *testing.B, o *local.Options, load func(*local.Store)) time.Duration {
	list, err := local.Disks(*o)
	require.NoError(b, err)
	require.NoError(b, os.RemoveAll(list[0].Dir))
	require.NoError(b, os.MkdirAll(list[0].Dir, 0o700))
	o.Replace = []string{list[0].Name}
	s, err := local.Open(*o)
	require.NoError(b, err)
	o.Replace = nil
	start := time.Now()
	load(s)
	require.NoError(b, s.Heal(background))
	took := time.Since(start)
	require.Zero(b, s.Health().Healing)
	require.NoError(b, s.Close())
	return took
}
