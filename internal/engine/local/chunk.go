package local

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskspace"
	"github.com/blobd/blobd/internal/engine/local/extent"
)

// Put implements engine.Store. The chunk is pinned before its extent can be collected: extent.Options.OnPut.
func (s *Store) Put(ctx context.Context, r io.Reader, size int64) (engine.Chunk, error) {
	if !s.gate.enter() {
		return engine.Chunk{}, engine.ErrClosed
	}
	defer s.gate.leave()
	if err := ctx.Err(); err != nil {
		return engine.Chunk{}, err
	}
	if err := s.writable(); err != nil {
		return engine.Chunk{}, err
	}
	n := s.chunkSpace(size)
	if err := s.space.Admit(n); err != nil {
		return engine.Chunk{}, err
	}
	if size >= diskspace.ChargedFrom {
		c := s.space.Charge(r, size, int64(max(4, s.disks.K))*64<<10, n)
		defer c.Done()
		r = c
	} else {
		defer s.space.Done(n)
	}
	c, err := s.extents.Put(ctx, r, size)
	return c, kind(err)
}

// chunkSpace is what a chunk takes on a disk, at most: its part of the rows, with their headers and some of what the file system needs.
// One of a block or less lies whole on one disk.
func (s *Store) chunkSpace(size int64) int64 {
	part := max(size/int64(s.disks.K), min(size, 64<<10))
	return part + part/32 + 16<<10
}

// Forget implements engine.Store.
func (s *Store) Forget(refs ...engine.Ref) {
	for _, ref := range refs {
		s.pins.unpin(ref)
	}
}

// Open implements engine.Store.
func (s *Store) Open(ctx context.Context, ref engine.Ref, offset, length int64) (io.ReadCloser, error) {
	if !s.gate.enter() {
		return nil, engine.ErrClosed
	}
	defer s.gate.leave()
	at, err := s.resolve(ref)
	if err != nil {
		return nil, err
	}
	return s.openAt(ref, at, func(at engine.Ref) (io.ReadCloser, error) { return s.extents.Open(ctx, at, offset, length) })
}

// OpenWhole implements engine.Store.
func (s *Store) OpenWhole(ctx context.Context, c engine.Chunk) (io.ReadCloser, error) {
	if !s.gate.enter() {
		return nil, engine.ErrClosed
	}
	defer s.gate.leave()
	if c.Size != extent.Size(c.Ref) {
		return nil, fmt.Errorf("chunk %x of %d bytes: %w", c.Ref, c.Size, engine.ErrCorrupt)
	}
	at, err := s.resolve(c.Ref)
	if err != nil {
		return nil, err
	}
	return s.openAt(c.Ref, at, func(at engine.Ref) (io.ReadCloser, error) { return s.extents.OpenWhole(ctx, at, c.CRC64) })
}

// openAt opens a chunk that was found at a place. A collection may have moved it meanwhile, or dropped it.
func (s *Store) openAt(ref, at engine.Ref, open func(at engine.Ref) (io.ReadCloser, error)) (io.ReadCloser, error) {
	for {
		r, err := open(at)
		if err == nil || !errors.Is(err, engine.ErrCorrupt) && !errors.Is(err, engine.ErrUnavailable) {
			return r, kind(err)
		}
		// From its own end of the chain: the forwards between are gone as soon as one leads past them.
		now, rerr := s.resolve(ref)
		if rerr != nil {
			return nil, rerr
		}
		if now != at {
			at = now
			continue
		}
		gone, rerr := s.gone(ref)
		if rerr != nil {
			return nil, rerr
		}
		if gone {
			return nil, fmt.Errorf("open chunk %x: %w", ref, engine.ErrReleased)
		}
		return nil, fmt.Errorf("open chunk %x: %w", ref, err)
	}
}

// gone tells whether nobody owns or protects a chunk, and no snapshot shows it.
func (s *Store) gone(ref engine.Ref) (bool, error) {
	if s.pins.pinned(ref) {
		return false, nil
	}
	r := &reader{src: s.db}
	defer r.release()
	n, err := r.integer(sysRef, ref[:])
	if n > 0 || err != nil {
		return false, err
	}
	held, err := s.held.owned(ref)
	return !held, err
}

// resolve returns where a chunk lies now. Most chunks lie where they were put: only one in an extent that was collected costs a
// look-up.
func (s *Store) resolve(ref engine.Ref) (engine.Ref, error) {
	for {
		moved := s.forwarded.Load()
		if moved == nil {
			return ref, nil
		}
		if _, ok := (*moved)[extent.ID(ref)]; !ok {
			return ref, nil
		}
		next, ok, err := s.forward(ref)
		if err != nil || !ok {
			return ref, err
		}
		ref = next
	}
}

// forward reads the record that says where a chunk was moved to.
func (s *Store) forward(ref engine.Ref) (next engine.Ref, ok bool, err error) {
	r := &reader{src: s.db}
	defer r.release()
	v, err := r.get(systemKey(sysForward, ref[:]))
	if err == engine.ErrNotFound {
		return ref, false, nil
	}
	if err != nil {
		return ref, false, err
	}
	if len(v) != len(next) {
		return ref, false, fmt.Errorf("forward of chunk %x: %w", ref, engine.ErrCorrupt)
	}
	return engine.Ref(v), true, nil
}

// owned tells whether somebody owns a chunk, in doubt yes.
func (s *Store) owned(ref engine.Ref) bool {
	s.reopening.RLock()
	defer s.reopening.RUnlock()
	if s.db == nil {
		return true
	}
	r := &reader{src: s.db}
	defer r.release()
	n, err := r.integer(sysRef, ref[:])
	return err != nil || n > 0
}

// systemKey returns a stored key of the system space.
func systemKey(family byte, key []byte) []byte {
	b := make([]byte, 0, 2+len(key))
	return append(append(b, byte(engine.SpaceSystem), family), key...)
}

// Owners runs fn on every chunk that has owners, in the order of their Refs, with how many it has. A check of a store compares
// them with the records that refer to chunks.
func (s *Store) Owners(ctx context.Context, fn func(ref engine.Ref, n int64) error) error {
	return s.Audit(ctx, func(_ engine.Reader, owners func(func(engine.Ref, int64) error) error) error { return owners(fn) })
}

// Lacking returns what tells, without reading it, that too little of a chunk is on the disks that are there now (sure), or may be. Ask in
// the order of the Refs, from one goroutine. A chunk may be moved meanwhile: what lacks something is to be asked for again.
func (s *Store) Lacking() func(ref engine.Ref) (lacks, sure bool) {
	surface := s.extents.Surface()
	return func(ref engine.Ref) (lacks, sure bool) {
		if !s.gate.enter() {
			return true, false
		}
		defer s.gate.leave()
		at, err := s.resolve(ref)
		if err != nil {
			return true, false
		}
		return surface.Lacks(at)
	}
}

// Audit runs fn on one snapshot of everything: what is kept, and how many owners each chunk has, in the order of their Refs. The
// snapshot keeps what is deleted meanwhile on the disks.
func (s *Store) Audit(ctx context.Context, fn func(r engine.Reader, owners func(visit func(ref engine.Ref, n int64) error) error) error) error {
	if !s.gate.enter() {
		return engine.ErrClosed
	}
	defer s.gate.leave()
	snap := s.db.NewSnapshot()
	defer snap.Close()
	r := &reader{src: snap}
	defer r.release()
	return fn(r, func(visit func(ref engine.Ref, n int64) error) error { return s.ownersIn(ctx, snap, visit) })
}

// ownersIn runs fn on the chunks that have owners in a snapshot.
func (s *Store) ownersIn(ctx context.Context, snap source, fn func(ref engine.Ref, n int64) error) error {
	// What a forward owns is counted under the Ref that it stands for.
	forwards := make(map[engine.Ref]int64)
	if err := s.eachRef(ctx, snap, sysForward, func(_ engine.Ref, v []byte) error {
		if len(v) != len(engine.Ref{}) {
			return fmt.Errorf("forward to %x: %w", v, engine.ErrCorrupt)
		}
		forwards[engine.Ref(v)]++
		return nil
	}); err != nil {
		return err
	}
	return s.eachRef(ctx, snap, sysRef, func(ref engine.Ref, v []byte) error {
		n, err := decodeInt(v)
		if err != nil {
			return fmt.Errorf("owners of chunk %x: %w: %w", ref, engine.ErrCorrupt, err)
		}
		if n -= forwards[ref]; n == 0 {
			return nil
		}
		return fn(ref, n)
	})
}
