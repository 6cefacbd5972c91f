package store

import (
	"encoding/binary"
	"fmt"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/view"
)

// listWriter writes a chunk list into a transaction.
type listWriter struct {
	t      *txn
	id     engine.Stamp
	page   []byte
	offset int64 // of the page
	end    int64
}

func (w *listWriter) add(p *record.Piece) {
	if w.page == nil {
		w.page = append(make([]byte, 0, record.ListPage), record.ListVersion)
	} else if len(w.page)+record.ListEntry > record.ListPage {
		w.flush()
		w.page = append(w.page[:0], record.ListVersion)
	}
	w.page = record.AppendPiece(w.page, p)
	w.end += p.Size
}

func (w *listWriter) flush() {
	if len(w.page) > 0 {
		key := binary.BigEndian.AppendUint64(record.AppendContentKey(nil, w.t.key, record.KeyContentPage, w.id), uint64(w.offset))
		w.t.Set(engine.SpaceBlock, key, append([]byte(nil), w.page...))
		w.offset = w.end
	}
}

// visitList calls visit for the pieces of a chunk list from the one that holds the byte at from, with the offset of each, until
// visit returns false.
func visitList(r engine.Reader, p *place, id engine.Stamp, from int64, visit func(offset int64, p *record.Piece) bool) error {
	prefix := record.AppendContentKey(nil, p.key, record.KeyContentPage, id)
	upper := record.After(append([]byte(nil), prefix...))
	it := r.Scan(engine.SpaceBlock, prefix, upper)
	defer it.Close()
	for ok := it.SeekLT(binary.BigEndian.AppendUint64(prefix, uint64(from)+1)); ok; ok = it.Next() {
		offset := int64(binary.BigEndian.Uint64(it.Key()[len(prefix):]))
		v, err := it.Value()
		if err != nil {
			return err
		}
		goOn := true
		err = record.VisitPage(view.String(v), func(p *record.Piece) bool {
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

// own retains chunks that Put has just stored, as a record's content. The caller forgets them afterwards.
func (t *txn) own(chunks []engine.Chunk) record.Content {
	for i := range chunks {
		t.Retain(chunks[i].Ref)
	}
	switch {
	case len(chunks) == 0:
		return record.Content{}
	case len(chunks) <= record.MaxDirect:
		return record.Content{Kind: record.ContentChunks, Chunks: chunks}
	}
	w := listWriter{t: t, id: t.Stamp()}
	for i := range chunks {
		w.add(&record.Piece{Chunk: chunks[i]})
	}
	w.flush()
	return record.Content{Kind: record.ContentList, ID: w.id}
}

// share gives the content of a record also to the record that is about to be written to the slot to. Only inline bytes are copied.
func (t *txn) share(r *record.Blob, from, to record.Slot) (record.Content, error) {
	switch r.Content.Kind {
	case record.ContentInline:
		v, err := t.Get(engine.SpaceBlobData, t.slotKey(from))
		if err != nil {
			return record.Content{}, fmt.Errorf("inline content of %q: %w", t.name, err)
		}
		t.Set(engine.SpaceBlobData, t.slotKey(to), append([]byte(nil), v...))
	case record.ContentChunks:
		for i := range r.Content.Chunks {
			t.Retain(r.Content.Chunks[i].Ref)
		}
	case record.ContentList, record.ContentPages:
		n, err := t.sharers(r.Content.ID)
		if err != nil {
			return record.Content{}, err
		}
		t.setSharers(r.Content.ID, n+1)
	}
	return r.Content, nil
}

// drop releases a record's content: its chunks have an owner less. inlineFollows tells that the slot gets other inline bytes in this transaction.
func (t *txn) drop(r *record.Blob, slot record.Slot, inlineFollows bool) error {
	switch r.Content.Kind {
	case record.ContentInline:
		if !inlineFollows {
			t.Delete(engine.SpaceBlobData, t.slotKey(slot))
		}
	case record.ContentChunks:
		t.releaseAll(r.Content.Chunks)
	case record.ContentList, record.ContentPages:
		n, err := t.sharers(r.Content.ID)
		if err != nil {
			return err
		}
		if n > 1 {
			t.setSharers(r.Content.ID, n-1)
			return nil
		}
		t.setSharers(r.Content.ID, 0)
		t.enqueue(record.WorkContent, r.Content.ID, r.Content.Kind)
	}
	return nil
}

func (t *txn) releaseAll(chunks []engine.Chunk) {
	for i := range chunks {
		t.Release(chunks[i].Ref)
	}
}

// sharers counts the records that have a chunk list or page map.
func (t *txn) sharers(id engine.Stamp) (uint64, error) {
	if n, ok := t.shares[id]; ok {
		return n, nil
	}
	n, err := getOwners(t.Tx, engine.SpaceBlock, record.AppendContentKey(nil, t.key, record.KeyContentHead, id), record.ErrContent)
	if err != nil {
		return 0, fmt.Errorf("blob %q: %w", t.name, err)
	}
	return n, nil
}

func (t *txn) setSharers(id engine.Stamp, n uint64) {
	if t.shares == nil {
		t.shares = map[engine.Stamp]uint64{}
	}
	t.shares[id] = n
	key := record.AppendContentKey(nil, t.key, record.KeyContentHead, id)
	if n > 1 {
		t.Set(engine.SpaceBlock, key, binary.AppendUvarint(nil, n))
	} else {
		t.Delete(engine.SpaceBlock, key)
	}
}
