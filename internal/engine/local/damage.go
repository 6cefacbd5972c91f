package local

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/extent"
)

// damages is what a scrub could not bring back. It is kept in the store, so that each is told of once, and known after a restart.
type damages struct {
	mu    sync.Mutex
	all   map[string][]string // names of what is kept there, by key: damagedChunk + Ref, or damagedFile + name
	namer func(ctx context.Context, refs []engine.Ref) map[engine.Ref][]string
}

const (
	damagedChunk = 'c'
	damagedFile  = 'f'

	maxDamages = 100      // that are listed
	maxNames   = 16       // of what is kept in one chunk
	maxNameLen = 2 << 10  // bytes of a name that is kept
	sysNames   = 30 << 10 // bytes of all names of a chunk
)

// NameChunks sets who can tell what is kept in chunks.
func (s *Store) NameChunks(namer func(ctx context.Context, refs []engine.Ref) map[engine.Ref][]string) {
	s.damage.mu.Lock()
	defer s.damage.mu.Unlock()
	s.damage.namer = namer
}

// describe puts a key into words.
func describe(key string) string {
	if key[0] == damagedChunk {
		ref := engine.Ref([]byte(key[1:]))
		return fmt.Sprintf("chunk %x of %d bytes in extent %016x", ref[:], extent.Size(ref), extent.ID(ref))
	}
	return key[1:]
}

// load reads what is known at a start.
func (d *damages) load(s *Store) error {
	d.all = make(map[string][]string)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: systemKey(sysDamaged, nil), UpperBound: systemKey(sysDamaged+1, nil)})
	if err != nil {
		return kind(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		key := string(it.Key()[2:])
		if len(key) < 2 || key[0] == damagedChunk && len(key) != 1+len(engine.Ref{}) {
			continue
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(kind(err), it.Close())
		}
		d.all[key] = decodeNames(v)
	}
	return kind(it.Close())
}

func encodeNames(names []string) (b []byte) {
	for _, name := range names {
		name = name[:min(len(name), maxNameLen)]
		if len(b)+len(name) > sysNames {
			break
		}
		b = append(binary.AppendUvarint(b, uint64(len(name))), name...)
	}
	return b
}

func decodeNames(b []byte) (names []string) {
	for len(b) > 0 {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			return names
		}
		names = append(names, string(b[w:w+int(n)]))
		b = b[w+int(n):]
	}
	return names
}

// list returns the first of what is damaged, and how much there is.
func (d *damages) list() (list []engine.Damage, all int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.all) == 0 {
		return nil, 0
	}
	keys := slices.Sorted(maps.Keys(d.all))
	for _, key := range keys[:min(len(keys), maxDamages)] {
		list = append(list, engine.Damage{What: describe(key), Names: d.all[key]})
	}
	return list, len(keys)
}

// in tells whether something is known to be damaged in an extent.
func (d *damages) in(id uint64) bool { return len(d.known(chunkPrefix(id))) > 0 }

func chunkPrefix(id uint64) string {
	return string(binary.BigEndian.AppendUint64([]byte{damagedChunk}, id))
}

func (d *damages) known(prefix string) (keys []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key := range d.all {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	return keys
}

// chunks notes which chunks of an extent are damaged; others that were are not any more.
func (d *damages) chunks(ctx context.Context, s *Store, id uint64, bad []engine.Ref) error {
	var keys []string
	for _, ref := range bad {
		keys = append(keys, string(damagedChunk)+string(ref[:]))
	}
	d.mu.Lock()
	namer := d.namer
	d.mu.Unlock()
	return d.set(s, chunkPrefix(id), keys, func(fresh []string) map[string][]string {
		if namer == nil {
			return nil
		}
		var refs []engine.Ref
		for _, key := range fresh {
			refs = append(refs, engine.Ref([]byte(key[1:])))
		}
		named := make(map[string][]string)
		for ref, names := range namer(ctx, refs) {
			named[string(damagedChunk)+string(ref[:])] = names[:min(len(names), maxNames)]
		}
		return named
	})
}

// files notes which files of the metadata are damaged.
func (d *damages) files(s *Store, bad []string) error {
	keys := make([]string, len(bad))
	for i, name := range bad {
		keys[i] = string(damagedFile) + name
	}
	return d.set(s, string(damagedFile), keys, func([]string) map[string][]string { return nil })
}

// sweep forgets chunks that nobody owns any more.
func (d *damages) sweep(s *Store) error {
	var gone []string
	for _, key := range d.known(string(damagedChunk)) {
		ref := engine.Ref([]byte(key[1:]))
		if free, err := s.gone(ref); err != nil {
			return err
		} else if free {
			gone = append(gone, key)
		}
	}
	return d.change(s, nil, gone)
}

// set makes keys what is damaged of all that begin with a prefix. What is new is told of.
func (d *damages) set(s *Store, prefix string, keys []string, name func(fresh []string) map[string][]string) error {
	known := d.known(prefix)
	gone := slices.DeleteFunc(slices.Clone(known), func(key string) bool { return slices.Contains(keys, key) })
	fresh := slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return slices.Contains(known, key) })
	added := make(map[string][]string)
	if len(fresh) > 0 {
		named := name(fresh)
		for _, key := range fresh {
			added[key] = named[key]
			s.log.Error("stored data is damaged for good: nothing is left to rebuild it from", zap.String("what", describe(key)), zap.Strings("names", named[key]))
		}
	}
	return d.change(s, added, gone)
}

// change keeps a change.
func (d *damages) change(s *Store, added map[string][]string, gone []string) error {
	if len(added)+len(gone) == 0 {
		return nil
	}
	d.mu.Lock()
	maps.Copy(d.all, added)
	for _, key := range gone {
		delete(d.all, key)
	}
	d.mu.Unlock()
	if s.state.working() != nil {
		return nil // it is found again after a restart
	}
	b := s.db.NewBatch()
	var errs []error
	for key, names := range added {
		errs = append(errs, b.Set(systemKey(sysDamaged, []byte(key)), encodeNames(names), nil))
	}
	for _, key := range gone {
		errs = append(errs, b.Delete(systemKey(sysDamaged, []byte(key)), nil))
	}
	return errors.Join(append(errs, s.commit(b), b.Close())...)
}
