package extent

import (
	"context"
	"errors"
	"slices"
	"sync"

	"go.uber.org/zap"
)

// worker does what need not be done before an answer: sealing, and the repair of what readers found damaged. It is one goroutine,
// owned by the Store; what it has not done at Close is found again by the next start or the next reader.
type worker struct {
	s      *Store
	cancel context.CancelFunc
	end    chan struct{}

	mu     sync.Mutex
	wake   sync.Cond
	queue  []task
	later  []task // extents of version 1, which are read whole to be sealed anew: when there is nothing else to do
	queued map[task]bool
	busy   bool
	closed bool
}

type task struct {
	kind   byte
	x      *extent
	offset int64 // of the row; of a header, its column
}

const (
	taskSeal   = iota // make the footers
	taskRow           // rewrite the bad frames of a row
	taskHeader        // rewrite the header of a column
	taskHeal          // rebuild missing columns
)

// maxTasks bounds the queue. What is not taken in is found again by scrubbing.
const maxTasks = 4096

func (w *worker) start(s *Store) {
	ctx, cancel := context.WithCancel(context.Background())
	w.s, w.cancel, w.end = s, cancel, make(chan struct{})
	w.wake.L = &w.mu
	w.queued = make(map[task]bool)
	ids := make([]uint64, 0, len(s.extents))
	for id := range s.extents {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if x := s.extents[id]; s.version(id) == 1 && !x.measured {
			if s.opts.Still {
				continue
			}
			w.later = append(w.later, task{kind: taskSeal, x: x})
		} else {
			w.seal(x)
		}
	}
	go w.run(ctx)
}

func (w *worker) seal(x *extent) { w.add(task{kind: taskSeal, x: x}) }
func (w *worker) repairHeader(x *extent, c int) {
	w.add(task{kind: taskHeader, x: x, offset: int64(c)})
}

// repair has a row repaired, or its extent if a column of it has no file.
func (w *worker) repair(x *extent, off int64) {
	for c := range x.cols {
		if x.cols[c].Load() == nil {
			w.add(task{kind: taskHeal, x: x})
			return
		}
	}
	w.add(task{kind: taskRow, x: x, offset: off})
}

func (w *worker) add(t task) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.s.opts.Still || w.queued[t] || t.kind != taskSeal && len(w.queue) >= maxTasks {
		return
	}
	w.queued[t] = true
	w.queue = append(w.queue, t)
	w.wake.Broadcast()
}

func (w *worker) run(ctx context.Context) {
	defer close(w.end)
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		if len(w.queue) == 0 && len(w.later) > 0 && !w.closed {
			w.queue, w.later = append(w.queue, w.later[0]), w.later[1:]
		}
		for len(w.queue) == 0 && !w.closed {
			w.busy = false
			w.wake.Broadcast()
			w.wake.Wait()
		}
		if w.closed {
			w.busy = false
			w.wake.Broadcast()
			return
		}
		t := w.queue[0]
		w.queue = w.queue[1:]
		w.busy = true
		delete(w.queued, t)
		w.mu.Unlock()
		if err := w.do(ctx, t); err != nil && !errors.Is(err, context.Canceled) {
			w.s.log.Error("background work on an extent failed", zap.Uint64("extent", t.x.id), zap.Error(err))
		}
		w.mu.Lock()
	}
}

func (w *worker) do(ctx context.Context, t task) error {
	// It may have been dropped since; holding it keeps its files.
	x := w.s.acquire(t.x.id)
	if x != t.x {
		if x != nil {
			w.s.release(x)
		}
		return nil
	}
	defer w.s.release(x)
	x.upkeep.Lock()
	defer x.upkeep.Unlock()
	switch t.kind {
	case taskSeal:
		return w.s.sealFound(ctx, x)
	case taskRow:
		for c := range x.cols {
			if col := x.cols[c].Load(); col != nil && w.s.vanished(x, c, col) {
				_, err := w.s.healColumns(ctx, x)
				return err
			}
		}
		return w.s.repairRow(x, t.offset)
	case taskHeader:
		return w.s.rewriteHeader(ctx, x, int(t.offset))
	default:
		_, err := w.s.healColumns(ctx, x)
		return err
	}
}

// Idle waits until the background has nothing to do.
func (s *Store) Idle() { s.work.idle() }

// idle waits until there is nothing to do.
func (w *worker) idle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for (len(w.queue) > 0 || len(w.later) > 0 || w.busy) && !w.closed {
		w.wake.Wait()
	}
}

// stop ends the work after the task at hand, which is cut short.
func (w *worker) stop() {
	w.cancel()
	w.mu.Lock()
	w.closed = true
	w.wake.Broadcast()
	w.mu.Unlock()
	<-w.end
}
