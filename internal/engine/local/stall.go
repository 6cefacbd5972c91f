package local

import (
	"errors"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
)

// A disk that does not answer is left out by the file system below (package diskio): its operations fail, and those who made them go on
// with the other disks, as after any failure. Here is the one case in which that cannot be: metadata of which no other copy is kept waits
// for its disk, and the requests that wait for that are answered with an error meanwhile.

// alarm is raised while the log is held up by a disk that does not answer and cannot be done without.
type alarm struct {
	raised chan struct{} // closed when it is
	why    error         // final then
}

func newAlarm() *alarm { return &alarm{raised: make(chan struct{})} }

// held returns why the log is held up, nil if it is not.
func (s *state) held() error {
	a := s.alarm.Load()
	select {
	case <-a.raised:
		return a.why
	default:
		return nil
	}
}

// hold raises the alarm, or with nil lowers it. Called by one goroutine.
func (s *state) hold(why error) {
	switch is := s.held() != nil; {
	case why != nil && !is:
		a := s.alarm.Load()
		a.why = fmt.Errorf("metadata waits for a disk, and what becomes of writes under way is not known: %w", why)
		close(a.raised)
		s.log.Error("writes are refused", zap.Error(a.why))
	case why == nil && is:
		s.alarm.Store(newAlarm())
		s.log.Info("metadata is written again")
	}
}

// kept tells diskio whether nothing can stand in for what is written at a path below a data directory: metadata of which no other copy is
// kept.
func (s *Store) kept(dir, path string) bool {
	if strings.HasPrefix(path, extentDir) {
		return false
	}
	if s.meta == nil {
		return true
	}
	return s.meta.Last(dir, func(other string) bool { return s.io.Out(other) == nil })
}

// diskChanged hears that a disk does not answer, or with nil that it does again.
func (s *Store) diskChanged(dir string, why error) {
	s.extents.Stalled(s.opts.FS.PathJoin(dir, extentDir), why)
	if why == nil {
		s.healSoon()
	}
}

// diskHeld hears that metadata on a disk waits for it, or with nil that it does no longer. Called by one goroutine.
func (s *Store) diskHeld(dir string, why error) {
	if why == nil {
		delete(s.holding, dir)
	} else {
		s.holding[dir] = why
	}
	for _, why = range s.holding {
		break
	}
	s.state.hold(why)
	s.syncs.Hold(s.state.held())
	if why != nil {
		s.stripes.wakeAll()
	}
}

// lose takes a disk out of use until the next start: what is written to it would not be found again.
func (s *Store) lose(dir string, why error) {
	s.extents.Fail(s.opts.FS.PathJoin(dir, extentDir), why)
	if s.meta == nil {
		s.state.Fail(fmt.Errorf("%w: %s: %w", engine.ErrUnavailable, dir, why))
		return
	}
	if err := s.meta.Leave(dir, why); err != nil && !errors.Is(err, why) {
		s.log.Error("the loss of a disk cannot be recorded", zap.String("dir", dir), zap.Error(err))
	} else if err != nil {
		s.state.Fail(fmt.Errorf("%w: %s: %w", engine.ErrUnavailable, dir, why))
	}
}
