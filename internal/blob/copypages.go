package blob

import (
	"context"
	"errors"
	"fmt"

	"github.com/blobd/blobd/internal/engine"
)

// pageSource is a page map on its way into another blob: the ranges are copied, their chunks shared. Both maps are pinned, so
// that the one is not written and the other not swept until it has an owner.
type pageSource struct {
	svc  *Service
	from *place
	id   engine.Stamp
	size int64
	to   *place
	made Content // the destination's, once it is begun
}

func (ps *pageSource) done() {
	ps.svc.pins.add(ps.from.key, ps.id, -1)
	if ps.to != nil {
		ps.svc.pins.add(ps.to.key, ps.made.ID, -1)
	}
	ps.svc.wake()
}

// fetchPages takes hold of a page blob: as pages, or as bytes if that is what is wanted.
func (s *Service) fetchPages(ctx context.Context, p *place, sel selector, t *fetchTerms, now engine.Stamp) (*fetched, error) {
	if !t.pages || t.wantMD5 {
		return s.fetchBytes(ctx, p, sel, t, now)
	}
	f := &fetched{store: s.store}
	unpin := func() {}
	// In a transaction no write is under way, so the map stays as it is seen here once it is pinned.
	err := s.store.Update(ctx, p.key, func(tx engine.Tx) error {
		unpin()
		unpin = func() {}
		rec, _, err := sel.find(tx, p)
		if err != nil {
			return err
		}
		if _, f.size, err = t.check(rec, now); err != nil {
			return err
		}
		if rec.Content.Kind != ContentPages {
			return engine.ErrReleased // replaced meanwhile: look again
		}
		f.rec, f.tags = rec, rec.Tags
		id := rec.Content.ID
		s.pins.add(p.key, id, 1)
		unpin = func() { s.pins.add(p.key, id, -1) }
		return nil
	})
	if err != nil {
		unpin()
		return nil, err
	}
	f.pages = &pageSource{svc: s, from: p, id: f.rec.Content.ID, size: f.size}
	return f, nil
}

// fetchBytes reads a source as a stream and stores it anew.
func (s *Service) fetchBytes(ctx context.Context, p *place, sel selector, t *fetchTerms, now engine.Stamp) (*fetched, error) {
	rd, body, err := s.open(ctx, p, sel, func(rd *reading) (err error) {
		rd.offset, rd.length, err = t.check(rd.rec, now)
		return err
	})
	if err != nil {
		return nil, err
	}
	if body == nil {
		body = newBytesBody(rd.inline)
	}
	defer body.Close()
	in, err := s.receive(ctx, body, rd.length, 0, t.wantMD5)
	if err != nil {
		return nil, err
	}
	f := &fetched{store: s.store, rec: rd.rec, size: rd.length, crc64: in.crc64, md5: in.md5, tags: rd.rec.Tags}
	for i := range in.chunks {
		f.made = append(f.made, in.chunks[i].Ref)
		f.pieces = append(f.pieces, piece{Chunk: in.chunks[i]})
	}
	return f, nil
}

// precopy checks the terms of a copy before its pages are laid.
func (s *Service) precopy(ctx context.Context, p *place, terms *access, check func(old *Record) error) error {
	return s.store.View(ctx, p.key, func(v engine.Reader) error {
		old, err := getRecord(v, p, Slot{})
		if err != nil {
			return err
		}
		if err := terms.create(old); err != nil || old == nil || check == nil {
			return err
		}
		return check(old)
	})
}

// Bounds of one transaction of a copy of pages.
const (
	copyRanges = 1000
	copyInline = 4 * miB // bytes
)

// copyPages makes a map of the destination's from the source's, some ranges in each transaction. The map has a work item from the
// beginning, by which the sweeper takes it away if no record comes to own it.
func (s *Service) copyPages(ctx context.Context, to *place, ps *pageSource) error {
	err := s.change(ctx, to, func(t *Txn) error {
		if ps.to != nil {
			s.pins.add(to.key, ps.made.ID, -1) // of an earlier run
		}
		ps.made = t.newPageMap()
		t.enqueue(workContent, ps.made.ID, ContentPages)
		s.pins.add(to.key, ps.made.ID, 1)
		ps.to = to
		return nil
	})
	if err != nil {
		return err
	}
	for next, more := int64(0), true; more; {
		var ranges []pageRange
		inline := 0
		err := s.store.View(ctx, ps.from.key, func(v engine.Reader) error {
			layers, err := pageLayers(v, ps.from.key, ps.id)
			if err != nil {
				return err
			}
			more = false
			return walkPages(v, ps.from.key, layers, next, ps.size, func(u *pageRange) bool {
				if len(ranges) == copyRanges || inline > copyInline {
					more = true
					return false
				}
				c := *u
				c.bytes = append([]byte(nil), u.bytes...)
				inline += len(c.bytes)
				ranges = append(ranges, c)
				next = u.to
				return true
			})
		})
		if err != nil {
			return err
		}
		if len(ranges) == 0 {
			return nil
		}
		err = s.change(ctx, to, func(t *Txn) error {
			m := newPageMerge(t, t.key, ps.made.ID, true, pageBudget)
			for _, u := range ranges {
				if upTo, err := m.put(u); err != nil || upTo != u.to {
					return errors.Join(err, m.finish(), fmt.Errorf("copy pages to %q: %w", t.name, errPages))
				}
			}
			return m.finish()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// adoptPages makes the copied map that of the blob being written.
func (t *Txn) adoptPages(ps *pageSource) (Content, error) {
	layers, err := pageLayers(t, t.key, ps.made.ID)
	if err != nil || len(layers) == 0 {
		return Content{}, fmt.Errorf("copied pages of %q: %w", t.name, errors.Join(err, errPages))
	}
	t.Delete(engine.SpaceBlobQueue, appendWorkKey(nil, t.key, workContent, ps.made.ID))
	return ps.made, nil
}
