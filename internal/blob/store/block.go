package store

import (
	"context"
	"errors"
	"strings"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/view"
)

// uncommittedLife is how long a block waits to be committed, in stamps: a week.
const uncommittedLife = 7 * 24 * 3600 * 10_000_000

// getPending reads the head of a name's uncommitted blocks, nil if there are none.
func getPending(r engine.Reader, p *place) (*record.Pending, error) {
	v, err := r.Get(engine.SpaceBlock, record.PendingKey(p.key))
	if err != nil {
		if errors.Is(err, engine.ErrNotFound) {
			return nil, nil
		}
		return nil, err
	}
	h := &record.Pending{}
	return h, h.Decode(view.String(v))
}

// block is an uncommitted block or one of a committed list.
type block struct {
	ID     string
	Size   int64
	Chunks []engine.Chunk
	// pending tells that it is not committed.
	pending bool
	// at is the offset of a committed one in its blob.
	at int64
}

// visitPending calls visit for each uncommitted block in the order of ids.
func visitPending(r engine.Reader, p *place, h *record.Pending, visit func(b *block) error) error {
	prefix := record.PendingPrefix(p.key, h.Epoch)
	it := r.Scan(engine.SpaceBlock, prefix, record.After(append([]byte(nil), prefix...)))
	defer it.Close()
	for it.Next() {
		v, err := it.Value()
		if err != nil {
			return err
		}
		b := block{ID: string(it.Key()[len(prefix):]), pending: true}
		if b.Chunks, b.Size, err = record.DecodeBlockChunks(view.String(v)); err != nil {
			return err
		}
		if err := visit(&b); err != nil {
			return err
		}
	}
	return it.Close()
}

// StageBlock keeps an upload as a block until it is committed (Put Block). It returns the sums.
func (s *Service) StageBlock(ctx context.Context, a *Target, id string, up *Upload) (Sums, error) {
	p, err := s.place(ctx, a)
	if err != nil {
		return Sums{}, err
	}
	if err := s.precheck(ctx, p, a.stage); err != nil {
		return Sums{}, err
	}
	in, err := s.receiveUpload(ctx, up, 0, up.Want.HasMD5)
	if err != nil {
		return Sums{}, err
	}
	defer in.done()
	return in.Sums, s.stageBlock(ctx, p, a, &block{ID: id, Size: in.size, Chunks: in.chunks})
}

func (s *Service) stageBlock(ctx context.Context, p *place, terms *Target, b *block) error {
	return s.change(ctx, p, func(t *txn) error {
		rec, err := t.Record(record.Slot{})
		if err != nil {
			return err
		}
		if err := terms.stage(rec); err != nil {
			return err
		}
		h, err := getPending(t.Tx, p)
		if err != nil {
			return err
		}
		if h == nil {
			h = &record.Pending{Epoch: t.Stamp(), IDLen: uint8(len(b.ID))}
			t.enqueue(record.WorkPending, h.Epoch, 0)
			if rec == nil {
				t.Set(engine.SpaceUncommitted, p.key, nil)
			}
		}
		if int(h.IDLen) != len(b.ID) {
			return protocol.ErrInvalidBlobOrBlock
		}
		key := append(record.PendingPrefix(p.key, h.Epoch), b.ID...)
		var old int64 // bytes of the block that this one replaces
		switch v, err := t.Get(engine.SpaceBlock, key); {
		case err == nil:
			var chunks []engine.Chunk
			if chunks, old, err = record.DecodeBlockChunks(view.String(v)); err != nil {
				return err
			}
			t.releaseAll(chunks)
		case errors.Is(err, engine.ErrNotFound):
			if h.Count++; h.Count > maxUncommitted {
				return protocol.ErrUncommittedBlockCountExceedsLimit
			}
		default:
			return err
		}
		for i := range b.Chunks {
			t.Retain(b.Chunks[i].Ref)
		}
		h.Bytes += b.Size - old
		t.used.Bytes += b.Size - old
		h.Last = t.Stamp()
		t.Set(engine.SpaceBlock, key, record.AppendBlockChunks(nil, b.Chunks))
		t.Set(engine.SpaceBlock, record.PendingKey(p.key), h.AppendTo(nil))
		return nil
	})
}

// closeInPlace is how many uncommitted blocks, and chunks of them, a transaction takes away itself; more are left to the sweeper.
const closeInPlace = 1000

// manyPending tells that the sweeper is to take the blocks away.
func manyPending(h *record.Pending) bool {
	return h.Count > closeInPlace || h.Bytes > closeInPlace*engine.MaxChunk
}

// dropPending takes away all uncommitted blocks of the name.
func (t *txn) dropPending() error {
	h, err := getPending(t.Tx, t.place)
	if h == nil || err != nil {
		return err
	}
	return t.closePending(h, nil)
}

// closePending ends an epoch of uncommitted blocks. The chunks of those in taken have a new owner already. If there are many
// blocks only the head goes, taken must be empty, and the sweeper does the rest: it has had its work item since the beginning.
func (t *txn) closePending(h *record.Pending, taken map[string]bool) error {
	t.Delete(engine.SpaceBlock, record.PendingKey(t.key))
	t.Delete(engine.SpaceUncommitted, t.key)
	if manyPending(h) {
		t.wake = true
		return nil
	}
	err := visitPending(t.Tx, t.place, h, func(b *block) error {
		if !taken[b.ID] {
			t.releaseAll(b.Chunks)
		}
		return nil
	})
	prefix := record.PendingPrefix(t.key, h.Epoch)
	t.DeleteRange(engine.SpaceBlock, prefix, record.After(append([]byte(nil), prefix...)))
	t.Delete(engine.SpaceBlobQueue, record.AppendWorkKey(nil, t.key, record.WorkPending, h.Epoch))
	t.used.Bytes -= h.Bytes
	return err
}

// visitBlocks calls visit for each committed block of a blob. A blob that was put in one piece has none.
func visitBlocks(r engine.Reader, p *place, rec *record.Blob, visit func(*block) error) error {
	if rec.Content.Kind != record.ContentList {
		return nil
	}
	var b *block
	var failed error
	err := visitList(r, p, rec.Content.ID, 0, func(at int64, piece *record.Piece) bool {
		if piece.First {
			if b != nil {
				if failed = visit(b); failed != nil {
					return false
				}
			}
			b = &block{ID: strings.Clone(piece.Block), at: at}
		}
		if b == nil {
			return false // not made of blocks
		}
		b.Chunks = append(b.Chunks, piece.Chunk)
		b.Size += piece.Size
		return true
	})
	if err == nil && failed == nil && b != nil {
		failed = visit(b)
	}
	return errors.Join(err, failed)
}

// BlockSource is which blocks an entry of a block list may name.
type BlockSource byte

const (
	LatestBlock BlockSource = iota
	CommittedBlock
	UncommittedBlock
)

// BlockRef is one line of a block list. ID is decoded.
type BlockRef struct {
	ID     string
	Source BlockSource
}

// Bounds of block lists (REST page "Put Block List").
const (
	MaxBlocks      = 50_000
	maxUncommitted = 100_000
	// MaxBlockListXML bounds the body: so many of the longest entries with white space between them take less.
	MaxBlockListXML = 16 << 20
)

// BlockInfo is a block of a block list: its id, decoded, and its size in bytes.
type BlockInfo struct {
	ID   string
	Size int64
}

// BlockList is the blocks of a blob.
type BlockList struct {
	Blob                   *record.Blob // nil for a name with uncommitted blocks only
	Committed, Uncommitted []BlockInfo
}

// BlockList returns the committed blocks of a blob in their order and, if it is the base blob, the uncommitted ones by id; either
// only if it is wanted.
func (s *Service) BlockList(ctx context.Context, a *Target, slot Selector, committed, uncommitted bool) (list BlockList, err error) {
	p, err := s.place(ctx, a)
	if err != nil {
		return list, err
	}
	err = s.store.View(ctx, p.key, func(v engine.Reader) error {
		var h *record.Pending
		var err error
		if list.Blob, _, err = slot.find(v, p); err != nil {
			return err
		}
		if slot.IsBase() {
			if h, err = getPending(v, p); err != nil {
				return err
			}
		}
		if list.Blob == nil && h == nil {
			return protocol.ErrBlobNotFound
		}
		if list.Blob != nil {
			if list.Blob.Type != record.BlockBlob {
				return protocol.ErrInvalidBlobType
			}
			if err := a.read(list.Blob); err != nil {
				return err
			}
		}
		keep := func(to *[]BlockInfo) func(*block) error {
			return func(b *block) error { *to = append(*to, BlockInfo{b.ID, b.Size}); return nil }
		}
		if committed && list.Blob != nil {
			err = visitBlocks(v, p, list.Blob, keep(&list.Committed))
		}
		if uncommitted && h != nil && err == nil {
			err = visitPending(v, p, h, keep(&list.Uncommitted))
		}
		return err
	})
	return list, err
}
