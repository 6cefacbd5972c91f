package store

import (
	"bytes"
	"context"
	"sync"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
)

// containerCache keeps the records of containers in memory, as every operation on a blob asks for one. A record in it is shared
// and never changed. What changes a container forgets it here before it is acknowledged, so nobody who knows of the change
// sees what was before; updateContainer is the only way to change one.
type containerCache struct {
	mu      sync.RWMutex
	records map[string]*record.Container
	changes uint64 // calls of forget: a record read before the last of them may be out of date
}

// cachedContainers bounds the cache; beyond it all is forgotten.
const cachedContainers = 4096

// get returns the record at key, nil if it is not known, and what put wants of a record that is read after this call.
func (c *containerCache) get(key []byte) (*record.Container, uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.records[string(key)], c.changes
}

// put keeps a record unless a container was changed since get.
func (c *containerCache) put(key []byte, rec *record.Container, changes uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes != changes {
		return
	}
	if c.records == nil || len(c.records) >= cachedContainers {
		c.records = map[string]*record.Container{}
	}
	c.records[string(key)] = rec
}

func (c *containerCache) forget(key []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	delete(c.records, string(key))
}

// container looks a container up. The record is shared: it is not to be changed.
func (s *Service) container(ctx context.Context, account, name string) (*record.Container, error) {
	var buf [96]byte
	key := record.AppendContainerKey(buf[:0], account, name)
	c, changes := s.containers.get(key)
	if c != nil {
		return c, nil
	}
	stored := bytes.Clone(key) // the one on the stack must not escape
	err := s.store.View(ctx, stored, func(r engine.Reader) (err error) {
		c, err = getContainer(r, stored)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.containers.put(stored, c, changes)
	return c, nil
}

// updateContainer runs fn as a transaction that may write the container at key.
func (s *Service) updateContainer(ctx context.Context, key []byte, fn func(engine.Tx) error) error {
	defer s.containers.forget(key)
	return s.store.Update(ctx, key, fn)
}
