package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/usage"
)

// buryAtOnce is how many containers of a deleted account are deleted at a time: their commits share syncs.
const buryAtOnce = 32

// DeleteAccount deletes all containers of an account, leased or not, and those that are softly deleted; what was in them is left to
// the sweeper. No request for the account is under way or comes after.
func (s *Service) DeleteAccount(ctx context.Context, account string) error {
	scope := append([]byte(account), 0)
	for {
		var keys [][]byte
		err := s.store.View(ctx, scope, func(r engine.Reader) error {
			it := r.Scan(engine.SpaceContainer, scope, record.After(bytes.Clone(scope)))
			defer it.Close()
			for len(keys) < sweepBatch*buryAtOnce && it.Next() {
				keys = append(keys, bytes.Clone(it.Key()))
			}
			return it.Close()
		})
		if err != nil || len(keys) == 0 {
			return err
		}
		var work errgroup.Group
		work.SetLimit(buryAtOnce)
		for _, key := range keys {
			work.Go(func() error { return s.buryForGood(ctx, key, len(scope)) })
		}
		if err := work.Wait(); err != nil {
			return err
		}
		s.sweeper.Wake()
	}
}

// buryForGood deletes the container at a key, whose name begins at an offset and ends with a zero byte.
func (s *Service) buryForGood(ctx context.Context, key []byte, name int) error {
	end := bytes.IndexByte(key[name:], 0)
	if end < 0 {
		return fmt.Errorf("the key of a container, %q, cannot be read", key)
	}
	partition := key[:name+end+1]
	var buried usage.Place
	err := s.updateContainer(ctx, partition, func(tx engine.Tx) error {
		c, err := getContainer(tx, key)
		if errors.Is(err, protocol.ErrContainerNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		tx.Delete(engine.SpaceContainer, key)
		if len(key) > len(partition) {
			tx.Delete(engine.SpaceBlobQueue, record.AppendWorkKey(nil, partition, record.WorkContainerExpiry, engine.Stamp(c.Generation)))
		}
		buried = s.buryContainer(tx, partition, c)
		return nil
	})
	if err == nil {
		s.buried(buried)
	}
	return err
}
