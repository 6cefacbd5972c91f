package blob

import (
	"context"

	"github.com/blobd/blobd/internal/engine"
)

// locatePages finds the wanted bytes of a page blob.
func (rd *reading) locatePages(engine.Reader, *place) error { return errContent }

// sweepOther does what the features built on the core have left to the sweeper.
func (s *Service) sweepOther(context.Context, *place, *work) error { return nil }
