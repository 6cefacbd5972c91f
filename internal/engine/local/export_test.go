package local

import (
	"context"
	"io"
	"time"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskset"
	"github.com/blobd/blobd/internal/engine/local/scrub"
)

// CheckSpace looks at the disks now, and not when the second is over.
func (s *Store) CheckSpace() { s.space.Check() }

// Idle waits for the repairs under way.
func (s *Store) Idle() {
	s.extents.Idle()
	if s.meta != nil {
		s.meta.Wait()
	}
}

// Collected waits for the collection of the start.
func (s *Store) Collected() { <-s.collected }

// OpenAt opens a chunk that was found at a place some time ago.
func (s *Store) OpenAt(ctx context.Context, ref, at engine.Ref, offset, length int64) (io.ReadCloser, error) {
	return s.openAt(ref, at, func(at engine.Ref) (io.ReadCloser, error) { return s.extents.Open(ctx, at, offset, length) })
}

// Place returns where a chunk lies.
func (s *Store) Place(ref engine.Ref) (engine.Ref, error) { return s.resolve(ref) }

// DropCounts is told that chunks without owner have lost their extent.
func (s *Store) DropCounts(dead ...engine.Ref) error { return s.dropCounts(dead) }

// Look lets time pass for the operations on a disk; see diskio.FS.Look.
func (s *Store) Look(dir string) { s.io.Look(dir) }

// Out tells why a disk is out of use.
func (s *Store) Out(dir string) error { return s.io.Out(dir) }

// Held tells why metadata is held up.
func (s *Store) Held() error { return s.state.held() }

// LookAtDisk looks at a disk now, and not when its time has come.
func (s *Store) LookAtDisk(i int) { s.lookAt(i) }

// InUse tells whether content goes on a disk.
func (s *Store) InUse(dir string) bool {
	for _, d := range s.Health().Disks {
		if d.Path == dir {
			return d.OK
		}
	}
	return false
}

// ScrubPass makes a pass of the scrub, or the rest of one, and tells what it found.
func (s *Store) ScrubPass(ctx context.Context) (scrub.Found, error) {
	err := s.scrubber.Pass(ctx)
	return s.scrubber.Status().Read, err
}

// Reclaim makes room now.
func (s *Store) Reclaim(ctx context.Context) error { return s.reclaim(ctx) }

// BePatient sets how long a transaction waits that frees space.
func (s *Store) BePatient(d time.Duration) { s.patience = d }

// Lagging is how many of the disks that are to have the metadata have it not.
func (s *Store) Lagging() int { return s.disks.Lagging() }

// Replicas is how many of so many disks have the metadata.
func Replicas(disks int) int {
	_, m := diskset.Width(disks)
	return m + 1
}

// Keep is what writers leave free on each disk.
func (s *Store) Keep() int64 { return s.space.Keep }
