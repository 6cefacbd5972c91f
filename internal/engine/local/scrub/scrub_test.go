package scrub

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// store is a store of extents that takes note of what is read.
type store struct {
	extents []uint64
	saved   []byte
	read    []uint64
	visit   func(ctx context.Context, id uint64) error // nil: all is well
}

func (s *store) Size() int64 { return int64(100 * (1 + len(s.extents))) }
func (s *store) Next(id uint64) uint64 {
	for _, e := range s.extents {
		if e >= id {
			return e
		}
	}
	return 0
}

func (s *store) Metadata(ctx context.Context, pace Pace) (Found, error) {
	return s.Extent(ctx, 0, pace)
}

func (s *store) Extent(ctx context.Context, id uint64, pace Pace) (Found, error) {
	s.read = append(s.read, id)
	pace(ctx, 100)
	if s.visit != nil {
		if err := s.visit(ctx, id); err != nil {
			return Found{Bytes: 10}, err
		}
	}
	return Found{Bytes: 100, Found: 2, Healed: 1}, nil
}

func (s *store) Load() ([]byte, error) { return s.saved, nil }
func (s *store) Save(b []byte) error   { s.saved = b; return nil }

// clock stands still but for tests that move it.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func newScrubber(t *testing.T, s *store, c *clock, rate int64) *Scrubber {
	t.Helper()
	sc, err := New(Options{Rate: rate, Now: c.now, Log: zap.NewNop()}, s)
	require.NoError(t, err)
	return sc
}

func TestAPassReadsWhatWasThereWhenItBegan(t *testing.T) {
	s, c := &store{extents: []uint64{2, 3, 7}}, &clock{time.Unix(1000, 0)}
	s.visit = func(_ context.Context, id uint64) error {
		switch id {
		case 2:
			s.extents = []uint64{2, 7, 8} // one is collected, one made
		}
		return nil
	}
	sc := newScrubber(t, s, c, 1<<40)
	require.NoError(t, sc.Pass(t.Context()))
	assert.Equal(t, []uint64{0, 2, 7}, s.read)
	st := sc.Status()
	assert.Equal(t, Waiting, st.State)
	assert.Equal(t, Found{Bytes: 300, Found: 6, Healed: 3}, st.Read)
	assert.Equal(t, st.Read, st.Since)
	assert.Equal(t, c.t, st.Finished)
	assert.EqualValues(t, 1, st.Pass)
}

// TestAPassGoesOnAfterARestart: from the extent at which it was cut off, and what it had found still counts.
func TestAPassGoesOnAfterARestart(t *testing.T) {
	s, c := &store{extents: []uint64{1, 2, 3, 4}}, &clock{time.Unix(1000, 0)}
	ctx, cancel := context.WithCancel(t.Context())
	s.visit = func(ctx context.Context, id uint64) error {
		if id == 3 {
			cancel()
			return ctx.Err()
		}
		return nil
	}
	sc := newScrubber(t, s, c, 1<<40)
	require.ErrorIs(t, sc.Pass(ctx), context.Canceled)
	assert.Equal(t, []uint64{0, 1, 2, 3}, s.read)
	assert.Equal(t, Running, sc.Status().State)
	assert.Zero(t, sc.Status().Finished)

	s.read, s.visit = nil, nil
	sc = newScrubber(t, s, c, 1<<40)
	require.True(t, sc.due())
	require.NoError(t, sc.Pass(t.Context()))
	assert.Equal(t, []uint64{3, 4}, s.read)
	st := sc.Status()
	assert.Equal(t, int64(300+10+200), st.Read.Bytes)
	assert.Equal(t, int64(200), st.Since.Bytes)
	assert.EqualValues(t, 1, st.Pass)
}

func TestAPauseLasts(t *testing.T) {
	s, c := &store{extents: []uint64{1, 2}}, &clock{time.Unix(1000, 0)}
	sc := newScrubber(t, s, c, 1<<40)
	s.visit = func(ctx context.Context, id uint64) error {
		if id == 1 {
			require.NoError(t, sc.Pause())
		}
		return ctx.Err()
	}
	require.ErrorIs(t, sc.Pass(t.Context()), context.Canceled)
	for range 2 {
		assert.Equal(t, Paused, sc.Status().State)
		c.t = c.t.Add(10 * passEvery)
		require.False(t, sc.due())
		sc = newScrubber(t, s, c, 1<<40)
	}
	s.visit = nil
	require.NoError(t, sc.Start())
	require.True(t, sc.due())
	require.NoError(t, sc.Pass(t.Context()))
	assert.Equal(t, []uint64{0, 1, 1, 2}, s.read)
}

func TestWhenAPassIsDue(t *testing.T) {
	s, c := &store{}, &clock{time.Unix(1e9, 0)}
	sc := newScrubber(t, s, c, 1<<40)
	require.True(t, sc.due(), "there was none yet")
	require.NoError(t, sc.Pass(t.Context()))
	require.False(t, sc.due())
	assert.Equal(t, passEvery, sc.until())
	c.t = c.t.Add(passEvery)
	require.True(t, sc.due())
	off := newScrubber(t, s, c, 0)
	require.False(t, off.due())
	assert.Equal(t, Off, off.Status().State)
	require.NoError(t, off.Start())
	require.True(t, off.due(), "it was asked for")
}

// TestAFailedPassIsNotFinished: what could not be read is read by the next try.
func TestAFailedPassIsNotFinished(t *testing.T) {
	s, c := &store{extents: []uint64{1, 2}}, &clock{time.Unix(1000, 0)}
	broken := errors.New("broken")
	s.visit = func(_ context.Context, id uint64) error {
		if id == 2 && len(s.read) < 4 {
			return broken
		}
		return nil
	}
	sc := newScrubber(t, s, c, 1<<40)
	require.ErrorIs(t, sc.Pass(t.Context()), broken)
	assert.Zero(t, sc.Status().Finished)
	require.NoError(t, sc.Pass(t.Context()))
	assert.Equal(t, []uint64{0, 1, 2, 2}, s.read)
}

func TestRunEndsAndStarts(t *testing.T) {
	s := &store{extents: []uint64{1}}
	sc := newScrubber(t, s, &clock{time.Unix(1000, 0)}, 0)
	ctx, cancel := context.WithCancel(t.Context())
	visited := make(chan struct{}, 2)
	s.visit = func(context.Context, uint64) error { visited <- struct{}{}; return nil }
	ended := make(chan struct{})
	go func() { sc.Run(ctx); close(ended) }()
	require.NoError(t, sc.Start())
	<-visited
	<-visited
	cancel()
	<-ended
}

const golden = "01030385a094a58d1d80d0b8e1981a11ac028080808020040301"

func TestRecordGolden(t *testing.T) {
	r := record{running: true, paused: true, pass: 3, started: time.Unix(1000, 5), finished: time.Unix(900, 0), next: 17, last: 300,
		read: Found{Bytes: 1 << 33, Found: 4, Healed: 3, Lost: 1}}

	b := r.encode()
	assert.Equal(t, golden, hex.EncodeToString(b), "docs/format.md and the stores that are out there say otherwise")
	var got record
	require.NoError(t, got.decode(b))
	assert.Equal(t, r, got)
	require.NoError(t, got.decode((&record{}).encode()))
	assert.Equal(t, record{}, got)
	for n := range len(b) {
		if err := got.decode(slices.Clone(b[:n])); err == nil {
			t.Errorf("%d bytes are no record", n)
		}
	}
	require.NoError(t, got.decode([]byte{9, 1, 2, 3}), "a version that is not known")
	assert.Equal(t, record{}, got)
}
