package record

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
	ListVersion = 1
	ListPage    = 16 << 10
	ListEntry   = 5 + len(engine.Ref{}) + 8 + 1 + MaxBlockID // bytes, at most
)

var ErrContent = errors.New("stored content list is malformed")

// Piece is one chunk of a list. Block is the id of the block that it begins; First tells that it begins one.
type Piece struct {
	engine.Chunk
	First bool
	Block string
}

// AppendPiece appends a piece to a page.
func AppendPiece(b []byte, p *Piece) []byte {
	b = binary.AppendUvarint(b, uint64(p.Size)<<1|uint64(flag(p.First)))
	b = append(b, p.Ref[:]...)
	b = binary.LittleEndian.AppendUint64(b, p.CRC64)
	if p.First {
		b = append(b, byte(len(p.Block)))
		b = append(b, p.Block...)
	}
	return b
}

// VisitPage calls visit for each piece of a page. The pieces' strings alias v.
func VisitPage(v string, visit func(*Piece) bool) error {
	d := decoder{v: v}
	if d.byte() != ListVersion {
		d.fail()
	}
	var p Piece
	for d.more() {
		n := d.uvarint()
		p.Size, p.First, p.Block = int64(n>>1), n&1 != 0, ""
		copy(p.Ref[:], d.next(len(p.Ref)))
		p.CRC64 = d.uint64()
		if p.First {
			p.Block = d.next(int(d.byte()))
		}
		if d.bad || p.Size < 1 || p.Size > engine.MaxChunk || len(p.Block) > MaxBlockID {
			return ErrContent
		}
		if !visit(&p) {
			return nil
		}
	}
	if d.bad {
		return ErrContent
	}
	return nil
}

// MaxBlockID is the longest block id, decoded, in bytes.
const MaxBlockID = 64

// Pending is the head of a name's uncommitted blocks. They lie under its epoch, so that a commit can leave many of them to
// the sweeper.
type Pending struct {
	Epoch engine.Stamp // when the first of them came
	Last  engine.Stamp // when the last of them came
	Count uint32
	IDLen uint8 // all ids of a blob have one length
	Bytes int64
}

const pendingVersion = 1

func (h *Pending) AppendTo(b []byte) []byte {
	b = append(b, pendingVersion)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Epoch))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Last))
	b = binary.LittleEndian.AppendUint32(b, h.Count)
	b = append(b, h.IDLen)
	return binary.AppendUvarint(b, uint64(h.Bytes))
}

func (h *Pending) Decode(v string) error {
	d := decoder{v: v}
	if d.byte() != pendingVersion {
		d.fail()
	}
	*h = Pending{engine.Stamp(d.uint64()), engine.Stamp(d.uint64()), d.uint32(), d.byte(), d.size()}
	if d.bad || d.more() {
		return fmt.Errorf("uncommitted blocks: %w", ErrContent)
	}
	return nil
}

// A stored uncommitted block is a version byte and its chunks.
const blockVersion = 1

// AppendBlockChunks appends the stored form of an uncommitted block.
func AppendBlockChunks(v []byte, chunks []engine.Chunk) []byte {
	v = append(v, blockVersion)
	for i := range chunks {
		v = appendChunk(v, &chunks[i])
	}
	return v
}

// DecodeBlockChunks reads it, and tells the block's size in bytes.
func DecodeBlockChunks(v string) (chunks []engine.Chunk, size int64, err error) {
	d := decoder{v: v}
	if d.byte() != blockVersion {
		d.fail()
	}
	for d.more() {
		c := d.chunk()
		chunks = append(chunks, c)
		size += c.Size
	}
	if d.bad || len(chunks) == 0 {
		return nil, 0, fmt.Errorf("uncommitted block: %w", ErrContent)
	}
	return chunks, size, nil
}
