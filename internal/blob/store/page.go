package store

import (
	"context"
	"errors"
	"math"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// PageRequest are the conditions of page writes; -1 stands for none.
type PageRequest struct {
	Target
	LE, LT, EQ int64
}

// pagesWritable refuses to change what is no page blob, or is made by incremental copies.
func pagesWritable(rec *record.Blob) error {
	switch {
	case rec.Type != record.PageBlob:
		return protocol.ErrInvalidBlobType
	case rec.Copy != nil && rec.Copy.Incremental:
		return protocol.ErrOperationNotAllowedOnIncrementalCopyBlob
	}
	return nil
}

// check admits a write of the pages from from to to.
func (a *PageRequest) check(rec *record.Blob, from, to int64) error {
	if err := a.write(rec); err != nil {
		return err
	}
	if err := pagesWritable(rec); err != nil {
		return err
	}
	switch {
	case a.LE >= 0 && rec.Sequence > a.LE, a.LT >= 0 && rec.Sequence >= a.LT, a.EQ >= 0 && rec.Sequence != a.EQ:
		return protocol.ErrSequenceNumberConditionNotMet
	case to > rec.Size:
		return protocol.ErrInvalidPageRange
	}
	return nil
}

// layPages writes or clears pages of a blob.
func (s *Service) layPages(ctx context.Context, p *place, terms *PageRequest, u record.PageRange) (rec *record.Blob, err error) {
	err = s.change(ctx, p, func(t *txn) error {
		if rec, err = t.Record(record.Slot{}); err != nil {
			return err
		}
		if err := terms.check(rec, u.From, u.To); err != nil {
			return err
		}
		if err := t.writePages(&rec.Content, u); err != nil {
			return err
		}
		rec.Changed = t.Stamp()
		rec.Lease = rec.Lease.Written(terms.Now)
		t.Modify(rec)
		return nil
	})
	return rec, err
}

// WritePages puts an upload over a page blob's pages from an offset on (Put Page, update). It returns the blob as it is then.
func (s *Service) WritePages(ctx context.Context, a *PageRequest, from int64, up *Upload) (*record.Blob, Sums, error) {
	p, err := s.place(ctx, &a.Target)
	if err != nil {
		return nil, Sums{}, err
	}
	if err := s.precheck(ctx, p, func(rec *record.Blob) error { return a.check(rec, from, from+up.Size) }); err != nil {
		return nil, Sums{}, err
	}
	in, err := s.receiveUpload(ctx, up, record.MaxInlinePages, up.Want.HasMD5)
	if err != nil {
		return nil, Sums{}, err
	}
	defer in.done()
	rec, err := s.layPages(ctx, p, a, in.pages(from))
	return rec, in.Sums, err
}

// ClearPages makes zeros of the pages between two offsets (Put Page, clear).
func (s *Service) ClearPages(ctx context.Context, a *PageRequest, from, to int64) (*record.Blob, error) {
	p, err := s.place(ctx, &a.Target)
	if err != nil {
		return nil, err
	}
	return s.layPages(ctx, p, a, record.PageRange{From: from, To: to, Kind: record.PageHole})
}

// SequenceAction is what becomes of a page blob's sequence number.
type SequenceAction byte

const (
	SequenceKept SequenceAction = iota
	SequenceMax                 // the larger of the two
	SequenceSet
	SequenceIncrement
)

// PageChange is a change of a page blob's size, sequence number and content headers.
type PageChange struct {
	Size   int64 // -1: kept
	Action SequenceAction
	Number int64
	HTTP   record.HTTPProperties // with md5, set if one of them is there
	MD5    string
}

// SetPageProperties changes a page blob's size, sequence number and content headers. It returns the blob as it is then.
func (s *Service) SetPageProperties(ctx context.Context, a *Target, c *PageChange) (after record.Blob, err error) {
	err = s.modify(ctx, a, func(t *txn, rec *record.Blob) error {
		if err := pagesWritable(rec); err != nil {
			return err
		}
		switch {
		case c.Action == SequenceIncrement && rec.Sequence+1 < 0:
			return protocol.ErrSequenceNumberIncrementTooLarge
		case c.Action == SequenceIncrement:
			rec.Sequence++
		case c.Action == SequenceMax:
			rec.Sequence = max(rec.Sequence, c.Number)
		case c.Action == SequenceSet:
			rec.Sequence = c.Number
		}
		if c.Size >= 0 {
			if c.Size < rec.Size { // what comes back by a later growth is zero
				if err := t.writePages(&rec.Content, record.PageRange{From: c.Size, To: rec.Size, Kind: record.PageHole}); err != nil {
					return err
				}
			}
			t.used.Bytes += c.Size - rec.Size
			rec.Size = c.Size
		}
		if c.HTTP != (record.HTTPProperties{}) || c.MD5 != "" {
			rec.HTTP, rec.MD5 = c.HTTP, c.MD5
		}
		rec.Changed = t.Stamp()
		after = *rec
		return nil
	})
	return after, err
}

// PageQuery is which written pages of a blob are asked for.
type PageQuery struct {
	Target
	Slot   Selector
	Range  protocol.Range
	Ranged bool
	Start  int64 // where to begin, by a marker
	// Limit is the most runs to be told; math.MaxInt for all, of an answer that cannot go on.
	Limit int
	// Previous is the snapshot to compare with; 0 for none.
	Previous engine.Stamp
}

// PageRanges calls visit for the runs of written pages in a page blob, or those that differ from an earlier snapshot, in order;
// cleared tells those that are zero now and were not. next is where to go on if the limit came before the end, else -1.
func (s *Service) PageRanges(ctx context.Context, q *PageQuery, visit func(from, to int64, cleared bool)) (rec *record.Blob, next int64, err error) {
	p, err := s.place(ctx, &q.Target)
	if err != nil {
		return nil, 0, err
	}
	runs := pageRuns{ctx: ctx, limit: q.Limit, next: -1, visit: visit}
	if q.Limit < math.MaxInt {
		runs.most = s.looked
	}
	err = s.store.View(ctx, p.key, func(v engine.Reader) (err error) {
		if rec, _, err = q.Slot.find(v, p); err != nil {
			return err
		}
		if err := q.read(rec); err != nil {
			return err
		}
		if rec.Type != record.PageBlob {
			return protocol.ErrInvalidBlobType
		}
		from, to := q.Start, rec.Size
		if q.Ranged {
			offset, length, ok := q.Range.Within(rec.Size)
			if !ok {
				return protocol.ErrInvalidPageRange
			}
			from = max(from, offset/record.PageSize*record.PageSize)
			to = min(to, (offset+length+record.PageSize-1)/record.PageSize*record.PageSize)
		}
		layers, err := pageLayers(v, p.key, rec.Content.ID)
		if err != nil {
			return err
		}
		if q.Previous == 0 {
			err = walkPages(v, p.key, layers, from, to, runs.step, func(u *record.PageRange) bool { return runs.add(u.From, u.To, false) })
		} else {
			err = previousPages(v, p, q.Slot, q.Previous, layers, func(before []engine.Stamp) error {
				return diffPages(v, p.key, layers, before, from, to, runs.step, runs.add)
			})
		}
		runs.flush()
		if errors.Is(err, errEnough) {
			return nil
		}
		return err
	})
	return rec, runs.next, err
}

// previousPages finds the layers of an earlier snapshot of the same blob.
func previousPages(v engine.Reader, p *place, slot Selector, previous engine.Stamp, layers []engine.Stamp, then func([]engine.Stamp) error) error {
	before, _, err := findSlot(v, p, record.Slot{Stamp: previous, Kind: record.SlotSnapshot})
	switch {
	case errors.Is(err, protocol.ErrBlobNotFound) || err == nil && before == nil:
		return protocol.ErrPreviousSnapshotNotFound
	case err != nil:
		return err
	case slot.Snapshot != 0 && previous > slot.Snapshot:
		return protocol.ErrPreviousSnapshotCannotBeNewer
	case before.Type != record.PageBlob:
		return protocol.ErrBlobOverwritten
	}
	old, err := pageLayers(v, p.key, before.Content.ID)
	if err != nil {
		return err
	}
	if len(old) == 0 || len(layers) == 0 || old[len(old)-1] != layers[len(layers)-1] {
		return protocol.ErrBlobOverwritten
	}
	return then(old)
}

// pageRuns makes runs of ranges; neighbours become one.
type pageRuns struct {
	visit    func(from, to int64, cleared bool)
	n, limit int
	from, to int64
	cleared  bool
	open     bool
	next     int64 // where to go on, -1 while the limit has not been met

	ctx          context.Context
	looked, most int // ranges looked at; most is 0 for no bound
}

// step is told of each range that is looked at: what is the same, or cleared, gives no run and takes its time.
func (l *pageRuns) step(at int64) error {
	if l.looked++; l.looked%ctxEvery == 0 && l.ctx.Err() != nil {
		return l.ctx.Err()
	}
	if l.most > 0 && l.looked > l.most {
		l.next = at
		return errEnough
	}
	return nil
}

func (l *pageRuns) add(from, to int64, cleared bool) bool {
	if l.open && l.to == from && l.cleared == cleared {
		l.to = to
		return true
	}
	l.flush()
	if l.n == l.limit {
		l.next = from
		return false
	}
	l.from, l.to, l.cleared, l.open = from, to, cleared, true
	return true
}

func (l *pageRuns) flush() {
	if l.open {
		l.open = false
		l.n++
		l.visit(l.from, l.to, l.cleared)
	}
}
