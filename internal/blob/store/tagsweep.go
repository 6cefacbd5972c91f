package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/tagquery"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/view"
)

// tagBatch is how many hints the sweep of the tag index looks at in one short read.
const tagBatch = 256

// SweepTags goes through the tag index once and puts counts right that a crash left too high. Only a crash, or a store that failed,
// leaves such counts, so once in a process is enough.
//
// A hint that looks wrong is looked at again in a transaction on the index, which no writer's counting can pass: the blob is read
// first and then whether a write of its name with tags is under way. If none is, then one that begins later counts its hints up
// after this transaction, and one that takes tags away finds them counted as the blob that was read has them.
func (s *Service) SweepTags(ctx context.Context) error {
	var failed error
	for from, more := []byte(nil), true; more; {
		var doubtful [][]byte
		if err := ctx.Err(); err != nil {
			return err
		}
		err := s.store.View(ctx, from, func(r engine.Reader) error {
			it := r.Scan(engine.SpaceBlobTag, from, nil)
			defer it.Close()
			n := 0
			for more = it.Next(); more && n < tagBatch; more = it.Next() {
				n++
				key := append([]byte(nil), it.Key()...)
				from = append(key, 0)[:len(key)+1]
				v, err := it.Value()
				if err != nil {
					return err
				}
				h, err := parseHint(key)
				if err != nil {
					failed = errors.Join(failed, err)
					continue
				}
				if owned, err := h.owned(r); err != nil {
					return err
				} else if n, _ := record.DecodeCount(v); !owned || n != 1 {
					doubtful = append(doubtful, key)
				}
			}
			return it.Close()
		})
		for i := 0; i < len(doubtful) && err == nil; i++ {
			err = s.correctHint(ctx, doubtful[i])
		}
		if err != nil {
			return errors.Join(failed, err)
		}
	}
	return failed
}

// hint is an entry of the tag index.
type hint struct {
	partition []byte
	place     *place
	tag       protocol.Pair
}

func parseHint(key []byte) (h hint, err error) {
	i := bytes.IndexByte(key, 0)
	if i < 0 || len(key) < i+9 {
		return h, fmt.Errorf("tag index entry %q: %w", key, record.ErrBlob)
	}
	h.partition = key[: i+9 : i+9]
	tag, name, ok := record.ParseTagKey(key[i+9:])
	if !ok {
		return h, fmt.Errorf("tag index entry %q: %w", key, record.ErrBlob)
	}
	h.tag, h.place = tag, newPlace(nil, record.Generation(binary.BigEndian.Uint64(key[i+1:])), name)
	return h, nil
}

// owned tells whether the current blob has the tag.
func (h *hint) owned(r engine.Reader) (bool, error) {
	rec, err := getRecord(r, h.place, record.Slot{})
	if rec == nil || err != nil {
		return false, err
	}
	v, ok := tagquery.Value(rec.Tags, h.tag.Name)
	return ok && v == h.tag.Value, nil
}

// correctHint sets the count of a hint to what it is, unless a write of the blob is under way.
func (s *Service) correctHint(ctx context.Context, key []byte) error {
	h, err := parseHint(key)
	if err != nil {
		return err
	}
	return s.store.Update(ctx, h.partition, func(tx engine.Tx) error {
		owned, err := h.owned(tx)
		if err != nil || s.tagging.Has(view.String(h.place.key)) {
			return err
		}
		if owned {
			tx.Set(engine.SpaceBlobTag, key, binary.AppendUvarint(nil, 1))
		} else {
			tx.Delete(engine.SpaceBlobTag, key)
		}
		return nil
	})
}
