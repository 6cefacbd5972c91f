// Package keyspace tells what a store keeps, key by key, in words: a key is its space, a slash, and what it is of, as account/container/blob.
// Secrets are not told.
package keyspace

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/inspect"
	"github.com/blobd/blobd/internal/engine/local"
	"github.com/blobd/blobd/internal/table"
)

// spaces are told in this order.
var spaces = []struct {
	space engine.Space
	name  string
}{
	{engine.SpaceSystem, "system"}, {engine.SpaceAccount, "account"}, {engine.SpaceResource, "resource"}, {engine.SpaceRestore, "restore"},
	{engine.SpaceContainer, "container"}, {engine.SpaceBlob, "blob"}, {engine.SpaceBlobHistory, "history"}, {engine.SpaceBlobData, "data"},
	{engine.SpaceBlock, "block"}, {engine.SpacePage, "page"}, {engine.SpaceBlobTag, "tag"}, {engine.SpaceBlobQueue, "work"}, {engine.SpaceUncommitted, "uncommitted"},
	{engine.SpaceTable, "table"}, {engine.SpaceEntity, "entity"}, {engine.SpaceTableQueue, "tablework"}, {engine.SpaceEntityPart, "part"},
}

// Spaces are the names of the spaces.
func Spaces() (names []string) {
	for _, s := range spaces {
		names = append(names, s.name)
	}
	return names
}

// Store is an engine that shows all of its key space.
type Store interface {
	Audit(ctx context.Context, fn func(r engine.Reader, owners func(visit func(ref engine.Ref, n int64) error) error) error) error
}

// List tells of the keys that begin with a prefix, in words. Of the names of containers and tables it keeps about 200 bytes each in memory.
func List(ctx context.Context, s Store, prefix string, visit inspect.Visit) error {
	space, _, one := strings.Cut(prefix, "/")
	if one && !slices.Contains(Spaces(), space) {
		return fmt.Errorf("there are no keys of kind %q: there are those of %s", space, strings.Join(Spaces(), ", "))
	}
	return s.Audit(ctx, func(r engine.Reader, _ func(func(engine.Ref, int64) error) error) error {
		l := &lister{names: map[uint64]string{}}
		if err := l.learn(ctx, r); err != nil {
			return err
		}
		for _, sp := range spaces {
			if one && sp.name != space || !strings.HasPrefix(sp.name, space) {
				continue
			}
			if err := scan(ctx, r, sp.space, func(key, value []byte) error {
				i := l.tell(sp.space, key, value)
				if i.What = sp.name + "/" + i.What; !strings.HasPrefix(i.What, prefix) {
					return nil
				}
				i.What = inspect.Text(i.What)
				return visit(i)
			}); err != nil {
				return err
			}
		}
		return nil
	})
}

func scan(ctx context.Context, r engine.Reader, space engine.Space, visit func(key, value []byte) error) error {
	it := r.Scan(space, nil, nil)
	var err error
	for err == nil && it.Next() {
		var v []byte
		if v, err = it.Value(); err == nil {
			err = errors.Join(ctx.Err(), visit(it.Key(), v))
		}
	}
	return errors.Join(err, it.Close())
}

// lister puts keys into words.
type lister struct {
	names map[uint64]string // account/container and account/table, by generation
}

// learn reads what generations are of.
func (l *lister) learn(ctx context.Context, r engine.Reader) error {
	if err := scan(ctx, r, engine.SpaceContainer, func(key, v []byte) error {
		var c record.Container
		if c.Decode(string(v)) == nil {
			l.names[uint64(c.Generation)] = names(key, 2)
		}
		return nil
	}); err != nil {
		return err
	}
	return scan(ctx, r, engine.SpaceTable, func(key, v []byte) error {
		if generation, name, _, err := table.Tell(v); err == nil && len(key) > 1 {
			l.names[generation] = names(key[1:], 1) + "/" + name
		}
		return nil
	})
}

// names joins the first n names of a key, each of which ends with 00.
func names(key []byte, n int) string {
	parts := strings.SplitN(string(key), "\x00", n+1)
	return strings.Join(parts[:min(n, len(parts))], "/")
}

// Tell tells of one entry of a space of that name, nil if there is no such space; containers and tables have no names then.
func Tell(space string, key, value []byte) *inspect.Item {
	for _, s := range spaces {
		if s.name == space {
			i := (&lister{}).tell(s.space, key, value)
			i.What = inspect.Text(s.name + "/" + i.What)
			return i
		}
	}
	return nil
}

// of names what a generation is of.
func (l *lister) of(generation uint64) string {
	if name, ok := l.names[generation]; ok {
		return name
	}
	return fmt.Sprintf("(deleted %016x)", generation)
}

// blob names the blob whose partition a key begins with.
func (l *lister) blob(key []byte) (words string, rest []byte, ok bool) {
	name, n, ok := record.SplitKey(key)
	if !ok {
		return "", nil, false
	}
	return l.of(binary.BigEndian.Uint64(key)) + "/" + string(name), key[n:], true
}

// tell puts an entry into words: What is the key, without the name of its space.
func (l *lister) tell(space engine.Space, key, value []byte) *inspect.Item {
	i := inspect.New("", -1, int64(len(value)))
	malformed := func() *inspect.Item {
		i.What = inspect.Text(key)
		return i.Bad("the key is malformed")
	}
	switch space {
	case engine.SpaceSystem:
		words, i := local.TellSystem(key, value)
		i.What = words
		return i
	case engine.SpaceAccount, engine.SpaceResource:
		i.What = string(key)
		document(i, value)
		return i
	case engine.SpaceContainer:
		i.What = names(key, 2)
		if rest := strings.SplitN(string(key), "\x00", 3); len(rest) == 3 && len(rest[2]) == 8 {
			i.What += " deleted " + stamp([]byte(rest[2]))
		}
		var c record.Container
		if err := c.Decode(string(value)); err != nil {
			return i.Bad("%v", err)
		}
		i.Facts = inspect.Of(&c)
		return i
	case engine.SpaceBlob, engine.SpaceBlobHistory, engine.SpaceBlobData, engine.SpaceUncommitted:
		words, rest, ok := l.blob(key)
		slot, isSlot := record.ParseSlot(rest)
		if !ok || len(rest) > 0 && !isSlot {
			return malformed()
		}
		i.What = words
		switch slot.Kind {
		case record.SlotSnapshot:
			i.What += " snapshot " + inspect.Text(slot.Stamp)
		case record.SlotVersion:
			i.What += " version " + inspect.Text(slot.Stamp)
		case record.SlotDeleted:
			i.What += " deleted " + inspect.Text(slot.Stamp)
		}
		if space == engine.SpaceBlob || space == engine.SpaceBlobHistory {
			var b record.Blob
			if err := b.Decode(string(value)); err != nil {
				return i.Bad("%v", err)
			}
			i.Facts = inspect.Of(&b)
		}
		return i
	case engine.SpaceBlock:
		return l.block(i, key, value)
	case engine.SpacePage:
		return l.page(i, key, value)
	case engine.SpaceBlobTag:
		account, rest, ok := record.CutZero(key)
		if !ok || len(rest) < 8 {
			return malformed()
		}
		tag, name, ok := record.ParseTagKey(rest[8:])
		if !ok {
			return malformed()
		}
		i.What = fmt.Sprintf("%s/%s=%s/%s", l.of(binary.BigEndian.Uint64(rest)), tag.Name, tag.Value, name)
		if _, known := l.names[binary.BigEndian.Uint64(rest)]; !known {
			i.What = string(account) + "/" + i.What
		}
		return i
	case engine.SpaceBlobQueue:
		w, ok := record.ParseWork(key, value)
		if !ok {
			return malformed()
		}
		if words, rest, isBlob := l.blob(w.Partition); isBlob && len(rest) == 0 {
			i.What = words
		} else {
			i.What = names(w.Partition, 2)
		}
		i.What += fmt.Sprintf(" kind %d of %s", w.Kind, inspect.Text(w.Stamp)) // what a copy needs may be secret
		return i
	case engine.SpaceTable, engine.SpaceTableQueue, engine.SpaceEntity, engine.SpaceEntityPart:
		words, ok := table.TellKey(space, key, l.of)
		if !ok {
			return malformed()
		}
		i.What = words
		if err := table.TellValue(space, value, i); err != nil {
			i.Bad("%v", err)
		}
		return i
	}
	i.What = inspect.Text(key)
	return i
}

func stamp(b []byte) string { return inspect.Text(engine.Stamp(binary.BigEndian.Uint64(b))) }

// block tells of a chunk list or of uncommitted blocks.
func (l *lister) block(i *inspect.Item, key, value []byte) *inspect.Item {
	words, rest, ok := l.blob(key)
	if !ok || len(rest) == 0 {
		i.What = inspect.Text(key)
		return i.Bad("the key is malformed")
	}
	i.What = words
	piece := func(p *record.Piece) bool {
		f := inspect.Facts{{Name: "at", Value: p.Ref}, {Name: "bytes", Value: p.Size}}
		if p.First {
			f = append(f, inspect.Fact{Name: "begins block", Value: []byte(p.Block)})
		}
		i.Add("chunk", f)
		return true
	}
	var err error
	switch kind := rest[0]; {
	case kind == record.KeyContentPage && len(rest) == 17:
		i.What += fmt.Sprintf(" list %s from %d", stamp(rest[1:9]), binary.BigEndian.Uint64(rest[9:]))
		err = record.VisitPage(string(value), piece)
	case kind == record.KeyContentHead && len(rest) == 9:
		i.What += " sharers of " + stamp(rest[1:])
		if n, ok := record.DecodeCount(value); ok {
			i.Add("records", n)
		} else {
			i.Bad("the count is malformed")
		}
	case kind == record.KeyPendingBlock && len(rest) > 9:
		i.What += fmt.Sprintf(" uncommitted since %s block %x", stamp(rest[1:9]), rest[9:])
		var chunks []engine.Chunk
		if chunks, _, err = record.DecodeBlockChunks(string(value)); err == nil {
			for _, c := range chunks {
				piece(&record.Piece{Chunk: c})
			}
		}
	case string(key) == string(record.PendingKey(key[:len(key)-len(rest)])):
		i.What += " uncommitted blocks"
		var h record.Pending
		if err = h.Decode(string(value)); err == nil {
			i.Facts = inspect.Of(&h)
		}
	default:
		i.What += " " + inspect.Text(rest)
		i.Bad("no key of this kind is known")
	}
	if err != nil {
		i.Bad("%v", err)
	}
	return i
}

// page tells of a page map, of a layer or of a range.
func (l *lister) page(i *inspect.Item, key, value []byte) *inspect.Item {
	words, rest, ok := l.blob(key)
	if !ok || len(rest) < 9 {
		i.What = inspect.Text(key)
		return i.Bad("the key is malformed")
	}
	i.What = words
	switch kind := rest[0]; {
	case kind == record.KeyPageMap && len(rest) == 9:
		i.What += " map " + stamp(rest[1:])
		layers, err := record.DecodeLayers(value)
		if err != nil {
			i.Bad("%v", err)
		}
		for _, s := range layers {
			i.Add("layer", s)
		}
	case kind == record.KeyPageRange && len(rest) == 17:
		from := int64(binary.BigEndian.Uint64(rest[9:]))
		i.What += fmt.Sprintf(" layer %s from %d", stamp(rest[1:9]), from)
		var r record.PageRange
		if err := r.Decode(from, value); err != nil {
			return i.Bad("%v", err)
		}
		i.Add("to", r.To)
		if r.Kind == record.PageChunk {
			i.Add("chunk", r.Ref).Add("from byte", r.Offset)
		}
	case len(rest) == 9:
		i.What += " maps of layer " + stamp(rest[1:])
	default:
		i.Bad("no key of this kind is known")
	}
	return i
}

// secret are members of documents that are not told.
var secret = map[string]bool{"secrets": true, "sealed": true, "key": true}

// document tells of a JSON object behind a version byte.
func document(i *inspect.Item, value []byte) {
	var members map[string]json.RawMessage
	if len(value) == 0 || json.Unmarshal(value[1:], &members) != nil {
		i.Bad("it is no version and JSON object")
		return
	}
	i.Add("version", int(value[0]))
	keys := make([]string, 0, len(members))
	for k := range members {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		if secret[k] {
			i.Add(k, "(not told)")
		} else {
			i.Add(k, string(members[k]))
		}
	}
}
