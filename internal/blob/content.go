package blob

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/blobd/blobd/internal/engine"
)

// A chunk list is kept in pages of at most listPage bytes, each under the offset of its first byte, so that a range is found by
// one seek. A page is a version byte and entries: a varint of the chunk's size doubled, plus one if it begins a block; Ref;
// CRC-64; and for the beginning of a block the length of its id in one byte and the id.
const (
	listVersion = 1
	listPage    = 16 << 10
	listEntry   = 5 + len(engine.Ref{}) + 8 + 1 + maxBlockID // bytes, at most
)

var errContent = errors.New("stored content list is malformed")

// piece is one chunk of a list. Block is the id of the block that it begins; First tells that it begins one.
type piece struct {
	engine.Chunk
	First bool
	Block string
}

// listWriter writes a chunk list into a transaction.
type listWriter struct {
	t      *Txn
	id     engine.Stamp
	page   []byte
	offset int64 // of the page
	end    int64
}

func (w *listWriter) add(p *piece) {
	if w.page == nil {
		w.page = append(make([]byte, 0, listPage), listVersion)
	} else if len(w.page)+listEntry > listPage {
		w.flush()
		w.page = append(w.page[:0], listVersion)
	}
	w.page = binary.AppendUvarint(w.page, uint64(p.Size)<<1|uint64(flag(p.First)))
	w.page = append(w.page, p.Ref[:]...)
	w.page = binary.LittleEndian.AppendUint64(w.page, p.CRC64)
	if p.First {
		w.page = append(w.page, byte(len(p.Block)))
		w.page = append(w.page, p.Block...)
	}
	w.end += p.Size
}

func (w *listWriter) flush() {
	if len(w.page) > 0 {
		key := binary.BigEndian.AppendUint64(appendContentKey(nil, w.t.key, keyContentPage, w.id), uint64(w.offset))
		w.t.Set(engine.SpaceBlock, key, append([]byte(nil), w.page...))
		w.offset = w.end
	}
}

// visitPage calls visit for each piece of a page. The pieces' strings alias v.
func visitPage(v string, visit func(*piece) bool) error {
	d := decoder{v: v}
	if d.byte() != listVersion {
		d.fail()
	}
	var p piece
	for d.more() {
		n := d.uvarint()
		p.Size, p.First, p.Block = int64(n>>1), n&1 != 0, ""
		copy(p.Ref[:], d.take(len(p.Ref)))
		p.CRC64 = d.uint64()
		if p.First {
			p.Block = d.take(int(d.byte()))
		}
		if d.bad || p.Size < 1 || p.Size > engine.MaxChunk || len(p.Block) > maxBlockID {
			return errContent
		}
		if !visit(&p) {
			return nil
		}
	}
	if d.bad {
		return errContent
	}
	return nil
}

// visitList calls visit for the pieces of a chunk list from the one that holds the byte at from, with the offset of each, until
// visit returns false.
func visitList(r engine.Reader, p *place, id engine.Stamp, from int64, visit func(offset int64, p *piece) bool) error {
	prefix := appendContentKey(nil, p.key, keyContentPage, id)
	upper := after(append([]byte(nil), prefix...))
	it := r.Scan(engine.SpaceBlock, prefix, upper)
	defer it.Close()
	for ok := it.SeekLT(binary.BigEndian.AppendUint64(prefix, uint64(from)+1)); ok; ok = it.Next() {
		offset := int64(binary.BigEndian.Uint64(it.Key()[len(prefix):]))
		v, err := it.Value()
		if err != nil {
			return err
		}
		goOn := true
		err = visitPage(view(v), func(p *piece) bool {
			if offset+p.Size > from {
				goOn = visit(offset, p)
			}
			offset += p.Size
			return goOn
		})
		if err != nil {
			return fmt.Errorf("blob %q: %w", p.name, err)
		}
		if !goOn {
			break
		}
	}
	return it.Close()
}

// own makes content of chunks that Put has just stored. The caller forgets them afterwards.
func (t *Txn) own(chunks []engine.Chunk) Content {
	for i := range chunks {
		t.Retain(chunks[i].Ref)
	}
	switch {
	case len(chunks) == 0:
		return Content{}
	case len(chunks) <= maxDirect:
		return Content{Kind: ContentChunks, Chunks: chunks}
	}
	w := listWriter{t: t, id: t.Stamp()}
	for i := range chunks {
		w.add(&piece{Chunk: chunks[i]})
	}
	w.flush()
	return Content{Kind: ContentList, ID: w.id}
}

// share gives the content of a record also to the record that is about to be written to the slot to. Only inline bytes are copied.
func (t *Txn) share(r *Record, from, to Slot) (Content, error) {
	switch r.Content.Kind {
	case ContentInline:
		v, err := t.Get(engine.SpaceBlobData, t.slotKey(from))
		if err != nil {
			return Content{}, fmt.Errorf("inline content of %q: %w", t.name, err)
		}
		t.Set(engine.SpaceBlobData, t.slotKey(to), append([]byte(nil), v...))
	case ContentChunks:
		for i := range r.Content.Chunks {
			t.Retain(r.Content.Chunks[i].Ref)
		}
	case ContentList, ContentPages:
		n, err := t.sharers(r.Content.ID)
		if err != nil {
			return Content{}, err
		}
		t.setSharers(r.Content.ID, n+1)
	}
	return r.Content, nil
}

// drop lets go of a record's content. inlineFollows tells that the slot gets other inline bytes in this transaction.
func (t *Txn) drop(r *Record, slot Slot, inlineFollows bool) error {
	switch r.Content.Kind {
	case ContentInline:
		if !inlineFollows {
			t.Delete(engine.SpaceBlobData, t.slotKey(slot))
		}
	case ContentChunks:
		t.releaseAll(r.Content.Chunks)
	case ContentList, ContentPages:
		n, err := t.sharers(r.Content.ID)
		if err != nil {
			return err
		}
		if n > 1 {
			t.setSharers(r.Content.ID, n-1)
			return nil
		}
		t.setSharers(r.Content.ID, 0)
		t.enqueue(workContent, r.Content.ID, r.Content.Kind)
	}
	return nil
}

func (t *Txn) releaseAll(chunks []engine.Chunk) {
	for i := range chunks {
		t.Release(chunks[i].Ref)
	}
}

// sharers counts the records that have a chunk list or page map.
func (t *Txn) sharers(id engine.Stamp) (uint64, error) {
	if n, ok := t.shares[id]; ok {
		return n, nil
	}
	v, err := t.Get(engine.SpaceBlock, appendContentKey(nil, t.key, keyContentHead, id))
	if errors.Is(err, engine.ErrNotFound) {
		return 1, nil
	}
	if err != nil {
		return 0, err
	}
	d := decoder{v: view(v)}
	n := d.uvarint()
	if d.bad || d.more() || n < 2 {
		return 0, fmt.Errorf("blob %q: %w", t.name, errContent)
	}
	return n, nil
}

func (t *Txn) setSharers(id engine.Stamp, n uint64) {
	if t.shares == nil {
		t.shares = map[engine.Stamp]uint64{}
	}
	t.shares[id] = n
	key := appendContentKey(nil, t.key, keyContentHead, id)
	if n > 1 {
		t.Set(engine.SpaceBlock, key, binary.AppendUvarint(nil, n))
	} else {
		t.Delete(engine.SpaceBlock, key)
	}
}
