package local

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/minio/crc64nvme"

	"github.com/blobd/blobd/internal/engine"
)

// chunks keeps content in the key space, in pieces of 64 KiB.
type chunks struct {
	mu   sync.Mutex
	next uint64
}

const (
	sysPiece  = 'x'
	pieceSize = 64 << 10
)

func pieceKey(ref engine.Ref, piece uint32) []byte {
	key := append([]byte{byte(engine.SpaceSystem), sysPiece}, ref[:]...)
	return binary.BigEndian.AppendUint32(key, piece)
}

func (c *chunks) open(s *Store) error {
	it, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: []byte{byte(engine.SpaceSystem), sysPiece}, UpperBound: []byte{byte(engine.SpaceSystem), sysPiece + 1}})
	if err != nil {
		return err
	}
	if it.Last() {
		c.next = binary.BigEndian.Uint64(it.Key()[2:])
	}
	return it.Close()
}

// Put implements engine.Store.
func (s *Store) Put(ctx context.Context, r io.Reader, size int64) (engine.Chunk, error) {
	if !s.gate.enter() {
		return engine.Chunk{}, engine.ErrClosed
	}
	defer s.gate.leave()
	if size < 1 || size > engine.MaxChunk {
		return engine.Chunk{}, fmt.Errorf("chunk of %d bytes: %w", size, engine.ErrTooLarge)
	}
	if err := ctx.Err(); err != nil {
		return engine.Chunk{}, err
	}
	if err := s.failed(); err != nil {
		return engine.Chunk{}, err
	}
	buf := make([]byte, size)
	if _, err := io.ReadFull(r, buf); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return engine.Chunk{}, err
	}
	c := engine.Chunk{Size: size, CRC64: crc64nvme.Checksum(buf)}
	s.chunks.mu.Lock()
	s.chunks.next++
	binary.BigEndian.PutUint64(c.Ref[:], s.chunks.next)
	s.chunks.mu.Unlock()
	binary.BigEndian.PutUint64(c.Ref[8:], uint64(size))
	b := s.db.NewBatch()
	defer b.Close()
	for i := 0; len(buf) > 0; i++ {
		n := min(len(buf), pieceSize)
		if err := b.Set(pieceKey(c.Ref, uint32(i)), buf[:n], nil); err != nil {
			return engine.Chunk{}, err
		}
		buf = buf[n:]
	}
	if err := s.apply(b); err != nil {
		return engine.Chunk{}, err
	}
	if err := b.SyncWait(); err != nil {
		return engine.Chunk{}, fmt.Errorf("put: %w", s.fail(err))
	}
	s.pins.pin(c.Ref)
	return c, nil
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
	size := int64(binary.BigEndian.Uint64(ref[8:]))
	if offset < 0 || length < 0 || length > size-offset {
		return nil, fmt.Errorf("range %d+%d of a chunk of %d bytes", offset, length, size)
	}
	var buf []byte
	for p := offset / pieceSize; p*pieceSize < offset+length; p++ {
		v, c, err := s.db.Get(pieceKey(ref, uint32(p)))
		if err != nil {
			return nil, fmt.Errorf("%w: chunk %x: %w", engine.ErrCorrupt, ref, err)
		}
		buf = append(buf, v...)
		c.Close()
	}
	skip := offset % pieceSize
	return reader64{bytes.NewReader(buf[skip : skip+length])}, nil
}

type reader64 struct{ *bytes.Reader }

func (reader64) Close() error { return nil }
