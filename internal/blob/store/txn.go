package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/usage"
)

// place is one blob name in one life of a container: what a View or Txn works on.
type place struct {
	account *account.Account // nil for what is only read
	gen     record.Generation
	name    string
	key     []byte // the partition
}

func newPlace(a *account.Account, g record.Generation, name string) *place {
	return &place{a, g, name, record.AppendPartition(make([]byte, 0, 8+len(name)+2+1+record.SlotSize), g, name)}
}

// containerPlace is a life of a container as its use is counted.
func containerPlace(account string, g record.Generation) usage.Place {
	return usage.Place{Service: usage.Blobs, Account: account, Generation: uint64(g)}
}

// slotKey returns the key of a slot in SpaceBlobHistory or SpaceBlobData, and in SpaceBlob for the current one.
func (p *place) slotKey(s record.Slot) []byte {
	if s.Kind == record.SlotCurrent {
		return p.key
	}
	return record.AppendSlot(p.key[:len(p.key):len(p.key)], s)
}

// getContainer reads a container's record, ContainerNotFound if there is none.
func getContainer(r engine.Reader, key []byte) (*record.Container, error) {
	v, err := r.Get(engine.SpaceContainer, key)
	if errors.Is(err, engine.ErrNotFound) {
		return nil, protocol.ErrContainerNotFound
	}
	if err != nil {
		return nil, err
	}
	c := &record.Container{}
	if err := c.Decode(string(v)); err != nil {
		return nil, fmt.Errorf("container %q: %w", key, err)
	}
	return c, nil
}

// changeContainer runs fn as a transaction on a container. fn changes the record, which is then written.
func (s *Service) changeContainer(ctx context.Context, a *Target, fn func(engine.Tx, *record.Container) error) error {
	if err := protocol.CheckContainerName(a.Container); err != nil {
		return err
	}
	key := record.AppendContainerKey(make([]byte, 0, 96), a.Account.Name, a.Container)
	return s.updateContainer(ctx, key, func(tx engine.Tx) error {
		c, err := getContainer(tx, key)
		if err != nil {
			return err
		}
		if err := fn(tx, c); err != nil {
			return err
		}
		tx.Set(engine.SpaceContainer, key, c.AppendTo(nil))
		return nil
	})
}

// getRecord reads the blob in a slot, nil if there is none. The record does not depend on the reader's life.
func getRecord(r engine.Reader, p *place, slot record.Slot) (*record.Blob, error) {
	space := engine.SpaceBlob
	if slot.Kind != record.SlotCurrent {
		space = engine.SpaceBlobHistory
	}
	v, err := r.Get(space, p.slotKey(slot))
	if err != nil {
		if errors.Is(err, engine.ErrNotFound) {
			return nil, nil
		}
		return nil, err
	}
	rec := &record.Blob{}
	if err := rec.Decode(string(v)); err != nil {
		return nil, fmt.Errorf("blob %q: %w", p.name, err)
	}
	return rec, nil
}

// replaced returns the blob that one of a type takes the place of, nil if there is none, once it meets the terms.
func replaced(r engine.Reader, p *place, terms *Target, kind record.Type) (*record.Blob, error) {
	old, err := getRecord(r, p, record.Slot{})
	if err == nil {
		err = terms.create(old, kind)
	}
	return old, err
}

// getOwners reads how many owners something has: one, unless more are written down. What is written down and cannot be is wrong.
func getOwners(r engine.Reader, space engine.Space, key []byte, wrong error) (uint64, error) {
	v, err := r.Get(space, key)
	if errors.Is(err, engine.ErrNotFound) {
		return 1, nil
	}
	if err != nil {
		return 0, err
	}
	if n, ok := record.DecodeCount(v); ok && n >= 2 {
		return n, nil
	}
	return 0, wrong
}

// txn is a transaction on one blob name. Like an engine.Tx it reads the state before it and may run again.
type txn struct {
	engine.Tx
	*place
	svc     *Service
	used    engine.Amount           // what the container holds more
	wake    bool                    // work for the sweeper was left
	settled bool                    // the uncommitted blocks are taken care of
	untag   []protocol.Pair         // tags whose hints lose their owner
	shares  map[engine.Stamp]uint64 // what the transaction has made of counts, which it does not see otherwise
	wrote   int                     // bytes of keys and values
}

func (t *txn) Set(space engine.Space, key, value []byte) {
	t.wrote += len(key) + len(value)
	t.Tx.Set(space, key, value)
}

func (t *txn) Delete(space engine.Space, key []byte) {
	t.wrote += len(key)
	t.Tx.Delete(space, key)
}

// change runs fn as a transaction on a blob name and counts what is held more or less by it.
func (s *Service) change(ctx context.Context, p *place, fn func(*txn) error) error {
	var left struct { // by the transaction, in one allocation
		wake, untagging bool
		untag           []protocol.Pair
		used            engine.Amount
		in              usage.Place
	}
	left.in = containerPlace(p.account.Name, p.gen)
	err := s.store.Update(ctx, p.key, func(tx engine.Tx) error {
		t := txn{Tx: tx, place: p, svc: s}
		if err := fn(&t); err != nil {
			return err
		}
		if !p.account.Meter.Admits(t.used.Bytes) {
			return protocol.ErrInsufficientStorage
		}
		left.in.Add(tx, t.used)
		left.wake, left.untag, left.used = t.wake, t.untag, t.used
		if len(t.untag) > 0 && !left.untagging { // before the transaction is seen
			left.untagging = true
			s.tagging.Add(string(p.key), 1)
		}
		return nil
	})
	if left.untagging {
		defer s.tagging.Add(string(p.key), -1)
	}
	if err == nil {
		s.usage.Added(&left.in, left.used)
		s.untag(ctx, p, left.untag)
	}
	if left.wake && err == nil {
		s.sweeper.Wake()
	}
	return err
}

// Record returns the blob in a slot as it was before the transaction, nil if there is none.
func (t *txn) Record(slot record.Slot) (*record.Blob, error) { return getRecord(t.Tx, t.place, slot) }

// set writes a record into a slot. Its content must be there.
func (t *txn) set(slot record.Slot, r *record.Blob) {
	space := engine.SpaceBlob
	if slot.Kind != record.SlotCurrent {
		space = engine.SpaceBlobHistory
	}
	t.Set(space, t.slotKey(slot), r.AppendTo(make([]byte, 0, 192)))
}

// Modify writes the current blob with changed properties and the content that it had.
func (t *txn) Modify(r *record.Blob) { t.set(record.Slot{}, r) }

// Replace makes r the current blob in place of old, which may be nil. The content of r is inline bytes, or what own, share or a
// page map gave. What old had is kept as a version or soft-deleted, or let go (see retire); uncommitted blocks go.
func (t *txn) Replace(old, r *record.Blob, inline []byte) error {
	if !t.settled {
		if err := t.dropPending(); err != nil {
			return err
		}
	}
	if _, err := t.retire(old, inline != nil); err != nil {
		return err
	}
	if old != nil {
		t.untag = old.Tags
	}
	if r.Version = 0; t.account.Versioning {
		r.Version = t.Stamp()
	}
	if inline != nil {
		t.Set(engine.SpaceBlobData, t.key, inline)
		r.Content = record.Content{Kind: record.ContentInline}
	}
	t.used.Bytes += r.Size
	if old == nil {
		t.used.Objects++
	}
	t.set(record.Slot{}, r)
	return nil
}

// Remove deletes the current blob, which becomes a version, is soft-deleted or goes for good; kept tells that it can still be had.
func (t *txn) Remove(old *record.Blob) (kept bool, err error) {
	if err := t.dropPending(); err != nil {
		return false, err
	}
	if kept, err = t.retire(old, false); err != nil {
		return false, err
	}
	t.Delete(engine.SpaceBlob, t.key)
	t.used.Objects--
	t.untag = old.Tags
	return kept, nil
}

// enqueue leaves work for the sweeper, which is told after the transaction.
func (t *txn) enqueue(kind record.WorkKind, stamp engine.Stamp, detail record.ContentKind) {
	t.Set(engine.SpaceBlobQueue, record.AppendWorkKey(nil, t.key, kind, stamp), append([]byte{byte(detail)}, t.account.Name...))
	t.wake = true
}
