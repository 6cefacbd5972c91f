// Package storetest looks at what the Blob service has left in a store, for tests of the service and of its wire.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/blobd/blobd/internal/engine"
)

// NothingKept checks that no blob of account "acct" has left an entry, and that nothing is counted as used.
func NothingKept(store engine.Store) error {
	return store.View(context.Background(), nil, func(r engine.Reader) error {
		err := r.Counters([]byte("hb"), func(key []byte, n engine.Amount) error {
			if n != (engine.Amount{}) && key[len(key)-1] != 'd' {
				return fmt.Errorf("%+v is counted as used: %q", n, key)
			}
			return nil
		})
		for _, space := range []engine.Space{engine.SpaceBlob, engine.SpaceBlobHistory, engine.SpaceBlobData, engine.SpaceBlock, engine.SpacePage, engine.SpaceBlobTag, engine.SpaceBlobQueue, engine.SpaceUncommitted} {
			it := r.Scan(space, nil, nil)
			for it.Next() {
				err = errors.Join(err, fmt.Errorf("left in space %#x: %q", byte(space), it.Key()))
			}
			err = errors.Join(err, it.Close())
		}
		return err
	})
}

// OwnedChunks counts the chunks that have an owner other than a forward of the collector.
func OwnedChunks(t testing.TB, store engine.Store) (n int) {
	t.Helper()
	owners := store.(interface {
		Owners(ctx context.Context, fn func(ref engine.Ref, n int64) error) error
	})
	err := owners.Owners(context.Background(), func(ref engine.Ref, owners int64) error {
		if n++; owners <= 0 {
			return fmt.Errorf("%d owners of %v", owners, ref)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
