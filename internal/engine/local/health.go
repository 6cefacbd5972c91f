package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
	d, status := s.disks.disks[i], &s.statuses[i]
	u, err := s.opts.FS.GetDiskUsage(d.dir)
	switch {
	case err == nil:
		status.usage.Store(&u)
	case errors.Is(err, vfs.ErrUnsupported):
		err = nil
	default:
		err = fmt.Errorf("its file system does not tell its room: %w", err)
	}
	for _, sub := range []string{metaDir, extentDir} {
		if _, serr := s.opts.FS.Stat(s.opts.FS.PathJoin(d.dir, sub)); errors.Is(serr, errOtherDisk) {
			err = serr
			s.lose(d.dir, err)
		}
	}
	switch b, rerr := diskio.ReadFile(s.opts.FS, s.opts.FS.PathJoin(d.dir, formatName)); {
	case errors.Is(rerr, fs.ErrNotExist):
		err = fmt.Errorf("%s is gone from it: the directory was removed, or its disk unmounted", formatName)
		s.lose(d.dir, err)
	case errors.Is(rerr, errOtherDisk):
		err = rerr
		s.lose(d.dir, err)
	case rerr != nil:
		err = fmt.Errorf("it cannot be read: %w", rerr)
	default:
		if f, _, derr := decodeFormat(b); derr == nil && (f.store != s.disks.store || f.disk != s.disks.ids[i]) {
			err = errOtherDisk
			s.lose(d.dir, err)
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
		s.log.Error("a disk is in trouble", zap.String("dir", d.dir), zap.Error(err))
	case err == nil && was != nil:
		status.trouble.Store(nil)
		s.log.Info("a disk is well again", zap.String("dir", d.dir))
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
	for i, d := range s.disks.disks {
		dh := &h.Disks[i]
		dh.Path = d.dir
		if u := s.statuses[i].usage.Load(); u != nil {
			dh.Free, dh.Total = u.AvailBytes, u.TotalBytes
		}
		if d.detail != "" {
			dh.OK, dh.Detail = false, d.detail
		}
		if text := s.statuses[i].trouble.Load(); text != nil && dh.OK {
			dh.OK, dh.Detail = false, *text
			h.Degraded = true
			note(fmt.Sprintf("%s: %s", d.dir, *text))
		}
	}
	if n := s.disks.lagging(); n > 0 {
		h.Degraded = true
		note(fmt.Sprintf("metadata is on %d of %d disks; a start with all of them fills the others", s.disks.m+1-n, s.disks.m+1))
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
