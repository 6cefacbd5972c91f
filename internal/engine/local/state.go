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
	"github.com/blobd/blobd/internal/engine/local/diskspace"
)

// state says whether the metadata can be written, and if not, why. It is the guard.Owner of the metadata's files. It outlives the calls of
// Pebble's listeners, which come at any time.
type state struct {
	log     *zap.Logger
	failure atomic.Pointer[error]           // sticky: the metadata can no longer be written
	stuck   atomic.Pointer[diskspace.Pause] // memtables cannot be flushed; goes when one is. Writes would fill the others and wait for ever.
	trouble chan struct{}                   // receives when a flush fails
	alarm   atomic.Pointer[alarm]           // raised while the log is held up
	stalls  stallClock                      // of Pebble's writers
	ending  chan struct{}                   // closed when the store is to be closed
	end     func()                          // closes it
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

// working returns why the store can write nothing at all, not even what makes room.
func (s *state) working() error {
	if err := s.logging(); err != nil {
		return err
	}
	if p := s.stuck.Load(); p != nil {
		return p.Why
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
	if diskspace.Set(&s.stuck, err) {
		s.log.Error("writes are refused", zap.Error(err))
	}
}

// Stuck tells whether metadata has nowhere to go at the moment.
func (s *state) Stuck() bool { return s.stuck.Load() != nil }

func (s *state) unstick() {
	if diskspace.Pass(&s.stuck) {
		s.log.Info("metadata can be flushed again")
	}
}
