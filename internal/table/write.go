package table

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/invariants"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/table/entity"
	"github.com/blobd/blobd/internal/usage"
)

// changeKind is what a write does with an entity.
type changeKind byte

const (
	insert          changeKind = iota
	replace                    // Update Entity
	merge                      // Merge Entity
	insertOrReplace            //
	insertOrMerge              //
	remove                     // Delete Entity
)

// change is one write of an entity.
type change struct {
	kind   changeKind
	pk, rk string
	// row is the encoded properties sent; nil for remove. The transaction writes its stamp into it.
	row entity.Row
	// match is the Timestamp that the entity must have; 0 for any (If-Match: *), noMatch for none that it can have.
	match engine.Stamp
}

// noMatch is the match of an ETag that is none of ours.
const noMatch = engine.Stamp(1<<64 - 1)

// changeError is the failure of one of several changes.
type changeError struct {
	index int
	err   error
}

func (e *changeError) Error() string { return fmt.Sprintf("change %d: %v", e.index, e.err) }
func (e *changeError) Unwrap() error { return e.err }

// write does all changes or none; they are of one PartitionKey, each of another RowKey. It returns the Timestamp of what was
// written. A failure that is a change's own is a *changeError.
func (s *Service) write(ctx context.Context, t *table, changes []change) (engine.Stamp, error) {
	t, err := s.enter(ctx, t)
	if err != nil {
		return 0, err
	}
	defer t.mu.RUnlock()
	w := writers.Get().(*writer)
	defer w.release()
	w.place, w.meter = t.place, t.meter
	w.changes, w.partition = changes, entity.AppendPartition(w.partition[:0], t.generation, changes[0].pk)
	err = s.store.Update(ctx, w.partition, w.run)
	if err == nil {
		s.usage.Added(&w.place, w.used)
	}
	if errors.Is(err, engine.ErrTooLarge) {
		// Only merges into large entities come to more than a body can hold.
		return 0, protocol.ErrRequestBodyTooLarge.Because(err)
	}
	return w.stamp, err
}

// writer applies changes within one transaction, which may be run again.
type writer struct {
	changes   []change
	partition []byte
	tx        engine.Tx
	stamp     engine.Stamp
	key       []byte // of the change at hand
	run       func(engine.Tx) error
	place     usage.Place
	meter     *usage.Meter
	used      engine.Amount // what the table holds more

	keyBytes []byte     // keys of all changes
	keys     [][]byte   // in keyBytes, ascending
	order    []int      // numbers of the changes whose keys they are
	rows     []byte     // what stands at keys, as far as it matters
	found    []foundRow // by change
}

// foundRow is what a change finds in its place: rows[from:to].
type foundRow struct {
	from, to int
	size     int // of the whole row
	exists   bool
}

var writers = sync.Pool{New: func() any {
	w := new(writer)
	w.run = w.apply
	return w
}}

// release gives the writer back for its next use.
func (w *writer) release() {
	w.tx, w.changes, w.place, w.meter = nil, nil, usage.Place{}, nil
	for _, b := range [][]byte{w.partition, w.key, w.keyBytes, w.rows} {
		invariants.Overwrite(b)
	}
	if cap(w.rows) > keepBuffer {
		w.rows = nil
	}
	writers.Put(w)
}

func (w *writer) apply(tx engine.Tx) error {
	w.tx, w.stamp, w.used = tx, tx.Stamp(), engine.Amount{}
	if err := w.applyAll(); err != nil {
		return err
	}
	if !w.meter.Admits(w.used.Bytes) {
		return protocol.ErrInsufficientStorage
	}
	w.place.Add(tx, w.used)
	return nil
}

func (w *writer) applyAll() error {
	if len(w.changes) == 1 {
		c := &w.changes[0]
		w.key = entity.AppendKeyString(append(w.key[:0], w.partition...), c.rk)
		old, err := w.tx.Get(engine.SpaceEntity, w.key)
		exists := err == nil
		if exists || errors.Is(err, engine.ErrNotFound) {
			err = w.change(c, old, exists, entity.Row(old).Size())
		}
		if err != nil {
			return &changeError{0, err}
		}
		return nil
	}
	if err := w.find(); err != nil {
		return err
	}
	for i := range w.changes {
		c, f := &w.changes[i], w.found[i]
		w.key = entity.AppendKeyString(append(w.key[:0], w.partition...), c.rk)
		if err := w.change(c, w.rows[f.from:f.to], f.exists, f.size); err != nil {
			return &changeError{i, err}
		}
	}
	return nil
}

// find looks up what stands where the changes go, all in one go.
func (w *writer) find() error {
	w.keyBytes, w.keys, w.order, w.rows, w.found = w.keyBytes[:0], w.keys[:0], w.order[:0], w.rows[:0], w.found[:0]
	for i := range w.changes {
		w.order, w.found = append(w.order, i), append(w.found, foundRow{})
	}
	slices.SortFunc(w.order, func(a, b int) int { return entity.CompareOrdinal(w.changes[a].rk, w.changes[b].rk) })
	for _, i := range w.order {
		from := len(w.keyBytes)
		w.keyBytes = entity.AppendKeyString(append(w.keyBytes, w.partition...), w.changes[i].rk)
		w.keys = append(w.keys, w.keyBytes[from:len(w.keyBytes):len(w.keyBytes)])
	}
	return w.tx.GetEach(engine.SpaceEntity, w.keys, func(k int, value []byte) error {
		i, size := w.order[k], entity.Row(value).Size()
		if kind := w.changes[i].kind; kind != merge && kind != insertOrMerge {
			value = entity.Row(value).Head()
		}
		from := len(w.rows)
		w.rows = append(w.rows, value...)
		w.found[i] = foundRow{from, len(w.rows), size, true}
		return nil
	})
}

// change does one change at w.key, where old stands, a row of a size; of old its head is enough unless the change merges.
func (w *writer) change(c *change, old []byte, exists bool, size int) (err error) {
	row, parts := entity.Row(old), 0
	if exists {
		if err := row.Check(); err != nil {
			return err
		}
		if parts, err = row.Parts(); err != nil {
			return err
		}
	}
	switch c.kind {
	case insert:
		if exists {
			return protocol.ErrEntityAlreadyExists
		}
	case insertOrReplace, insertOrMerge:
	default:
		if !exists {
			return protocol.ErrResourceNotFound
		}
		if c.match != 0 && c.match != row.Stamp() {
			return protocol.ErrUpdateConditionNotSatisfied
		}
	}
	if c.kind == remove {
		w.tx.Delete(engine.SpaceEntity, w.key)
		w.used = w.used.Minus(engine.Amount{Bytes: int64(len(w.key) + size), Objects: 1})
		w.dropParts(0, parts)
		return nil
	}
	next := c.row
	next.SetStamp(w.stamp)
	if exists && (c.kind == merge || c.kind == insertOrMerge) {
		if parts > 0 {
			if row, err = row.Join(nil, w.part); err != nil {
				return err
			}
		}
		if next, err = entity.Merge(make([]byte, 0, len(row)+len(next)), row, next); err != nil {
			return err
		}
		if err := entity.CheckRow(c.pk, c.rk, next); err != nil {
			return err
		}
	}
	entry, pieces := next.Split()
	w.tx.Set(engine.SpaceEntity, w.key, entry)
	for i, p := range pieces {
		w.tx.Set(engine.SpaceEntityPart, w.partKey(i), p)
	}
	w.dropParts(len(pieces), parts)
	if exists {
		w.used.Bytes += int64(len(next) - size)
	} else {
		w.used = w.used.Plus(engine.Amount{Bytes: int64(len(w.key) + len(next)), Objects: 1})
	}
	return nil
}

func (w *writer) dropParts(from, to int) {
	for i := from; i < to; i++ {
		w.tx.Delete(engine.SpaceEntityPart, w.partKey(i))
	}
}

func (w *writer) partKey(i int) []byte {
	n := len(w.key)
	key := entity.AppendPartKey(w.key, i)
	w.key = key[:n]
	return key
}

func (w *writer) part(i int) ([]byte, error) { return readPart(w.tx, w.partKey(i)) }

// readPart reads a part of an entity, which is there if the entity is.
func readPart(r engine.Reader, key []byte) ([]byte, error) {
	p, err := r.Get(engine.SpaceEntityPart, key)
	if errors.Is(err, engine.ErrNotFound) {
		return nil, fmt.Errorf("a part is missing: %w", engine.ErrCorrupt)
	}
	return p, err
}
