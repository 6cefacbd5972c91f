package local

import (
	"bytes"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/invariants"
)

// GetEach implements engine.Reader. One iterator serves all keys. It is never let go beyond the key sought, so that it does not
// walk over what was deleted between two of them; where it stands on a later entry, the keys before that need no seek.
func (r *reader) GetEach(space engine.Space, keys [][]byte, fn func(i int, value []byte) error) (err error) {
	if len(keys) == 0 {
		return nil
	}
	upper := append(append([]byte{byte(space)}, keys[len(keys)-1]...), 0)
	it, err := r.src.NewIter(&pebble.IterOptions{LowerBound: r.stored(space, keys[0]), UpperBound: upper})
	if err != nil {
		return fmt.Errorf("get: %w", kind(err))
	}
	defer func() {
		if closeErr := it.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("get: %w", kind(closeErr))
		}
	}()
	for i, key := range keys {
		at := r.stored(space, key)
		r.key = append(at, 0)
		switch it.SeekGEWithLimit(at, r.key) {
		case pebble.IterExhausted:
			return nil // Close tells whether it is the end
		case pebble.IterValid:
			value, err := it.ValueAndErr()
			if err != nil {
				return fmt.Errorf("get: %w", kind(err))
			}
			if invariants.Enabled {
				value = bytes.Clone(value)
			}
			err = fn(i, value)
			invariants.Overwrite(value)
			if err != nil {
				return err
			}
		}
	}
	return nil
}
