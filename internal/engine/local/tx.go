package local

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskspace"
)

// tx implements engine.Tx. Its reads go to the store itself: the lock of its stripe keeps its partition still.
type tx struct {
	reader
	store     *Store
	partition []byte
	batch     *pebble.Batch
	size      int // bytes of keys and values written
	stamp     engine.Stamp
	limit     engine.Stamp // stamp limit in the batch, or 0
	retained  []engine.Ref
	released  []engine.Ref
	frees     bool             // it deletes or releases
	taken     int64            // of the store's room
	waits     *diskspace.Pause // it makes room, and is refused for this
	err       error            // first defect of the caller or failure of the batch
}

var txPool = sync.Pool{New: func() any { return new(tx) }}

// begin makes t a transaction on a partition; reset ends it.
func (t *tx) begin(s *Store, partition []byte) {
	t.store, t.partition, t.batch = s, partition, s.db.NewBatch()
	t.src, t.rows, t.count = s.db, s.rows, math.MaxUint64
}

func (t *tx) reset() {
	t.release()
	if t.taken != 0 {
		t.store.space.Done(t.taken)
	}
	if t.batch != nil {
		_ = t.batch.Close() // returns it to Pebble's pool; no outcome
	}
	*t = tx{reader: reader{key: t.key[:0], closers: t.closers[:0]}, retained: t.retained[:0], released: t.released[:0]}
}

// Stamp implements engine.Tx.
func (t *tx) Stamp() engine.Stamp {
	if t.stamp == 0 {
		t.stamp, t.limit = t.store.clock.stamp()
		if t.limit != 0 {
			t.merge(sysStamp, nil, int64(t.limit))
		}
	}
	return t.stamp
}

func (t *tx) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

// check admits a write of n bytes under key.
func (t *tx) check(space engine.Space, key []byte, value int) bool {
	switch {
	case t.err != nil:
	case space == engine.SpaceSystem || space == 0xff:
		t.fail(fmt.Errorf("write to space %#x, which is the engine's", byte(space)))
	case !bytes.HasPrefix(key, t.partition):
		t.fail(fmt.Errorf("write to key %q outside of partition %q", key, t.partition))
	case len(key) > engine.MaxKey:
		t.fail(fmt.Errorf("key of %d bytes: %w", len(key), engine.ErrTooLarge))
	case value > engine.MaxValue:
		t.fail(fmt.Errorf("value of %d bytes: %w", value, engine.ErrTooLarge))
	case t.size+len(key)+value > engine.MaxTransaction:
		t.fail(fmt.Errorf("transaction of over %d bytes: %w", engine.MaxTransaction, engine.ErrTooLarge))
	default:
		t.size += len(key) + value
		return true
	}
	return false
}

// Set implements engine.Tx.
func (t *tx) Set(space engine.Space, key, value []byte) {
	if !t.check(space, key, len(value)) {
		return
	}
	op := t.batch.SetDeferred(1+len(key), len(value))
	op.Key[0] = byte(space)
	copy(op.Key[1:], key)
	copy(op.Value, value)
	t.keep(op.Finish())
}

// Delete implements engine.Tx.
func (t *tx) Delete(space engine.Space, key []byte) {
	if !t.check(space, key, 0) {
		return
	}
	t.frees = true
	op := t.batch.DeleteDeferred(1 + len(key))
	op.Key[0] = byte(space)
	copy(op.Key[1:], key)
	t.keep(op.Finish())
}

// DeleteRange implements engine.Tx.
func (t *tx) DeleteRange(space engine.Space, lower, upper []byte) {
	if !t.check(space, lower, len(upper)) {
		return
	}
	// upper may be the end of the partition, which does not begin with it, but nothing beyond it.
	if !bytes.HasPrefix(upper, t.partition) && !bytes.Equal(upper, engine.PrefixEnd(t.partition)) {
		t.fail(fmt.Errorf("delete of a range up to %q outside of partition %q", upper, t.partition))
		return
	}
	if bytes.Compare(lower, upper) >= 0 {
		return
	}
	t.frees = true
	op := t.batch.DeleteRangeDeferred(1+len(lower), 1+len(upper))
	op.Key[0] = byte(space)
	copy(op.Key[1:], lower)
	op.Value[0] = byte(space)
	copy(op.Value[1:], upper)
	t.keep(op.Finish())
}

// Add implements engine.Tx.
func (t *tx) Add(counter []byte, delta engine.Amount) {
	if t.err == nil && len(counter) > engine.MaxKey {
		t.fail(fmt.Errorf("counter name of %d bytes: %w", len(counter), engine.ErrTooLarge))
	}
	if delta != (engine.Amount{}) {
		var buf [2 * binary.MaxVarintLen64]byte
		t.mergeOperand(sysCounter, counter, appendAmount(buf[:0], delta))
	}
}

// Drop implements engine.Tx.
func (t *tx) Drop(counter []byte) {
	if t.err != nil {
		return
	}
	op := t.batch.DeleteDeferred(2 + len(counter))
	op.Key[0], op.Key[1] = byte(engine.SpaceSystem), sysCounter
	copy(op.Key[2:], counter)
	t.keep(op.Finish())
}

// Retain implements engine.Tx.
func (t *tx) Retain(ref engine.Ref) {
	t.retained = append(t.retained, ref)
}

// Release implements engine.Tx.
func (t *tx) Release(ref engine.Ref) {
	t.frees = true
	t.released = append(t.released, ref)
	t.store.released.Store(true)
}

// countOwners writes the changes of the numbers of owners, one for each chunk: reading a number takes as long as it has changes that
// are not yet merged on disk, and a list may name one chunk many times.
func (t *tx) countOwners() {
	t.countEach(t.retained, 1)
	t.countEach(t.released, -1)
}

// countEach sorts refs.
func (t *tx) countEach(refs []engine.Ref, by int64) {
	if len(refs) > 1 {
		slices.SortFunc(refs, func(a, b engine.Ref) int { return bytes.Compare(a[:], b[:]) })
	}
	for len(refs) > 0 {
		n := 1
		for n < len(refs) && refs[n] == refs[0] {
			n++
		}
		t.merge(sysRef, refs[0][:], by*int64(n))
		refs = refs[n:]
	}
}

// maxFreeing bounds what a transaction may write that is let through on a full disk because it makes room: records of what was
// deleted, work for a sweeper.
const maxFreeing = engine.MaxValue

// admit is admission control: it refuses a transaction that takes space while there is none. It is charged for what it takes of the log;
// the space of the memtables is in what writers leave free.
func (t *tx) admit() error {
	n := int64(t.batch.Len() + 4<<10)
	if t.frees {
		t.store.freed.Add(1)
	}
	stuck := t.store.state.stuck.Load()
	if t.frees && len(t.retained) == 0 && t.size <= maxFreeing {
		wait := stuck
		if wait == nil {
			wait = t.store.space.AdmitFreeing(n)
		}
		if wait == nil {
			return nil
		}
		if errors.Is(wait.Why, engine.ErrNoSpace) {
			t.waits = wait
		}
		return wait.Why
	}
	if stuck != nil {
		return stuck.Why
	}
	if err := t.store.space.Admit(n); err != nil {
		return err
	}
	t.taken = n
	return nil
}

// checkRetained verifies that the chunks that the transaction retains have an owner or a pin, so that they are not collected
// from under it.
func (t *tx) checkRetained() error {
	for i, ref := range t.retained { // sorted
		if i > 0 && ref == t.retained[i-1] || t.store.pins.pinned(ref) {
			continue
		}
		n, err := t.integer(sysRef, ref[:])
		if err != nil {
			return err
		}
		if n <= 0 {
			return fmt.Errorf("retain chunk %x: %w", ref, engine.ErrReleased)
		}
	}
	return nil
}

// merge adds an operand to a key of the system space.
func (t *tx) merge(family byte, key []byte, v int64) {
	var buf [binary.MaxVarintLen64]byte
	t.mergeOperand(family, key, appendInt(buf[:0], v))
}

func (t *tx) mergeOperand(family byte, key, operand []byte) {
	if t.err != nil {
		return
	}
	op := t.batch.MergeDeferred(2+len(key), len(operand))
	op.Key[0], op.Key[1] = byte(engine.SpaceSystem), family
	copy(op.Key[2:], key)
	copy(op.Value, operand)
	t.keep(op.Finish())
}

// keep notes a failure of the batch.
func (t *tx) keep(err error) {
	if err != nil {
		t.fail(fmt.Errorf("batch: %w", err))
	}
}
