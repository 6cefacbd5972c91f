package blob

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// maxAppends is the most blocks of an append blob.
const maxAppends = 50_000

func appendBlockLimit(v protocol.Version) int64 {
	if v < protocol.V20221102 {
		return 4 * miB
	}
	return 100 * miB
}

// emptyBody refuses a body on an operation that makes an empty blob.
func emptyBody(r *rest.Request) error {
	if n := r.Body().Len(); n != 0 {
		return protocol.InvalidHeader("Content-Length", strconv.FormatInt(n, 10))
	}
	return nil
}

// createAppendBlob is Put Blob for an append blob.
func (s *Service) createAppendBlob(r *rest.Request) error {
	return s.createEmpty(r, record.AppendBlob, func(*rest.Request, *record.Blob) error { return nil })
}

// createEmpty makes a page or append blob without content.
func (s *Service) createEmpty(r *rest.Request, blobType record.Type, decode func(*rest.Request, *record.Blob) error) error {
	if err := emptyBody(r); err != nil {
		return err
	}
	rec, err := decodeBlob(r, blobType)
	if err != nil {
		return err
	}
	if err := decode(r, rec); err != nil {
		return err
	}
	terms, err := decodeAccess(r)
	if err != nil {
		return err
	}
	p, scope, err := s.placeNew(r)
	if err != nil {
		return err
	}
	rec.EncryptionScope = scope
	err = s.changeTagged(r.Context, p, rec.Tags, func(t *Txn) error {
		old, err := t.Record(record.Slot{})
		if err != nil {
			return err
		}
		if err := terms.create(old, blobType); err != nil {
			return err
		}
		if blobType == record.PageBlob {
			rec.Content = t.newPageMap()
		} else {
			rec.HasCRC64 = true // of nothing, yet
		}
		t.begin(rec, old, terms.now)
		return t.Replace(old, rec, nil)
	})
	if err != nil {
		return err
	}
	setWritten(r, rec)
	r.Reply(201)
	return nil
}

// appendTerms are the conditions that only appends have; -1 stands for none.
type appendTerms struct {
	access
	position, maxSize int64
}

func decodeAppend(r *rest.Request) (a appendTerms, err error) {
	if a.access, err = decodeAccess(r); err != nil {
		return a, err
	}
	if a.position, err = sizeHeader(r, "x-ms-blob-condition-appendpos"); err != nil {
		return a, err
	}
	a.maxSize, err = sizeHeader(r, "x-ms-blob-condition-maxsize")
	return a, err
}

// sizeHeader reads a header that holds a number of bytes, -1 if it is absent.
func sizeHeader(r *rest.Request, name string) (int64, error) {
	text, ok := r.HeaderOK(name)
	if !ok {
		return -1, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, protocol.InvalidHeader(name, text)
	}
	return n, nil
}

// check admits n bytes at the end of rec; n is 0 for a seal.
func (a *appendTerms) check(rec *record.Blob, n int64) error {
	if err := a.write(rec); err != nil {
		return err
	}
	switch {
	case rec.Type != record.AppendBlob:
		return protocol.ErrInvalidBlobType
	case rec.Sealed && n > 0:
		return protocol.ErrBlobIsSealed
	case a.maxSize >= 0 && rec.Size+n > a.maxSize:
		return protocol.ErrMaxBlobSizeConditionNotMet
	case a.position >= 0 && rec.Size != a.position:
		return protocol.ErrAppendPositionConditionNotMet
	case n > 0 && rec.Blocks >= maxAppends:
		return protocol.ErrCommittedBlockCountExceedsLimit
	}
	return nil
}

// appendBlock is Append Block.
func (s *Service) appendBlock(r *rest.Request) error {
	if err := refuseUnsupported(r); err != nil {
		return err
	}
	terms, err := decodeAppend(r)
	if err != nil {
		return err
	}
	want, err := decodeSums(r, "content-md5", "x-ms-content-crc64")
	if err != nil {
		return err
	}
	body, err := openContent(r, appendBlockLimit(r.Version))
	if err != nil {
		return err
	}
	if body.size == 0 {
		return protocol.InvalidHeader("Content-Length", "0")
	}
	p, err := s.place(r)
	if err != nil {
		return err
	}
	in, err := s.takeIn(r, p, &body, 0, &want, func(rec *record.Blob) error { return terms.check(rec, body.size) })
	if err != nil {
		return err
	}
	defer in.done()
	rec, err := s.appendContent(r.Context, p, &terms, in)
	if err != nil {
		return err
	}
	replyAppend(r, rec, in.size)
	setSums(r, &want, in)
	body.setStructured(r)
	r.Reply(201)
	return nil
}

// replyAppend answers an append of n bytes that led to rec.
func replyAppend(r *rest.Request, rec *record.Blob, n int64) {
	setChanged(r, rec.Changed)
	r.SetHeader("x-ms-blob-append-offset", strconv.FormatInt(rec.Size-n, 10))
	r.SetHeader("x-ms-blob-committed-block-count", strconv.FormatUint(uint64(rec.Blocks), 10))
	r.SetHeader("x-ms-request-server-encrypted", "true")
}

// appendContent puts what was taken in at the end of an append blob, as one block.
func (s *Service) appendContent(ctx context.Context, p *place, terms *appendTerms, in *intake) (rec *record.Blob, err error) {
	err = s.change(ctx, p, func(t *Txn) error {
		if rec, err = t.Record(record.Slot{}); err != nil {
			return err
		}
		if err := terms.check(rec, in.size); err != nil {
			return err
		}
		if err := t.extend(rec, in.chunks); err != nil {
			return err
		}
		rec.CRC64 = protocol.CombineCRC64(rec.CRC64, in.crc64, in.size)
		rec.Size += in.size
		rec.Blocks++
		rec.Changed = t.Stamp()
		rec.Lease = rec.Lease.Written(terms.now)
		t.delta += in.size
		t.Modify(rec)
		return nil
	})
	return rec, err
}

// extend adds chunks to the end of a blob's chunk list. A snapshot may share the list: it reads only as far as its own size, so
// pages are added behind. Only if something lies there already, because the blob went back to an earlier state, is the list
// taken over into a new one.
func (t *Txn) extend(rec *record.Blob, chunks []engine.Chunk) error {
	if rec.Content.Kind == record.ContentEmpty {
		rec.Content = record.Content{Kind: record.ContentList, ID: t.Stamp()}
	} else if rec.Content.Kind != record.ContentList {
		return fmt.Errorf("append blob %q: %w", t.name, record.ErrContent)
	} else if taken, err := t.listed(rec.Content.ID, rec.Size); err != nil {
		return err
	} else if taken {
		if err := t.takeOver(rec); err != nil {
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
func (t *Txn) listed(id engine.Stamp, offset int64) (bool, error) {
	prefix := record.AppendContentKey(nil, t.key, record.KeyContentPage, id)
	it := t.Scan(engine.SpaceBlock, prefix, record.After(append([]byte(nil), prefix...)))
	found := it.SeekGE(binary.BigEndian.AppendUint64(prefix, uint64(offset)))
	return found, it.Close()
}

// takeOver gives a record a chunk list of its own, up to its size, that shares the chunks.
func (t *Txn) takeOver(rec *record.Blob) error {
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

// sealBlob is Append Blob Seal.
func (s *Service) sealBlob(r *rest.Request) error {
	terms, err := decodeAppend(r)
	if err != nil {
		return err
	}
	p, err := s.place(r)
	if err != nil {
		return err
	}
	var rec *record.Blob
	err = s.change(r.Context, p, func(t *Txn) error {
		if rec, err = t.Record(record.Slot{}); err != nil {
			return err
		}
		if err := terms.check(rec, 0); err != nil {
			return err
		}
		if rec.Sealed {
			return nil
		}
		rec.Sealed, rec.Changed = true, t.Stamp()
		rec.Lease = rec.Lease.Written(terms.now)
		t.Modify(rec)
		return nil
	})
	if err != nil {
		return err
	}
	setChanged(r, rec.Changed)
	r.SetHeader("x-ms-blob-sealed", "true")
	r.Reply(200)
	return nil
}
