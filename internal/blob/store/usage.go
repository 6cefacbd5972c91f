package store

import (
	"encoding/binary"
	"fmt"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/usage"
	"github.com/blobd/blobd/internal/view"
)

// CountUse is the usage.Source of blobs. What it adds is what transactions count: of each record its size, but for a snapshot's, which
// shares the content, and of each uncommitted block. Contents of containers that are deleted and not yet swept are counted too.
func CountUse(r engine.Reader, add func(p *usage.Place, n engine.Amount, buried bool)) error {
	places, buried := map[record.Generation]*usage.Place{}, map[record.Generation]bool{}
	place := func(account []byte, g record.Generation) {
		p := containerPlace(string(account), g)
		places[g] = &p
	}
	if err := usage.Each(r, engine.SpaceContainer, func(key, v []byte) error {
		account, _, _ := record.CutZero(key)
		var c record.Container
		err := c.Decode(view.String(v))
		place(account, c.Generation)
		return err
	}); err != nil {
		return err
	}
	if err := usage.Each(r, engine.SpaceBlobQueue, func(key, v []byte) error {
		if w, ok := record.ParseWork(key, v); ok && w.Kind == record.WorkContainer {
			account, _, _ := record.CutZero(w.Partition)
			place(account, record.Generation(w.Stamp))
			buried[record.Generation(w.Stamp)] = true
		}
		return nil
	}); err != nil {
		return err
	}
	count := func(space engine.Space, of func(rest, v []byte) (engine.Amount, error)) error {
		return usage.Each(r, space, func(key, v []byte) error {
			_, n, ok := record.SplitKey(key)
			if !ok {
				return fmt.Errorf("the key %q: %w", key, record.ErrBlob)
			}
			amount, err := of(key[n:], v)
			g := record.Generation(binary.BigEndian.Uint64(key))
			if p := places[g]; p != nil && err == nil {
				add(p, amount, buried[g])
			}
			return err
		})
	}
	sized := func(rest, v []byte) (engine.Amount, error) {
		var rec record.Blob
		err := rec.Decode(view.String(v))
		return engine.Amount{Bytes: rec.Size, Objects: 1}, err
	}
	if err := count(engine.SpaceBlob, sized); err != nil {
		return err
	}
	if err := count(engine.SpaceBlobHistory, func(rest, v []byte) (engine.Amount, error) {
		if slot, ok := record.ParseSlot(rest); !ok || slot.Kind == record.SlotSnapshot {
			return engine.Amount{Objects: 1}, nil
		}
		return sized(rest, v)
	}); err != nil {
		return err
	}
	return count(engine.SpaceBlock, func(rest, v []byte) (n engine.Amount, err error) {
		if len(rest) > 0 && rest[0] == record.KeyPendingBlock {
			_, n.Bytes, err = record.DecodeBlockChunks(view.String(v))
		}
		return n, err
	})
}
