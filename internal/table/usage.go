package table

import (
	"bytes"
	"encoding/binary"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/table/entity"
	"github.com/blobd/blobd/internal/usage"
)

// CountUse is the usage.Source of tables. What it adds is what transactions count: of each entity its key and its row.
func CountUse(r engine.Reader, add func(p *usage.Place, n engine.Amount, buried bool)) error {
	places, buried := map[uint64]*usage.Place{}, map[uint64]bool{}
	place := func(key []byte, generation uint64) {
		account, _, _ := bytes.Cut(key[1:], []byte{0})
		places[generation] = &usage.Place{Service: usage.Tables, Account: string(account), Generation: generation}
	}
	if err := usage.Each(r, engine.SpaceTable, func(key, v []byte) error {
		t, err := decodeRecord(v)
		place(key, t.generation)
		return err
	}); err != nil {
		return err
	}
	if err := usage.Each(r, engine.SpaceTableQueue, func(key, v []byte) error {
		partition, generation, err := splitQueueKey(key)
		if err == nil {
			place(partition, generation)
			buried[generation] = true
		}
		return err
	}); err != nil {
		return err
	}
	prefix := len(entity.AppendTablePrefix(nil, 0))
	return usage.Each(r, engine.SpaceEntity, func(key, v []byte) error {
		if len(key) < prefix {
			return errRecord
		}
		g := binary.BigEndian.Uint64(key[prefix-8:])
		if p := places[g]; p != nil {
			add(p, engine.Amount{Bytes: int64(len(key) + entity.Row(v).Size()), Objects: 1}, buried[g])
		}
		return nil
	})
}
