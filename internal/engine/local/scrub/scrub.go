// Package scrub has a store read itself: pass after pass, at a set pace, over restarts.
//
// # Guarantees
//
//   - A pass reads everything that was there when it began and is still there when its turn comes: the metadata first, then the extents in
//     the order of their ids.
//   - Its cursor is kept in the store when an extent is done, at most every saveEvery, and at a stop. A start goes on from there, and a
//     pause lasts over starts.
//   - It never reads faster than its rate, and saves up nothing for later while it waits.
package scrub

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Found is what a part of a pass read and found.
type Found struct {
	Bytes  int64
	Found  int64 // things that are not as they were written
	Healed int64 // of them, so many are again
	Lost   int64 // chunks and files that nothing can bring back
}

// Target is the store.
type Target interface {
	// Size is about how many bytes a pass reads.
	Size() int64
	// Metadata scrubs the metadata.
	Metadata(ctx context.Context, pace Pace) (Found, error)
	// Next returns the first extent from id on, 0 if there is none.
	Next(id uint64) uint64
	// Extent scrubs an extent. One that has gone meanwhile is no error.
	Extent(ctx context.Context, id uint64, pace Pace) (Found, error)
	Load() ([]byte, error) // nil if nothing was saved yet
	Save([]byte) error
}

// Pace is called after so many bytes were read, and returns when more may be, or when ctx ends.
type Pace func(ctx context.Context, bytes int)

const (
	passEvery = 24 * time.Hour // from the begin of a pass to that of the next, at least: a small store is not read all day
	firstWait = time.Minute    // after a start, which has other things to do
	saveEvery = 30 * time.Second
	step      = 1 << 20 // bytes that are read between two pauses
)

// Options of New.
type Options struct {
	Rate int64 // bytes a second; 0: no pass but those that are asked for, which are not paced
	Now  func() time.Time
	Log  *zap.Logger
}

// States of a scrub.
const (
	Off     = "off" // nothing is read unless it is asked for
	Waiting = "waiting"
	Running = "running"
	Paused  = "paused"
)

// Status is how far the scrub is.
type Status struct {
	State    string
	Rate     int64
	Pass     uint64    // number of the pass under way, or of the last
	Started  time.Time // of that pass
	Finished time.Time // of the last pass that came to its end; zero if none did
	Read     Found     // by that pass
	Total    int64     // bytes that it reads, about
	Since    Found     // since the process began, for counters
}

// Scrubber runs the passes.
type Scrubber struct {
	opts   Options
	target Target

	mu     sync.Mutex
	rec    record
	since  Found
	saved  time.Time
	now    bool               // a pass was asked for
	cancel context.CancelFunc // of the pass that runs
	wake   chan struct{}      // receives when something was asked for
}

// New returns a scrubber that goes on from what the target has saved.
func New(o Options, t Target) (*Scrubber, error) {
	s := &Scrubber{opts: o, target: t, wake: make(chan struct{}, 1), cancel: func() {}}
	b, err := t.Load()
	if err == nil && b != nil {
		err = s.rec.decode(b)
	}
	return s, err
}

// Status tells how far it is.
func (s *Scrubber) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{State: Waiting, Rate: s.opts.Rate, Pass: s.rec.pass, Started: s.rec.started, Finished: s.rec.finished, Read: s.rec.read,
		Since: s.since, Total: max(s.target.Size(), s.rec.read.Bytes)}
	switch {
	case s.rec.paused:
		st.State = Paused
	case s.rec.running:
		st.State = Running
	case s.opts.Rate == 0:
		st.State = Off
	}
	if !s.rec.running {
		st.Total = s.rec.read.Bytes
	}
	return st
}

// Start begins a pass now, or goes on with the one that was paused.
func (s *Scrubber) Start() error {
	s.mu.Lock()
	s.rec.paused, s.now = false, true
	err := s.save()
	s.mu.Unlock()
	s.poke()
	return err
}

// Pause ends the reading until Start.
func (s *Scrubber) Pause() error {
	s.mu.Lock()
	s.rec.paused, s.now = true, false
	err := s.save()
	s.cancel()
	s.mu.Unlock()
	s.poke()
	return err
}

func (s *Scrubber) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// save keeps the record. The caller holds mu.
func (s *Scrubber) save() error {
	s.saved = s.opts.Now()
	return s.target.Save(s.rec.encode())
}

// Run makes passes until ctx ends.
func (s *Scrubber) Run(ctx context.Context) {
	timer := time.NewTimer(firstWait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
		wait := passEvery
		if s.due() {
			if err := s.Pass(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, context.Canceled) {
				s.opts.Log.Error("the scrub did not get to its end; it is tried again", zap.Error(err))
				wait = firstWait
			}
		}
		timer.Reset(min(wait, s.until()))
	}
}

// until is how long it is until a pass is due.
func (s *Scrubber) until() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(firstWait, s.rec.started.Add(passEvery).Sub(s.opts.Now()))
}

// due tells whether a pass is to begin, or to go on.
func (s *Scrubber) due() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.rec.paused:
		return false
	case s.now:
		return true
	case s.opts.Rate == 0:
		return false
	}
	return s.rec.running || s.opts.Now().Sub(s.rec.started) >= passEvery
}

// Pass makes a pass, or the rest of one that was interrupted.
func (s *Scrubber) Pass(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	s.now, s.cancel = false, cancel
	if !s.rec.running {
		s.rec = record{pass: s.rec.pass + 1, started: s.opts.Now(), finished: s.rec.finished, running: true, last: s.last()}
	}
	next, last := s.rec.next, s.rec.last
	err := s.save()
	s.mu.Unlock()
	pace := s.pace()
	if err == nil && next == 0 {
		var f Found
		f, err = s.target.Metadata(ctx, pace)
		err = errors.Join(err, s.done(f, 1, err == nil))
	}
	for id := s.target.Next(max(next, 1)); err == nil && id != 0 && id <= last; id = s.target.Next(id + 1) {
		if err = ctx.Err(); err != nil {
			break
		}
		var f Found
		f, err = s.target.Extent(ctx, id, pace)
		err = errors.Join(err, s.done(f, id+1, err == nil))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.rec.running, s.rec.next, s.rec.finished = false, 0, s.opts.Now()
		s.opts.Log.Info("the store was scrubbed", zap.Int64("bytes", s.rec.read.Bytes), zap.Int64("found", s.rec.read.Found),
			zap.Int64("healed", s.rec.read.Healed), zap.Int64("lost", s.rec.read.Lost), zap.Duration("took", s.rec.finished.Sub(s.rec.started).Round(time.Second)))
	}
	return errors.Join(err, s.save())
}

// last is the last extent that there is.
func (s *Scrubber) last() (last uint64) {
	for id := s.target.Next(1); id != 0; id = s.target.Next(id + 1) {
		last = id
	}
	return last
}

// done notes what a part of the pass found and, if it came to its end, where the next begins.
func (s *Scrubber) done(f Found, next uint64, whole bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sum := range []*Found{&s.rec.read, &s.since} {
		sum.Bytes += f.Bytes
		sum.Found += f.Found
		sum.Healed += f.Healed
		sum.Lost += f.Lost
	}
	if !whole {
		return nil
	}
	s.rec.next = next
	if s.opts.Now().Sub(s.saved) < saveEvery {
		return nil
	}
	return s.save()
}

// pace returns what holds the reading to its rate.
func (s *Scrubber) pace() Pace {
	if s.opts.Rate == 0 {
		return func(context.Context, int) {}
	}
	owed := 0
	return func(ctx context.Context, bytes int) {
		owed += bytes
		if owed < step {
			return
		}
		wait := time.NewTimer(time.Duration(float64(owed) / float64(s.opts.Rate) * float64(time.Second)))
		defer wait.Stop()
		owed = 0
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
	}
}
