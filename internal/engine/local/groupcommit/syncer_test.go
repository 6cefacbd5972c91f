package groupcommit

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// TestSyncerCovers: whoever returns from wait has what it applied before behind a sync that began later.
func TestSyncerCovers(t *testing.T) {
	for _, writers := range []int{1, 3, 2 * crowd} {
		var applied, durable, syncs atomic.Int64
		s := New(func() error {
			n := applied.Load()
			syncs.Add(1)
			durable.Store(n)
			return nil
		})
		var all errgroup.Group
		for range writers {
			all.Go(func() error {
				for range 300 {
					n := applied.Add(1)
					if err := s.wait(); err != nil {
						return err
					}
					if durable.Load() < n {
						return errors.New("it returned too early")
					}
				}
				return nil
			})
		}
		require.NoError(t, all.Wait())
		assert.LessOrEqual(t, syncs.Load(), applied.Load())
	}
}

// gated is a syncer whose syncs begin and end one by one when the test says so.
type gated struct {
	*Syncer
	begun chan int // gets the number of members of each sync
	end   chan error
	all   errgroup.Group
}

func newGated(patience time.Duration) *gated {
	g := &gated{begun: make(chan int), end: make(chan error)}
	g.Syncer = New(func() error {
		g.mu.Lock()
		n := g.under.size
		g.mu.Unlock()
		g.begun <- n
		return <-g.end
	})
	g.patience = patience
	return g
}

// come lets so many wait and returns when they are in a group.
func (g *gated) come(t *testing.T, n int) {
	t.Helper()
	g.mu.Lock()
	before := g.nextSize()
	g.mu.Unlock()
	for range n {
		g.all.Go(g.wait)
	}
	require.Eventually(t, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.nextSize() == before+n
	}, time.Minute, 10*time.Microsecond)
}

// finish ends the sync under way and returns when those who shared it have been told.
func (g *gated) finish(err error) {
	g.mu.Lock()
	done := g.under.done
	g.mu.Unlock()
	g.end <- err
	<-done
}

// crowdBehindOne ends the sync of one, during which a crowd has come: crowd + 1 were waiting then.
func (g *gated) crowdBehindOne(t *testing.T) {
	t.Helper()
	g.all.Go(g.wait)
	assert.Equal(t, 1, <-g.begun)
	g.come(t, crowd)
	g.finish(nil)
}

func (g *gated) nextSize() int {
	if g.next == nil {
		return 0
	}
	return g.next.size
}

// TestSyncerGathersACrowd: a sync is held back for all who waited when the last one ended, and not for longer.
func TestSyncerGathersACrowd(t *testing.T) {
	g := newGated(time.Hour)
	g.crowdBehindOne(t)
	select {
	case <-g.begun:
		t.Fatal("a sync was not held back for the one who may come back")
	default:
	}
	g.all.Go(g.wait)
	assert.Equal(t, crowd+1, <-g.begun)
	g.finish(nil)
	require.NoError(t, g.all.Wait())
}

// TestSyncerDoesNotHoldUpAFew: fewer than a crowd share a sync as they come.
func TestSyncerDoesNotHoldUpAFew(t *testing.T) {
	g := newGated(time.Hour)
	g.all.Go(g.wait)
	assert.Equal(t, 1, <-g.begun)
	g.come(t, crowd-2)
	g.finish(nil)
	assert.Equal(t, crowd-2, <-g.begun)
	g.finish(nil)
	require.NoError(t, g.all.Wait())
}

// TestSyncerHasPatienceForAWhile: those who do not come back are not waited for for ever.
func TestSyncerHasPatienceForAWhile(t *testing.T) {
	g := newGated(time.Millisecond)
	g.crowdBehindOne(t)
	assert.Equal(t, crowd, <-g.begun)
	g.finish(nil)
	require.NoError(t, g.all.Wait())
}

// TestSyncerGivesUpForAWhile: where no crowd comes back in time the next syncs are not held back.
func TestSyncerGivesUpForAWhile(t *testing.T) {
	g := newGated(time.Millisecond)
	g.crowdBehindOne(t)
	assert.Equal(t, crowd, <-g.begun)
	g.finish(nil)
	g.all.Go(g.wait)
	assert.Equal(t, 1, <-g.begun, "the others stay away")
	g.patience = time.Hour
	for range skipped {
		g.come(t, crowd-1)
		g.finish(nil) // a crowd was waiting
		assert.Equal(t, crowd-1, <-g.begun)
	}
	g.come(t, crowd-1)
	g.finish(nil)
	select {
	case <-g.begun:
		t.Fatal("no sync is held back any more")
	default:
	}
	for range crowd - 1 {
		g.all.Go(g.wait)
	}
	assert.Equal(t, 2*(crowd-1), <-g.begun)
	g.finish(nil)
	require.NoError(t, g.all.Wait())
}

// TestSyncerTellsAll: a sync that failed has failed for all who shared it.
func TestSyncerTellsAll(t *testing.T) {
	g := newGated(time.Hour)
	g.all.Go(g.wait)
	<-g.begun
	failed := errors.New("no disk")
	outcomes := make(chan error, crowd-2)
	for range cap(outcomes) {
		g.all.Go(func() error {
			outcomes <- g.wait()
			return nil
		})
	}
	require.Eventually(t, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.nextSize() == cap(outcomes)
	}, time.Minute, 10*time.Microsecond)
	g.finish(nil)
	assert.Equal(t, cap(outcomes), <-g.begun)
	g.finish(failed)
	require.NoError(t, g.all.Wait())
	for range cap(outcomes) {
		assert.ErrorIs(t, <-outcomes, failed)
	}
}

// TestSyncerHoldsForHalfOfALargeCrowd: the others' requests are worked on meanwhile.
func TestSyncerHoldsForHalfOfALargeCrowd(t *testing.T) {
	for waiting, want := range map[int]int{crowd: crowd, small: small, small + 1: small, 2*small + 2: small + 1, 100: 50} {
		assert.Equal(t, want, enough(waiting), "of %d", waiting)
	}
	g := newGated(time.Hour)
	g.all.Go(g.wait)
	assert.Equal(t, 1, <-g.begun)
	g.come(t, 4*small-1)
	g.finish(nil)
	assert.Equal(t, 4*small-1, <-g.begun, "more than half are there")
	g.come(t, small)
	g.finish(nil) // 5*small - 1 were waiting
	g.come(t, (5*small-1)/2-small-1)
	select {
	case <-g.begun:
		t.Fatal("a sync was not held back for half of a crowd")
	default:
	}
	g.all.Go(g.wait)
	assert.Equal(t, (5*small-1)/2, <-g.begun)
	g.finish(nil)
	require.NoError(t, g.all.Wait())
}

// TestSyncerLetsGo: while the log is held up nobody waits for it, and whoever comes after that does, for a sync of its own.
func TestSyncerLetsGo(t *testing.T) {
	g := newGated(time.Hour)
	stuck := errors.New("held up")
	first := g.Begin()
	assert.Equal(t, 1, <-g.begun)
	second := g.Begin()
	g.Hold(stuck)
	third := g.Begin()
	assert.Same(t, second, third)
	for _, group := range []*Group{first, second} {
		ended, err := group.Wait()
		assert.False(t, ended)
		require.ErrorIs(t, err, stuck)
	}
	g.Hold(nil)
	last := g.Begin()
	select {
	case <-last.told:
		t.Fatal("it does not wait")
	default:
	}
	g.end <- nil
	assert.Equal(t, 2, <-g.begun)
	failed := errors.New("lost")
	g.end <- failed
	<-second.done
	require.NoError(t, first.err)
	require.Equal(t, failed, second.err, "whoever wants to know later can")
	assert.Equal(t, 1, <-g.begun)
	g.finish(nil)
	ended, err := last.Wait()
	assert.True(t, ended)
	require.NoError(t, err)
	g.Hold(stuck)
	ended, err = g.Begin().Wait()
	assert.False(t, ended, "nobody was waiting when it was held up")
	require.ErrorIs(t, err, stuck)
	assert.Equal(t, 1, <-g.begun)
	g.finish(nil)
}

// wait returns when all that was applied before the call is durable, or could not be made so.
func (s *Syncer) wait() error {
	_, err := s.Begin().Wait()
	return err
}

// TestTally: what is counted is in the first bucket whose bound it is not over.
func TestTally(t *testing.T) {
	sizes := newTally(sizeBounds)
	for v, bucket := range map[int64]int{1: 0, 2: 1, 3: 2, 4: 2, 5: 3, 2048: 11, 2049: 12, 1 << 40: 12} {
		was := sizes.Counts[bucket]
		sizes.add(v)
		require.Equal(t, was+1, sizes.Counts[bucket], v)
	}
}
