package local

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// watchEvery is how often a disk is looked at.
const watchEvery = 2 * time.Second

// diskStatus is what was seen of a disk the last time.
type diskStatus struct {
	usage   atomic.Pointer[vfs.DiskUsage]
	trouble atomic.Pointer[string]
}

// watchDisk looks from time to time whether a disk is what it was: operations on files that are open succeed for long after their directory
// was removed, or the disk unmounted. Each disk has its own watch, so that one that does not answer delays no other.
func (s *Store) watchDisk(ctx context.Context, i int) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.lookAt(i)
	}
}

// lookAt looks at a disk once.
func (s *Store) lookAt(i int) {
	d, status := s.disks.Disks[i], &s.statuses[i]
	u, err := s.opts.FS.GetDiskUsage(d.Dir)
	switch {
	case err == nil:
		status.usage.Store(&u)
	case errors.Is(err, vfs.ErrUnsupported):
		err = nil
	default:
		err = fmt.Errorf("its file system does not tell its room: %w", err)
	}
	for _, sub := range []string{metaDir, extentDir} {
		if _, serr := s.opts.FS.Stat(s.opts.FS.PathJoin(d.Dir, sub)); errors.Is(serr, diskio.ErrOtherDisk) {
			err = serr
			s.lose(d.Dir, err)
		}
	}
	if lost, rerr := s.disks.Look(i); rerr != nil {
		if err = rerr; lost {
			s.lose(d.Dir, err)
		}
	}
	if errors.Is(err, diskio.ErrStalled) {
		return // it is out of use, and that was told
	}
	was := status.trouble.Load()
	switch {
	case err != nil && was == nil:
		text := err.Error()
		status.trouble.Store(&text)
		s.log.Error("a disk is in trouble", zap.String("dir", d.Dir), zap.Error(err))
	case err == nil && was != nil:
		status.trouble.Store(nil)
		s.log.Info("a disk is well again", zap.String("dir", d.Dir))
	}
}

// Health implements engine.Store. It asks no disk.
func (s *Store) Health() engine.Health {
	h := s.extents.Health()
	note := func(detail string) {
		if h.Detail != "" {
			h.Detail += "; "
		}
		h.Detail += detail
	}
	for i, d := range s.disks.Disks {
		dh := &h.Disks[i]
		dh.Path = d.Dir
		if u := s.statuses[i].usage.Load(); u != nil {
			dh.Free, dh.Total = u.AvailBytes, u.TotalBytes
		}
		if d.Detail != "" {
			dh.OK, dh.Detail = false, d.Detail
		}
		if text := s.statuses[i].trouble.Load(); text != nil && dh.OK {
			dh.OK, dh.Detail = false, *text
			h.Degraded = true
			note(fmt.Sprintf("%s: %s", d.Dir, *text))
		}
	}
	if n := s.disks.Lagging(); n > 0 {
		h.Degraded = true
		note(fmt.Sprintf("metadata is on %d of %d disks; a start with all of them fills the others", s.disks.M+1-n, s.disks.M+1))
	}
	if h.Healing = len(s.unhealed()); h.Healing > 0 {
		h.Degraded = true
		note(fmt.Sprintf("%d extents wait to be healed", h.Healing))
	}
	h.Scrub = s.scrubHealth()
	if n := h.Scrub.DamagedAll; n > 0 {
		h.Degraded = true
		note(fmt.Sprintf("%d chunks or files are damaged for good: see scrub", n))
	}
	h.Garbage = s.garbage.Load()
	h.Stuck = s.io.Stuck()
	h.Files, h.MaxFiles = s.extents.OpenFiles()
	if err := s.writable(); err != nil {
		h.Writable = false
		note(err.Error())
	}
	return h
}
