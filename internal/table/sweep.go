package table

import (
	"bytes"
	"context"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/table/entity"
	"github.com/blobd/blobd/internal/usage"
)

// sweepAll empties every table in the queue.
func (s *Service) sweepAll(ctx context.Context) error {
	from := []byte{'t'}
	for {
		var key []byte
		err := s.store.View(ctx, []byte{'t'}, func(r engine.Reader) error {
			it := r.Scan(engine.SpaceTableQueue, from, []byte{'t' + 1})
			if it.Next() {
				key = bytes.Clone(it.Key())
			}
			return it.Close()
		})
		if err != nil || key == nil {
			return err
		}
		if err := s.sweepTable(ctx, key); err != nil {
			return err
		}
		from = append(key, 0)
	}
}

// sweepTable empties one table. Nobody writes below the prefix of a deleted generation any more, so the whole of it is one
// partition now, and one delete of a range empties it.
func (s *Service) sweepTable(ctx context.Context, key []byte) error {
	partition, generation, err := splitQueueKey(key)
	if err != nil {
		return err
	}
	defer s.lockName(partition)() // DeleteTable has told the ledger before
	prefix := entity.AppendTablePrefix(nil, generation)
	account, _, _ := bytes.Cut(partition[1:], []byte{0})
	place := usage.Place{Service: usage.Tables, Account: string(account), Generation: generation}
	err = s.store.Update(ctx, prefix, func(tx engine.Tx) error {
		place.Drop(tx)
		tx.DeleteRange(engine.SpaceEntity, prefix, engine.PrefixEnd(prefix))
		tx.DeleteRange(engine.SpaceEntityPart, prefix, engine.PrefixEnd(prefix))
		return nil
	})
	if err != nil {
		return err
	}
	s.usage.Dropped(&place)
	return s.store.Update(ctx, partition, func(tx engine.Tx) error {
		tx.Delete(engine.SpaceTableQueue, key)
		return nil
	})
}
