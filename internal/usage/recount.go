package usage

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/blobd/blobd/internal/engine"
)

// A Source goes over all that a service has stored, and calls add for each thing with what holds it, and whether that is deleted.
type Source func(r engine.Reader, add func(p *Place, n engine.Amount, buried bool)) error

// Each visits the entries of a space, for a Source.
func Each(r engine.Reader, space engine.Space, visit func(key, v []byte) error) error {
	it := r.Scan(space, nil, nil)
	defer it.Close()
	for it.Next() {
		v, err := it.Value()
		if err == nil {
			err = visit(it.Key(), v)
		}
		if err != nil {
			return err
		}
	}
	return it.Close()
}

type found struct {
	engine.Amount
	buried bool
}

// count goes over everything.
func count(r engine.Reader, sources []Source) (map[Place]found, error) {
	all := map[Place]found{}
	for _, s := range sources {
		if err := s(r, func(p *Place, n engine.Amount, buried bool) {
			all[*p] = found{all[*p].Plus(n), buried}
		}); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Compare counts everything that is stored and calls differs for each counter that says otherwise, unless the store was never counted.
func Compare(r engine.Reader, differs func(p Place, counted, found engine.Amount), sources ...Source) error {
	if n, err := r.Counter([]byte(countedKey)); err != nil || n.Objects == 0 {
		return err
	}
	all, err := count(r, sources)
	if err != nil {
		return err
	}
	if err := r.Counters([]byte{placeKey}, func(key []byte, n engine.Amount) error {
		p, mark, err := parseKey(key)
		if err != nil || mark {
			return err
		}
		if n != all[p].Amount {
			differs(p, n, all[p].Amount)
		}
		delete(all, p)
		return nil
	}); err != nil {
		return err
	}
	for p, n := range all {
		if n.Amount != (engine.Amount{}) {
			differs(p, engine.Amount{}, n.Amount)
		}
	}
	return nil
}

// recountBatch is how many counters a transaction writes.
const recountBatch = 10_000

// Ensure counts everything that is stored if that was never done, as in a store of an earlier version. Nobody writes meanwhile.
func Ensure(ctx context.Context, store engine.Store, sources ...Source) error {
	var all map[Place]found
	var old [][]byte
	err := store.View(ctx, nil, func(r engine.Reader) error {
		if n, err := r.Counter([]byte(countedKey)); err != nil || n.Objects == 1 {
			return err
		}
		err := r.Counters(nil, func(key []byte, _ engine.Amount) error {
			old = append(old, append([]byte(nil), key...))
			return nil
		})
		if err != nil {
			return err
		}
		all, err = count(r, sources)
		return err
	})
	if err != nil {
		return fmt.Errorf("count what accounts use: %w", err)
	}
	if all == nil {
		return nil
	}
	// A counter that is dropped and then added to in one transaction would be both at once; and to drop twice does no harm.
	update := func(fn func(engine.Tx)) error {
		return store.Update(ctx, []byte("usage/"), func(tx engine.Tx) error { fn(tx); return nil })
	}
	for keys := range slices.Chunk(old, recountBatch) {
		if err == nil {
			err = update(func(tx engine.Tx) {
				for _, key := range keys {
					tx.Drop(key)
				}
			})
		}
	}
	for places := range slices.Chunk(slices.Collect(maps.Keys(all)), recountBatch) {
		if err == nil {
			err = update(func(tx engine.Tx) {
				for _, p := range places {
					p.Add(tx, all[p].Amount)
					if all[p].buried {
						p.Bury(tx)
					}
				}
			})
		}
	}
	if err == nil {
		err = update(func(tx engine.Tx) { tx.Add([]byte(countedKey), engine.Amount{Objects: 1}) })
	}
	if err != nil {
		return fmt.Errorf("count what accounts use: %w", err)
	}
	return nil
}
