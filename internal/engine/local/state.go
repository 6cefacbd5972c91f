package local

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// state says whether the store takes writes, and if not, why. It is the guard.Owner of the metadata's files. It outlives the calls of
// Pebble's listeners, which come at any time.
type state struct {
	log       *zap.Logger
	failure   atomic.Pointer[error] // sticky: the metadata can no longer be written
	full      atomic.Pointer[error] // a disk is full; goes when there is room again
	exhausted atomic.Pointer[pause] // not even what makes room can be written
	stuck     atomic.Pointer[pause] // memtables cannot be flushed; goes when one is. Writes would fill the others and wait for ever.
	trouble   chan struct{}         // receives when a flush fails
	alarm     atomic.Pointer[alarm] // raised while the log is held up
	stalls    stallClock            // of Pebble's writers
	ending    chan struct{}         // closed when the store is to be closed
	end       func()                // closes it
}

// pause is a reason to refuse writes that passes.
type pause struct {
	why  error
	over chan struct{} // closed when it has passed
}

// set notes that p holds at where unless something does, and tells whether nothing did.
func (p *pause) set(where *atomic.Pointer[pause]) bool {
	p.over = make(chan struct{})
	return where.CompareAndSwap(nil, p)
}

// pass has what holds at where pass, and tells whether something did.
func pass(where *atomic.Pointer[pause]) bool {
	p := where.Swap(nil)
	if p != nil {
		close(p.over)
	}
	return p != nil
}

func newState(log *zap.Logger) *state {
	s := &state{log: log, trouble: make(chan struct{}, 1), ending: make(chan struct{})}
	s.end = sync.OnceFunc(func() { close(s.ending) })
	s.alarm.Store(newAlarm())
	return s
}

// Fail makes the store refuse writes from now on and returns the error to give for it.
func (s *state) Fail(err error) error {
	if !errors.Is(err, engine.ErrUnavailable) {
		if err = kind(err); !errors.Is(err, engine.ErrNoSpace) {
			err = fmt.Errorf("%w: the metadata cannot be written: %w", engine.ErrUnavailable, err)
		}
	}
	if s.failure.CompareAndSwap(nil, &err) {
		s.log.Error("the store takes no more writes; start it again when the cause is mended", zap.Error(err))
	}
	return *s.failure.Load()
}

// Failed returns why the metadata can no longer be written, nil if it can.
func (s *state) Failed() error {
	if err := s.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// outwait does what opens files until it meets no shortage of descriptors or memory. Without a log nothing can be written, and Pebble cannot
// be told to come again: its writers wait here, and others are refused meanwhile. It ends with the store.
func (s *state) outwait(op func() error) error {
	err := op()
	if !diskio.Busy(err) {
		return err
	}
	for pause := time.Millisecond; diskio.Busy(err); pause = min(2*pause, busyPause) {
		s.setStuck(err)
		select {
		case <-s.ending: // whoever waits gets an error, and what comes after the log's last sync was not acknowledged
			return err
		case <-time.After(pause):
		}
		err = op()
	}
	s.unstick()
	return err
}

// busyPause is the longest pause between two tries of outwait.
const busyPause = 100 * time.Millisecond

// writable returns why the store takes no more, nil if it does.
func (s *state) writable() error {
	if err := s.noRoom(); err != nil {
		return err
	}
	return s.working()
}

// noRoom returns why there is no room for more, nil if there is.
func (s *state) noRoom() error {
	if err := s.full.Load(); err != nil {
		return *err
	}
	return nil
}

// working returns why the store can write nothing at all, not even what makes room.
func (s *state) working() error {
	if err := s.logging(); err != nil {
		return err
	}
	if p := s.stuck.Load(); p != nil {
		return p.why
	}
	return nil
}

// logging returns why nothing can be written to the log, nil if it can.
func (s *state) logging() error {
	if err := s.Failed(); err != nil {
		return err
	}
	return s.held()
}

// setExhausted notes that there is no room even for what makes room, or with nil that there is.
func (s *state) setExhausted(err error) {
	if err == nil {
		if pass(&s.exhausted) {
			s.log.Info("there is room for deletes again")
		}
		return
	}
	p := &pause{why: fmt.Errorf("%w, not for deletes either: %w", engine.ErrNoSpace, err)}
	if p.set(&s.exhausted) {
		s.log.Error("deletes wait, and are refused if no room is made: make some by other means than blobd", zap.Error(p.why))
	}
}

// flushed hears how a flush ended. Pebble tries a failed one again.
func (s *state) flushed(err error) {
	if err == nil {
		s.unstick()
		return
	}
	s.setStuck(err)
	select {
	case s.trouble <- struct{}{}:
	default:
	}
}

// setStuck refuses writes until unstick: metadata has nowhere to go at the moment.
func (s *state) setStuck(err error) {
	if err = kind(err); !errors.Is(err, engine.ErrNoSpace) && !errors.Is(err, engine.ErrBusy) {
		err = fmt.Errorf("%w: metadata cannot be flushed: %w", engine.ErrUnavailable, err)
	}
	p := &pause{why: err}
	if p.set(&s.stuck) {
		s.log.Error("writes are refused", zap.Error(err))
	}
}

// Stuck tells whether metadata has nowhere to go at the moment.
func (s *state) Stuck() bool { return s.stuck.Load() != nil }

func (s *state) unstick() {
	if pass(&s.stuck) {
		s.log.Info("metadata can be flushed again")
	}
}

// setFull notes that there is no room, or with nil that there is again.
func (s *state) setFull(err error) {
	if err == nil {
		if s.full.Swap(nil) != nil {
			s.log.Info("there is room on the disks again")
		}
		return
	}
	err = fmt.Errorf("%w: %w", engine.ErrNoSpace, err)
	if s.full.CompareAndSwap(nil, &err) {
		s.log.Error("writes are refused", zap.Error(err))
	}
}
