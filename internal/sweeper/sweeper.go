// Package sweeper runs the background work of a service: at the start, when it is told that there is some, and from time to time.
package sweeper

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
)

const (
	// every is how long after a sweep the next begins, unless it is woken: what failed, and what is due by time, must not wait for a wake.
	every = 10 * time.Minute
	// full is how long after a sweep that found no room: it is what makes some.
	full = 10 * time.Second
	// pause keeps a busy queue from being read over and over.
	pause = time.Second
)

// Sweeper calls a function that does what is due, never twice at a time. The zero value waits for Start.
type Sweeper struct {
	work chan struct{} // one token: there is something to do
	stop context.CancelFunc
	done chan struct{} // closed when it has ended
}

// Start begins with a sweep. What fails is logged and tried again; the function returns when its context ends.
func (s *Sweeper) Start(log *zap.Logger, what string, sweep func(context.Context) error) {
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	s.work, s.done = make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(s.done)
		for {
			err := sweep(ctx)
			if ctx.Err() != nil || errors.Is(err, engine.ErrClosed) {
				return
			}
			next := every
			if errors.Is(err, engine.ErrNoSpace) {
				next = full
			}
			if err != nil {
				log.Warn(what, zap.Error(err))
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(next - pause):
			case <-s.work:
			}
		}
	}()
}

// Wake tells that there is work. A token that is there already will do.
func (s *Sweeper) Wake() {
	select {
	case s.work <- struct{}{}:
	default:
	}
}

// Close ends the sweeper and waits for it.
func (s *Sweeper) Close() {
	s.stop()
	<-s.done
}
