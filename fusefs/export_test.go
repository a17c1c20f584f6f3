package fusefs

// Slot is where a worker's request is.
func (s *Shared) Slot(n int) []byte { return s.slot(n) }
