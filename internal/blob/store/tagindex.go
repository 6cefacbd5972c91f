package store

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"

	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// The index of tags lies beside the blobs, in a partition of each container's own: a transaction on a blob cannot write it. So
// an entry is a hint, and the rule is that no current blob ever lacks the hints of its tags:
//
//   - before a transaction gives a blob tags, each of its hints is counted up;
//   - after a transaction took a state with tags away, each of that state's hints is counted down, and if the transaction
//     failed those that were counted up before it.
//
// Every state owns one count of each of its hints, so writers that race for one blob cannot take each other's hints away. A
// crash in between leaves a hint without an owner; a search looks at the blob before it believes a hint, and each start sweeps
// the index once (tagsweep.go).
//
//	SpaceBlobTag    account 00 generation | tag 00 value 00 name 00 01    varint count
//
// A tag holds no 00, and the name is escaped as in other keys.

// countTags counts the hints of a blob's tags up or down.
func (s *Service) countTags(ctx context.Context, p *place, tags []protocol.Pair, delta int) error {
	if len(tags) == 0 {
		return nil
	}
	partition := record.AppendTagPartition(nil, p.account.Name, p.gen)
	return s.store.Update(ctx, partition, func(tx engine.Tx) error {
		for _, tag := range tags {
			key := record.AppendTagKey(nil, partition, tag, p.name)
			n := 0
			switch v, err := tx.Get(engine.SpaceBlobTag, key); {
			case err == nil:
				c, _ := record.DecodeCount(v)
				n = int(c)
			case !errors.Is(err, engine.ErrNotFound):
				return err
			}
			if n += delta; n > 0 {
				tx.Set(engine.SpaceBlobTag, key, binary.AppendUvarint(nil, uint64(n)))
			} else {
				tx.Delete(engine.SpaceBlobTag, key)
			}
		}
		return nil
	})
}

// changeTagged is change for a transaction that gives the current blob these tags.
func (s *Service) changeTagged(ctx context.Context, p *place, tags []protocol.Pair, fn func(*txn) error) error {
	if len(tags) > 0 {
		s.tagging.Add(string(p.key), 1)
		defer s.tagging.Add(string(p.key), -1)
	}
	if err := s.countTags(ctx, p, tags, 1); err != nil {
		return err
	}
	err := s.change(ctx, p, fn)
	if err != nil {
		s.untag(ctx, p, tags)
	}
	return err
}

// untag counts hints down that have lost their owner. If that fails they stay until the next start, and searches see through them.
func (s *Service) untag(ctx context.Context, p *place, tags []protocol.Pair) {
	if err := s.countTags(context.WithoutCancel(ctx), p, tags, -1); err != nil && !errors.Is(err, engine.ErrClosed) {
		s.log.Warn("tag index", zap.Error(err))
	}
}

func samePairs(a, b []protocol.Pair) bool { return slices.Equal(a, b) }

// dropTagIndex takes the index of a dead container away.
func (s *Service) dropTagIndex(ctx context.Context, account string, g record.Generation) error {
	partition := record.AppendTagPartition(nil, account, g)
	return s.store.Update(ctx, partition, func(tx engine.Tx) error {
		tx.DeleteRange(engine.SpaceBlobTag, partition, record.After(append([]byte(nil), partition...)))
		return nil
	})
}
