package local

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// kind maps an error of Pebble or of the file system to the engine's that callers look for: ErrCorrupt, ErrNoSpace, ErrUnavailable, ErrBusy.
func kind(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, engine.ErrCorrupt), errors.Is(err, engine.ErrNoSpace), errors.Is(err, engine.ErrUnavailable):
		return err
	case diskio.Excuse(err) != nil:
		return diskio.Kind(err)
	case pebble.IsCorruptionError(err):
		return fmt.Errorf("%w: %w", engine.ErrCorrupt, err)
	}
	return err
}
