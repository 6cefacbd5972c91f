package blob

import (
	"github.com/blobd/blobd/internal/engine"
)

// maxBlockID is the longest block id, decoded, in bytes.
const maxBlockID = 64

// Service is the Blob service of all accounts. It is safe for concurrent use.
type Service struct {
	store engine.Store
	work  chan struct{} // one token: the sweeper has something to do
	pins  pagePins
}

// wake tells the sweeper that there is work. A token that is there already will do.
func (s *Service) wake() {
	select {
	case s.work <- struct{}{}:
	default:
	}
}
