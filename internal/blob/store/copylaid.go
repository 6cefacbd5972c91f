package store

import (
	"context"
	"strings"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
)

// laidSource is a page map or a long chunk list of this server on its way into another blob: its entries are copied, its chunks
// shared. It is pinned, so that it is not written and not swept meanwhile.
type laidSource struct {
	laying
	from *place
	id   engine.Stamp
	kind record.ContentKind
	size int64
}

func (ls *laidSource) done() {
	ls.svc.pins.add(ls.from.key, ls.id, -1)
	ls.svc.sweeper.Wake()
	ls.laying.done()
}

// fetchPages takes hold of a page blob: as pages, or as bytes if that is what is wanted.
func (s *Service) fetchPages(ctx context.Context, p *place, sel Selector, t *SourceTerms, now engine.Stamp) (*fetched, error) {
	if !t.pages || t.Want.HasMD5 {
		return s.fetchBytes(ctx, p, sel, t, now)
	}
	return s.fetchLaid(ctx, p, sel, t, now, record.ContentPages)
}

// fetchLaid takes hold of a page map or a chunk list as such.
func (s *Service) fetchLaid(ctx context.Context, p *place, sel Selector, t *SourceTerms, now engine.Stamp, kind record.ContentKind) (*fetched, error) {
	f := &fetched{store: s.store}
	unpin := func() {}
	// In a transaction no write is under way, so the content stays as it is seen here once it is pinned.
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
		if rec.Content.Kind != kind {
			return engine.ErrReleased // replaced meanwhile: look again
		}
		f.rec, f.tags, f.CRC64 = rec, rec.Tags, rec.CRC64
		id := rec.Content.ID
		s.pins.add(p.key, id, 1)
		unpin = func() { s.pins.add(p.key, id, -1) }
		return nil
	})
	if err != nil {
		unpin()
		return nil, err
	}
	f.laid = &laidSource{laying: laying{svc: s}, from: p, id: f.rec.Content.ID, kind: kind, size: f.size}
	return f, nil
}

// fetchBytes reads a source as a stream and stores it anew.
func (s *Service) fetchBytes(ctx context.Context, p *place, sel Selector, t *SourceTerms, now engine.Stamp) (*fetched, error) {
	rd, err := s.open(ctx, nil, p, sel, func(rd *Reading) (err error) {
		rd.Offset, rd.Length, err = t.check(rd.Blob, now)
		return err
	})
	if err != nil {
		return nil, err
	}
	body := rd.Stream()
	defer body.Close()
	in, err := s.receive(ctx, body, rd.Length, 0, t.Want.HasMD5)
	if err != nil {
		return nil, err
	}
	f := &fetched{store: s.store, rec: rd.Blob, size: rd.Length, Sums: in.Sums, tags: rd.Blob.Tags}
	for i := range in.chunks {
		f.made = append(f.made, in.chunks[i].Ref)
		f.pieces = append(f.pieces, record.Piece{Chunk: in.chunks[i]})
	}
	return f, nil
}

// precopy checks the terms of a copy before its content is laid.
func (s *Service) precopy(ctx context.Context, p *place, terms *Target, kind record.Type, check func(old *record.Blob) error) error {
	return s.store.View(ctx, p.key, func(v engine.Reader) error {
		old, err := replaced(v, p, terms, kind)
		if err != nil || old == nil || check == nil {
			return err
		}
		return check(old)
	})
}

// copyLaid lays a copy of the source at its destination, some entries in each transaction.
func (s *Service) copyLaid(ctx context.Context, to *place, ls *laidSource) error {
	if err := ls.begin(ctx, s, to, ls.kind); err != nil {
		return err
	}
	if ls.kind == record.ContentPages {
		return s.copyPages(ctx, ls)
	}
	return s.copyList(ctx, ls)
}

func (s *Service) copyPages(ctx context.Context, ls *laidSource) error {
	for next, more := int64(0), true; more; {
		var ranges []record.PageRange
		inline := 0
		err := s.store.View(ctx, ls.from.key, func(v engine.Reader) error {
			layers, err := pageLayers(v, ls.from.key, ls.id)
			if err != nil {
				return err
			}
			more = false
			return walkPages(v, ls.from.key, layers, next, ls.size, nil, func(u *record.PageRange) bool {
				if len(ranges) == copyRanges || inline > copyInline {
					more = true
					return false
				}
				c := *u
				c.Bytes = append([]byte(nil), u.Bytes...)
				inline += len(c.Bytes)
				ranges = append(ranges, c)
				next = u.To
				return true
			})
		})
		if err != nil || len(ranges) == 0 {
			return err
		}
		if err := ls.pages(ctx, ranges); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) copyList(ctx context.Context, ls *laidSource) error {
	for ls.end < ls.size {
		var pieces []record.Piece
		next := ls.end
		err := s.store.View(ctx, ls.from.key, func(v engine.Reader) error {
			return visitList(v, ls.from, ls.id, next, func(at int64, p *record.Piece) bool {
				if at >= ls.size || len(pieces) == s.atOnce {
					return false
				}
				c := *p
				c.Block = strings.Clone(p.Block)
				pieces = append(pieces, c)
				return true
			})
		})
		if err == nil && len(pieces) == 0 {
			err = record.ErrContent
		}
		if err == nil {
			err = ls.pieces(ctx, pieces)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
