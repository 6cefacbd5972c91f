package record

import (
	"encoding/binary"
	"fmt"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/view"
)

// EachRef runs visit on every Ref in an entry of the Blob service's spaces, where it lies in the value, with a length that its chunk has
// at least. Other spaces name no chunks.
func EachRef(space engine.Space, key, value []byte, visit func(ref []byte, size int64) error) error {
	var err error
	switch space {
	case engine.SpaceBlob, engine.SpaceBlobHistory:
		err = eachRefOfBlob(value, visit)
	case engine.SpaceBlock, engine.SpacePage:
		_, partition, ok := SplitKey(key)
		if !ok || partition >= len(key) {
			return fmt.Errorf("key %q: %w", key, ErrContent)
		}
		switch kind := key[partition]; {
		case space == engine.SpaceBlock && kind == KeyContentPage:
			err = eachRefOfList(value, visit)
		case space == engine.SpaceBlock && kind == KeyPendingBlock:
			err = eachRefOfBlock(value, visit)
		case space == engine.SpacePage && kind == KeyPageRange:
			err = eachRefOfRange(value, visit)
		}
	}
	if err != nil {
		return fmt.Errorf("entry at %q: %w", key, err)
	}
	return nil
}

// place is how much of a value a decoder of it, or of its end, has read.
func (d *decoder) place(v []byte) int { return len(v) - len(d.v) }

// visitChunk reads a stored chunk and visits its Ref in v, of which d reads the end.
func (d *decoder) visitChunk(v []byte, visit func(ref []byte, size int64) error) error {
	at := d.place(v)
	c := d.chunk()
	if d.bad {
		return ErrContent
	}
	return visit(v[at:at+len(c.Ref)], c.Size)
}

func eachRefOfBlob(v []byte, visit func([]byte, int64) error) error {
	var rec Blob
	if err := rec.Decode(view.String(v)); err != nil {
		return err
	}
	if rec.Content.Kind != ContentChunks {
		return nil
	}
	d := decoder{v: view.String(v)}
	d.next(2 + 8 + 8) // version, type, stamps
	d.size()
	for d.more() {
		tag := d.byte()
		f := d.text()
		if tag != fieldContent {
			continue
		}
		v := v[:d.place(v)]
		field := decoder{v: f}
		field.byte()
		for field.more() {
			if err := field.visitChunk(v, visit); err != nil {
				return err
			}
		}
		return nil
	}
	return ErrBlob
}

func eachRefOfList(v []byte, visit func([]byte, int64) error) error {
	d := decoder{v: view.String(v)}
	if d.byte() != ListVersion {
		return ErrContent
	}
	for d.more() {
		n := d.uvarint()
		at := d.place(v)
		d.next(len(engine.Ref{}))
		d.uint64()
		if n&1 != 0 {
			d.next(int(d.byte()))
		}
		if d.bad {
			return ErrContent
		}
		if err := visit(v[at:at+len(engine.Ref{})], int64(n>>1)); err != nil {
			return err
		}
	}
	return nil
}

func eachRefOfBlock(v []byte, visit func([]byte, int64) error) error {
	d := decoder{v: view.String(v)}
	if d.byte() != blockVersion {
		return ErrContent
	}
	for d.more() {
		if err := d.visitChunk(v, visit); err != nil {
			return err
		}
	}
	return nil
}

func eachRefOfRange(v []byte, visit func([]byte, int64) error) error {
	var r PageRange
	if err := r.Decode(0, v); err != nil || r.Kind != PageChunk {
		return err
	}
	n, k := binary.Uvarint(v[1+len(r.Ref):])
	if k <= 0 {
		return ErrPages
	}
	return visit(v[1:1+len(r.Ref)], int64(n)+r.To-r.From)
}
