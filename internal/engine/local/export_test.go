package local

// CheckSpace looks at the disks now, and not when the second is over.
func (s *Store) CheckSpace() { s.checkSpace() }

// Idle waits for the repairs under way.
func (s *Store) Idle() {
	s.extents.Idle()
	if s.meta != nil {
		s.meta.Wait()
	}
}
