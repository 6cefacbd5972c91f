package blob

import (
	"encoding/base64"
	"errors"
	"strconv"

	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
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
	return h, h.Decode(record.View(v))
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
		if b.Chunks, b.Size, err = record.DecodeBlockChunks(record.View(v)); err != nil {
			return err
		}
		if err := visit(&b); err != nil {
			return err
		}
	}
	return it.Close()
}

// putBlock is Put Block.
func (s *Service) putBlock(r *rest.Request) error {
	id, err := decodeBlockID(r)
	if err != nil {
		return err
	}
	if err := refuseUnsupported(r); err != nil {
		return err
	}
	terms, err := decodeAccess(r)
	if err != nil {
		return err
	}
	want, err := decodeSums(r, "content-md5", "x-ms-content-crc64")
	if err != nil {
		return err
	}
	body, err := openContent(r, putBlockLimit(r.Version))
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
	in, err := s.takeIn(r, p, &body, 0, &want, terms.stage)
	if err != nil {
		return err
	}
	defer in.done()
	if err := s.stageBlock(r, p, &terms, &block{ID: id, Size: in.size, Chunks: in.chunks}); err != nil {
		return err
	}
	setSums(r, &want, in)
	r.SetHeader("x-ms-request-server-encrypted", "true")
	body.setStructured(r)
	r.Reply(201)
	return nil
}

func decodeBlockID(r *rest.Request) (string, error) {
	text, ok := r.QueryOK("blockid")
	if !ok {
		return "", protocol.MissingQuery("blockid")
	}
	id, ok := parseBlockID(text)
	if !ok {
		return "", protocol.InvalidQuery("blockid", text, "Not a valid base64 string.")
	}
	return id, nil
}

// setSums answers a write of a part with the sum that the client sent, else with the CRC-64.
func setSums(r *rest.Request, want *sums, in *intake) {
	if want.hasMD5 {
		r.SetHeader("Content-MD5", protocol.MD5(in.md5[:]))
		if r.Version < protocol.V20261006 {
			return
		}
	}
	if r.Version >= protocol.V20190202 {
		r.SetHeader("x-ms-content-crc64", protocol.CRC64(in.crc64))
	}
}

// stage checks the terms of a block for rec, which may be nil: only the lease and the type matter.
func (a *access) stage(rec *record.Blob) error {
	if rec == nil {
		return nil
	}
	if err := rec.Lease.CheckWrite(a.now, a.lease, lease.Blob); err != nil {
		return err
	}
	if a.createOnly {
		return protocol.ErrUnauthorizedBlobOverwrite
	}
	return a.replaceable(rec, record.BlockBlob)
}

// stageBlock keeps a block until it is committed.
func (s *Service) stageBlock(r *rest.Request, p *place, terms *access, b *block) error {
	return s.change(r.Context, p, func(t *Txn) error {
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
			if chunks, old, err = record.DecodeBlockChunks(record.View(v)); err != nil {
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
		t.delta += b.Size - old
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
func (t *Txn) dropPending() error {
	h, err := getPending(t.Tx, t.place)
	if h == nil || err != nil {
		return err
	}
	return t.closePending(h, nil)
}

// closePending ends an epoch of uncommitted blocks. The chunks of those in taken have a new owner already. If there are many
// blocks only the head goes, taken must be empty, and the sweeper does the rest: it has had its work item since the beginning.
func (t *Txn) closePending(h *record.Pending, taken map[string]bool) error {
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
	t.delta -= h.Bytes
	return err
}

// putBlockList is Put Block List.
func (s *Service) putBlockList(r *rest.Request) error {
	rec, err := decodeBlob(r, record.BlockBlob)
	if err != nil {
		return err
	}
	terms, err := decodeAccess(r)
	if err != nil {
		return err
	}
	want, err := decodeSums(r, "content-md5", "x-ms-content-crc64")
	if err != nil {
		return err
	}
	p, scope, err := s.placeNew(r)
	if err != nil {
		return err
	}
	rec.EncryptionScope = scope
	doc, err := r.ReadBody(maxBlockListXML)
	if err != nil {
		return err
	}
	in := sumBytes(doc, want.hasMD5)
	if err := want.check(in); err != nil {
		return err
	}
	refs, err := parseBlockList(record.View(doc))
	if err != nil {
		return err
	}
	if err := s.commit(r.Context, p, &terms, rec, refs); err != nil {
		return err
	}
	setWritten(r, rec)
	setSums(r, &want, in)
	r.Reply(201)
	return nil
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
			b = &block{ID: clone(piece.Block), at: at}
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

// getBlockList is Get Block List.
func (s *Service) getBlockList(r *rest.Request) error {
	kind := r.Query("blocklisttype")
	committed, uncommitted := true, true
	switch protocol.Word(kind) {
	case "", "committed":
		uncommitted = false
	case "uncommitted":
		committed = false
	case "all":
	default:
		return protocol.InvalidQuery("blocklisttype", kind, "")
	}
	terms, err := decodeAccess(r)
	if err != nil {
		return err
	}
	slot, err := decodeSlot(r)
	if err != nil {
		return err
	}
	p, err := s.place(r)
	if err != nil {
		return err
	}
	if r.Grant.Scheme == anonymous {
		uncommitted = false
	}
	b := append(make([]byte, 0, 512), protocol.XMLHead...)
	b = append(b, "<BlockList>"...)
	var rec *record.Blob
	err = s.store.View(r.Context, p.key, func(v engine.Reader) error {
		var h *record.Pending
		var err error
		if rec, _, err = slot.find(v, p); err != nil {
			return err
		}
		if slot.isBase() {
			if h, err = getPending(v, p); err != nil {
				return err
			}
		}
		if rec == nil && h == nil {
			return protocol.ErrBlobNotFound
		}
		if rec != nil {
			if rec.Type != record.BlockBlob {
				return protocol.ErrInvalidBlobType
			}
			if err := terms.read(rec); err != nil {
				return err
			}
		}
		if committed {
			n := len(b)
			if rec != nil {
				err = visitBlocks(v, p, rec, func(bl *block) error { b = appendBlock(b, bl); return nil })
			}
			b = wrapList(b, n, "CommittedBlocks")
		}
		if uncommitted && err == nil {
			n := len(b)
			if h != nil {
				err = visitPending(v, p, h, func(bl *block) error { b = appendBlock(b, bl); return nil })
			}
			b = wrapList(b, n, "UncommittedBlocks")
		}
		return err
	})
	if err != nil {
		return err
	}
	b = append(b, "</BlockList>"...)
	length := int64(0)
	if rec != nil {
		setChanged(r, rec.Changed)
		length = rec.Size
	}
	r.SetHeader("x-ms-blob-content-length", strconv.FormatInt(length, 10))
	r.ReplyXML(200, b)
	return nil
}

func appendBlock(b []byte, bl *block) []byte {
	b = append(b, "<Block><Name>"...)
	b = base64.StdEncoding.AppendEncode(b, []byte(bl.ID))
	b = append(b, "</Name><Size>"...)
	b = strconv.AppendInt(b, bl.Size, 10)
	return append(b, "</Size></Block>"...)
}

// wrapList puts an element around what was appended since n.
func wrapList(b []byte, n int, element string) []byte {
	if len(b) == n {
		return protocol.AppendElement(b, element, "")
	}
	inner := string(b[n:])
	b = append(append(append(b[:n], '<'), element...), '>')
	b = append(b, inner...)
	return append(append(append(b, '<', '/'), element...), '>')
}
