package table

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/inspect"
	"github.com/blobd/blobd/internal/table/entity"
)

// Tell decodes the record of a table.
func Tell(value []byte) (generation uint64, name string, policies []auth.Policy, err error) {
	r, err := decodeRecord(value)
	return r.generation, r.name, r.policies, err
}

// TellKey puts a key of one of the spaces of tables into words; of names the table with a generation.
func TellKey(space engine.Space, key []byte, of func(generation uint64) string) (words string, ok bool) {
	switch space {
	case engine.SpaceTable, engine.SpaceTableQueue:
		at := key
		if space == engine.SpaceTableQueue {
			partition, generation, err := splitQueueKey(key)
			if err != nil {
				return "", false
			}
			at, words = partition, fmt.Sprintf(" deleted %016x", generation)
		}
		parts := strings.Split(string(at), "\x00")
		if len(parts) != 3 || !strings.HasPrefix(parts[0], "t") || parts[2] != "" {
			return "", false
		}
		return parts[0][1:] + "/" + parts[1] + words, true
	}
	if space == engine.SpaceEntityPart {
		if len(key) < 2 {
			return "", false
		}
		words = fmt.Sprintf(" part %d", key[len(key)-1])
		key = key[:len(key)-2]
	}
	pk, rk, ok := entity.SplitKey(key)
	if !ok || len(key) < 9 {
		return "", false
	}
	return of(binary.BigEndian.Uint64(key[1:])) + "/" + string(entity.AppendDecoded(nil, pk)) + "/" + string(entity.AppendDecoded(nil, rk)) + words, true
}

// TellValue tells of a value in one of the spaces of tables.
func TellValue(space engine.Space, value []byte, i *inspect.Item) error {
	switch space {
	case engine.SpaceTable:
		r, err := decodeRecord(value)
		if err != nil {
			return err
		}
		i.Add("name", r.name).Add("generation", fmt.Sprintf("%016x", r.generation))
		for _, p := range r.policies {
			i.Add("policy", inspect.Of(&p))
		}
	case engine.SpaceEntity:
		row := entity.Row(value)
		if err := row.Check(); err != nil {
			return err
		}
		i.Add("Timestamp", row.Stamp())
		if n, err := row.Parts(); err != nil || n > 0 {
			i.Add("parts", n)
			return err
		}
		props := row.Properties()
		for props.Next() {
			v := props.Value()
			i.Add(string(props.Name()), tellProperty(v))
		}
		return props.Err()
	}
	return nil
}

func tellProperty(v entity.Value) any {
	switch v.Type {
	case entity.Binary:
		return []byte(v.Data)
	case entity.Guid:
		return string(entity.AppendGuid(nil, v.Data))
	case entity.Boolean:
		return v.Bits != 0
	case entity.Int32, entity.Int64:
		return v.Int()
	case entity.Double:
		return string(entity.AppendDouble(nil, v.Float()))
	case entity.DateTime:
		return engine.Stamp(v.Bits)
	}
	return strings.Clone(v.Data)
}
