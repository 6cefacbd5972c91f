package store

import (
	"context"
	"errors"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/view"
)

// Commit makes a blob of blocks that were staged or that the blob has (Put Block List).
func (s *Service) Commit(ctx context.Context, n *Creation, refs []BlockRef) error {
	p, err := s.placeNew(ctx, n)
	if err != nil {
		return err
	}
	return s.commit(ctx, p, &n.Target, n.Blob, refs)
}

// commit makes a blob of blocks. A list that one transaction takes is written with the record; a longer one is laid before it.
func (s *Service) commit(ctx context.Context, p *place, terms *Target, rec *record.Blob, refs []BlockRef) error {
	err := s.changeTagged(ctx, p, rec.Tags, func(t *txn) error {
		sel, err := selectBlocks(t, p, terms, refs, s.atOnce)
		if err != nil {
			return err
		}
		rec.Size, rec.Content = 0, record.Content{}
		rec.CRC64, rec.HasCRC64 = 0, true
		taken := map[string]bool{}
		if len(sel.blocks) > 0 {
			w := listWriter{t: t, id: t.Stamp()}
			for _, b := range sel.blocks {
				own := !b.pending || manyPending(sel.head) || taken[b.ID]
				if !own {
					taken[b.ID] = true
				}
				for i := range b.Chunks {
					c := b.Chunks[i]
					if own {
						t.Retain(c.Ref)
					}
					w.add(&record.Piece{Chunk: c, First: i == 0, Block: b.ID})
					rec.CRC64 = protocol.CombineCRC64(rec.CRC64, c.CRC64, c.Size)
				}
				rec.Size += b.Size
			}
			w.flush()
			rec.Content = record.Content{Kind: record.ContentList, ID: w.id}
		}
		return t.committed(terms, sel, rec, taken)
	})
	for attempt := 0; errors.Is(err, errLong) || errors.Is(err, errMoved) && attempt < 10; attempt++ {
		err = s.commitLong(ctx, p, terms, rec, refs)
	}
	if errors.Is(err, errMoved) {
		return protocol.ErrServerBusy.Because(err)
	}
	return err
}

// committed makes rec, whose content is there, the current blob and ends the epoch of uncommitted blocks.
func (t *txn) committed(terms *Target, sel *selection, rec *record.Blob, taken map[string]bool) error {
	t.begin(rec, sel.old, terms.Now)
	if sel.head != nil {
		if err := t.closePending(sel.head, taken); err != nil {
			return err
		}
	}
	t.settled = true
	return t.Replace(sel.old, rec, nil)
}

// errMoved tells that blocks came or went while a list of them was laid.
var errMoved = errors.New("the blob's blocks have changed meanwhile")

// commitLong lays the list of blocks in as many transactions as it takes, each of which makes sure that the blocks are still those
// that were selected, and commits it in a last one. What is laid owns its chunks, so the uncommitted blocks stay as they are until
// then, and after a crash the sweeper takes it away.
func (s *Service) commitLong(ctx context.Context, p *place, terms *Target, rec *record.Blob, refs []BlockRef) error {
	var sel *selection
	err := s.store.View(ctx, p.key, func(v engine.Reader) (err error) {
		sel, err = selectBlocks(v, p, terms, refs, -1)
		return err
	})
	if err != nil {
		return err
	}
	var l laying
	defer l.done()
	if err := l.begin(ctx, s, p, record.ContentList); err != nil {
		return err
	}
	for done := 0; done < len(sel.blocks); {
		var next int
		err := l.list(ctx, func(t *txn, add func(*record.Piece)) error {
			if _, err := sel.unchanged(t, p); err != nil {
				return err
			}
			next = done
			for n := 0; next < len(sel.blocks) && n < s.atOnce/2; next++ {
				b := sel.blocks[next]
				chunks, err := sel.chunks(t, p, b)
				if err != nil {
					return err
				}
				for i := range chunks {
					add(&record.Piece{Chunk: chunks[i], First: i == 0, Block: b.ID})
				}
				n += len(chunks)
			}
			return nil
		})
		if err != nil {
			return err
		}
		done = next
	}
	return s.changeTagged(ctx, p, rec.Tags, func(t *txn) error {
		old, err := sel.unchanged(t, p)
		if err != nil {
			return err
		}
		if err := terms.create(old, record.BlockBlob); err != nil {
			return err
		}
		now := *sel
		now.old = old
		rec.Size, rec.CRC64, rec.HasCRC64 = l.end, l.crc64, true
		if rec.Content, err = t.adoptLaid(&l); err != nil {
			return err
		}
		return t.committed(terms, &now, rec, nil)
	})
}

// selection is the blocks that a list names, in its order, and the state in which they were found.
type selection struct {
	old    *record.Blob    // nil for none
	head   *record.Pending // nil for none
	blocks []*block
}

// selectBlocks finds the blocks that a list names. errLong if they have more than most chunks; with most below 0 they come without
// their chunks.
func selectBlocks(r engine.Reader, p *place, terms *Target, refs []BlockRef, most int) (*selection, error) {
	old, err := replaced(r, p, terms, record.BlockBlob)
	if err != nil {
		return nil, err
	}
	h, err := getPending(r, p)
	if err != nil {
		return nil, err
	}
	var needs [3]bool
	named := make(map[string]bool, len(refs))
	for i := range refs {
		needs[refs[i].Source] = true
		named[refs[i].ID] = true
	}
	pending, committed := map[string]*block{}, map[string]*block{}
	kept := 0
	keep := func(blocks map[string]*block, b *block) error {
		if !named[b.ID] || blocks[b.ID] != nil {
			return nil
		}
		if kept += len(b.Chunks); most >= 0 && kept > most {
			return errLong
		} else if most < 0 {
			b.Chunks = nil
		}
		blocks[b.ID] = b
		return nil
	}
	if h != nil && (needs[LatestBlock] || needs[UncommittedBlock]) {
		if err := visitPending(r, p, h, func(b *block) error { return keep(pending, b) }); err != nil {
			return nil, err
		}
	}
	if old != nil && (needs[LatestBlock] || needs[CommittedBlock]) {
		if err := visitBlocks(r, p, old, func(b *block) error { return keep(committed, b) }); err != nil {
			return nil, err
		}
	}
	sel := &selection{old: old, head: h, blocks: make([]*block, len(refs))}
	total := 0
	for i := range refs {
		ref := &refs[i]
		b := (*block)(nil)
		if ref.Source != CommittedBlock {
			b = pending[ref.ID]
		}
		if b == nil && ref.Source != UncommittedBlock {
			b = committed[ref.ID]
		}
		if b == nil {
			return nil, protocol.ErrInvalidBlockList
		}
		sel.blocks[i] = b
		total += len(b.Chunks)
	}
	if most >= 0 && total > most {
		return nil, errLong
	}
	return sel, nil
}

// unchanged tells with errMoved that blocks came or went since the selection, and else returns the blob as it is now.
func (sel *selection) unchanged(t *txn, p *place) (old *record.Blob, err error) {
	if old, err = t.Record(record.Slot{}); err != nil {
		return nil, err
	}
	h, err := getPending(t, p)
	if err != nil {
		return nil, err
	}
	if (h == nil) != (sel.head == nil) || h != nil && *h != *sel.head || (old == nil) != (sel.old == nil) ||
		old != nil && (old.Content.Kind != sel.old.Content.Kind || old.Content.ID != sel.old.Content.ID || old.Size != sel.old.Size) {
		return nil, errMoved
	}
	return old, nil
}

// chunks reads a selected block's chunks.
func (sel *selection) chunks(t *txn, p *place, b *block) ([]engine.Chunk, error) {
	if b.pending {
		v, err := t.Get(engine.SpaceBlock, append(record.PendingPrefix(p.key, sel.head.Epoch), b.ID...))
		if err != nil {
			return nil, err
		}
		chunks, _, err := record.DecodeBlockChunks(view.String(v))
		return chunks, err
	}
	var chunks []engine.Chunk
	err := visitList(t, p, sel.old.Content.ID, b.at, func(at int64, c *record.Piece) bool {
		if at >= b.at+b.Size {
			return false
		}
		chunks = append(chunks, c.Chunk)
		return true
	})
	return chunks, err
}
