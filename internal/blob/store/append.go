package store

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// maxAppends is the most blocks of an append blob.
const maxAppends = 50_000

// AppendRequest are the conditions that only appends have; -1 stands for none.
type AppendRequest struct {
	Target
	Position, MaxSize int64
}

// check admits n bytes at the end of rec; n is 0 for a seal.
func (a *AppendRequest) check(rec *record.Blob, n int64) error {
	if err := a.write(rec); err != nil {
		return err
	}
	switch {
	case rec.Type != record.AppendBlob:
		return protocol.ErrInvalidBlobType
	case rec.Sealed && n > 0:
		return protocol.ErrBlobIsSealed
	case a.MaxSize >= 0 && rec.Size+n > a.MaxSize:
		return protocol.ErrMaxBlobSizeConditionNotMet
	case a.Position >= 0 && rec.Size != a.Position:
		return protocol.ErrAppendPositionConditionNotMet
	case n > 0 && rec.Blocks >= maxAppends:
		return protocol.ErrCommittedBlockCountExceedsLimit
	}
	return nil
}

// Append puts an upload at the end of an append blob, as one block (Append Block). It returns the blob as it is then.
func (s *Service) Append(ctx context.Context, a *AppendRequest, up *Upload) (*record.Blob, Sums, error) {
	p, err := s.place(ctx, &a.Target)
	if err != nil {
		return nil, Sums{}, err
	}
	if err := s.precheck(ctx, p, func(rec *record.Blob) error { return a.check(rec, up.Size) }); err != nil {
		return nil, Sums{}, err
	}
	in, err := s.receiveUpload(ctx, up, 0, up.Want.HasMD5)
	if err != nil {
		return nil, Sums{}, err
	}
	defer in.done()
	rec, err := s.appendContent(ctx, p, a, in)
	return rec, in.Sums, err
}

// Seal closes an append blob to further blocks (Append Blob Seal).
func (s *Service) Seal(ctx context.Context, a *AppendRequest) (rec *record.Blob, err error) {
	p, err := s.place(ctx, &a.Target)
	if err != nil {
		return nil, err
	}
	err = s.change(ctx, p, func(t *txn) error {
		if rec, err = t.Record(record.Slot{}); err != nil {
			return err
		}
		if err := a.check(rec, 0); err != nil {
			return err
		}
		if rec.Sealed {
			return nil
		}
		rec.Sealed, rec.Changed = true, t.Stamp()
		rec.Lease = rec.Lease.Written(a.Now)
		t.Modify(rec)
		return nil
	})
	return rec, err
}

// appendContent puts what was taken in at the end of an append blob, as one block.
func (s *Service) appendContent(ctx context.Context, p *place, terms *AppendRequest, in *intake) (rec *record.Blob, err error) {
	err = s.change(ctx, p, func(t *txn) error {
		if rec, err = t.Record(record.Slot{}); err != nil {
			return err
		}
		if err := terms.check(rec, in.size); err != nil {
			return err
		}
		if err := t.extend(rec, in.chunks); err != nil {
			return err
		}
		rec.CRC64 = protocol.CombineCRC64(rec.CRC64, in.CRC64, in.size)
		rec.Size += in.size
		rec.Blocks++
		rec.Changed = t.Stamp()
		rec.Lease = rec.Lease.Written(terms.Now)
		t.used.Bytes += in.size
		t.Modify(rec)
		return nil
	})
	return rec, err
}

// extend adds chunks to the end of a blob's chunk list. A snapshot may share the list: it reads only as far as its own size, so
// pages are added behind. Only if something lies there already, because the blob went back to an earlier state, is the list
// taken over into a new one.
func (t *txn) extend(rec *record.Blob, chunks []engine.Chunk) error {
	if rec.Content.Kind == record.ContentEmpty {
		rec.Content = record.Content{Kind: record.ContentList, ID: t.Stamp()}
	} else if rec.Content.Kind != record.ContentList {
		return fmt.Errorf("append blob %q: %w", t.name, record.ErrContent)
	} else if taken, err := t.listed(rec.Content.ID, rec.Size); err != nil {
		return err
	} else if taken {
		if err := t.copyList(rec); err != nil {
			return err
		}
	}
	w := listWriter{t: t, id: rec.Content.ID, offset: rec.Size, end: rec.Size}
	for i := range chunks {
		t.Retain(chunks[i].Ref)
		w.add(&record.Piece{Chunk: chunks[i], First: i == 0})
	}
	w.flush()
	return nil
}

// listed tells whether a chunk list has a page that begins at or after an offset.
func (t *txn) listed(id engine.Stamp, offset int64) (bool, error) {
	prefix := record.AppendContentKey(nil, t.key, record.KeyContentPage, id)
	it := t.Scan(engine.SpaceBlock, prefix, record.After(append([]byte(nil), prefix...)))
	found := it.SeekGE(binary.BigEndian.AppendUint64(prefix, uint64(offset)))
	return found, it.Close()
}

// copyList gives a record a chunk list of its own, up to its size, that shares the chunks.
func (t *txn) copyList(rec *record.Blob) error {
	w := listWriter{t: t, id: t.Stamp()}
	err := visitList(t, t.place, rec.Content.ID, 0, func(at int64, p *record.Piece) bool {
		if at >= rec.Size {
			return false
		}
		t.Retain(p.Ref)
		w.add(p)
		return true
	})
	if err != nil {
		return err
	}
	w.flush()
	if err := t.drop(rec, record.Slot{}, false); err != nil {
		return err
	}
	rec.Content.ID = w.id
	return nil
}
