package local

// CheckSpace looks at the disks now, and not when the second is over.
func (s *Store) CheckSpace() { s.checkSpace() }
