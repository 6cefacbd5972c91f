package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// Bounds of the transactions in which content is laid.
const (
	// maxAtOnce is the most entries of a chunk list that one transaction writes. With the longest ids and keys they take less than
	// engine.MaxTransaction.
	maxAtOnce  = 1 << 16
	copyRanges = 1000
	copyInline = 4 << 20 // bytes of small pages
)

// errLong tells that a chunk list is over maxAtOnce: it is to be laid.
var errLong = errors.New("the chunk list is longer than one transaction takes")

// laying is a chunk list or a page map that takes more transactions than one: it is staged ("laid") piece by piece, owning its chunks, and
// then made a record's content at once (adopt). Until then a work item stands for it, by which the sweeper takes it away if no
// record comes to own it, and a pin that keeps the sweeper from doing so while this process is at it. The caller calls done.
type laying struct {
	svc   *Service
	to    *place
	made  record.Content // Kind is ContentEmpty before begin
	end   int64          // bytes of a list so far
	crc64 uint64         // of a list so far
}

// begin makes the empty list or map.
func (l *laying) begin(ctx context.Context, s *Service, to *place, kind record.ContentKind) error {
	return s.change(ctx, to, func(t *txn) error {
		l.done() // of an earlier run
		if l.made = (record.Content{Kind: kind, ID: t.Stamp()}); kind == record.ContentPages {
			l.made = t.newPageMap()
		}
		t.enqueue(record.WorkContent, l.made.ID, kind)
		s.pins.add(to.key, l.made.ID, 1)
		l.svc, l.to = s, to
		return nil
	})
}

func (l *laying) done() {
	if l.to != nil {
		l.svc.pins.add(l.to.key, l.made.ID, -1)
		l.svc.sweeper.Wake()
		l.to = nil
	}
}

// list adds to a chunk list what fn gives in one transaction, at most maxAtOnce entries.
func (l *laying) list(ctx context.Context, fn func(t *txn, add func(*record.Piece)) error) error {
	var end int64
	var crc64 uint64
	err := l.svc.change(ctx, l.to, func(t *txn) error {
		w := listWriter{t: t, id: l.made.ID, offset: l.end, end: l.end}
		crc64 = l.crc64
		err := fn(t, func(p *record.Piece) {
			t.Retain(p.Ref)
			w.add(p)
			crc64 = protocol.CombineCRC64(crc64, p.CRC64, p.Size)
		})
		w.flush()
		end = w.end
		return err
	})
	if err == nil {
		l.end, l.crc64 = end, crc64
	}
	return err
}

// pieces adds to a chunk list.
func (l *laying) pieces(ctx context.Context, pieces []record.Piece) error {
	return l.list(ctx, func(_ *txn, add func(*record.Piece)) error {
		for i := range pieces {
			add(&pieces[i])
		}
		return nil
	})
}

// pages adds ranges to a page map, at most copyRanges.
func (l *laying) pages(ctx context.Context, ranges []record.PageRange) error {
	return l.svc.change(ctx, l.to, func(t *txn) error {
		m := newPageMerge(t, t.key, l.made.ID, true, pageBudget)
		for _, u := range ranges {
			if upTo, err := m.put(u); err != nil || upTo != u.To {
				return errors.Join(err, m.finish(), fmt.Errorf("copy pages to %q: %w", t.name, record.ErrPages))
			}
		}
		return m.finish()
	})
}

// adoptLaid makes what was laid the content of the blob being written.
func (t *txn) adoptLaid(l *laying) (record.Content, error) {
	if l.made.Kind == record.ContentPages {
		if layers, err := pageLayers(t, t.key, l.made.ID); err != nil || len(layers) == 0 {
			return record.Content{}, fmt.Errorf("copied pages of %q: %w", t.name, errors.Join(err, record.ErrPages))
		}
	}
	t.Delete(engine.SpaceBlobQueue, record.AppendWorkKey(nil, t.key, record.WorkContent, l.made.ID))
	return l.made, nil
}
