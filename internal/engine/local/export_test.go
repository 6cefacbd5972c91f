package local

import (
	"context"
	"io"

	"github.com/blobd/blobd/internal/engine"
)

// CheckSpace looks at the disks now, and not when the second is over.
func (s *Store) CheckSpace() { s.checkSpace() }

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
	return s.openAt(ctx, ref, at, offset, length)
}

// Place returns where a chunk lies.
func (s *Store) Place(ref engine.Ref) (engine.Ref, error) { return s.resolve(ref) }

// Bury is told that chunks without owner have lost their extent.
func (s *Store) Bury(dead ...engine.Ref) error { return s.bury(dead) }
