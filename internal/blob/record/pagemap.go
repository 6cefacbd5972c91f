package record

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/view"
)

// A page map tells where the written pages of a page blob are. It is a stack of layers, each a set of disjoint ranges by offset;
// the topmost layer that has a byte decides on it, and a byte in none is zero. Keys in SpacePage:
//
//	partition 'm' map             the map's layers, topmost first, 8 bytes each
//	partition 'l' layer           how many maps have the layer, if more than one
//	partition 'r' layer offset    a range of the layer
//
// A snapshot shares its blob's whole map (txn.share in blob/store); the first write after it gives the blob a map of its own with an empty
// layer on top of those it had. So a snapshot costs nothing, a write costs its pages however many the blob has, and no range is
// ever copied. When a snapshot goes, neighbouring layers that nobody else has are folded in the background, the upper into the
// lower: the work is bounded by what was written since. See docs/design/024-page-maps.md.
const (
	KeyPageMap   = 'm'
	KeyPageLayer = 'l'
	KeyPageRange = 'r'
)

// What page blobs are made of, and how large they get, in bytes.
const (
	PageSize    = 512
	MaxPageBlob = 8 << 40
)

// MaxInlinePages is the most that is kept of pages in the key space, in bytes; more goes to a chunk.
const MaxInlinePages = engine.MaxInline

// pageKind is what a range holds. Stored: never renumber.
type pageKind byte

const (
	PageInline pageKind = 1 // the bytes themselves follow
	PageChunk  pageKind = 2 // ref, offset in the chunk, length
	PageHole   pageKind = 3 // length: zeros, whatever the layers below have
)

// PageRange is the bytes from from to to (exclusive) of a blob.
type PageRange struct {
	From, To int64
	Kind     pageKind
	Ref      engine.Ref
	Offset   int64  // in the chunk
	Bytes    []byte // inline
}

var ErrPages = errors.New("stored page map is malformed")

// Clip returns the part of a range between two bounds, which lie within it.
func (p PageRange) Clip(from, to int64) PageRange {
	switch p.Kind {
	case PageInline:
		p.Bytes = p.Bytes[from-p.From : to-p.From]
	case PageChunk:
		p.Offset += from - p.From
	}
	p.From, p.To = from, to
	return p
}

// Same tells whether two equally long ranges are the same bytes by where they come from.
func (p *PageRange) Same(q *PageRange) bool {
	if p.Kind != q.Kind {
		return false
	}
	switch p.Kind {
	case PageChunk:
		return p.Ref == q.Ref && p.Offset == q.Offset
	case PageInline:
		return string(p.Bytes) == string(q.Bytes)
	}
	return true
}

func (p *PageRange) AppendTo(b []byte) []byte {
	b = append(b, byte(p.Kind))
	switch p.Kind {
	case PageInline:
		return append(b, p.Bytes...)
	case PageChunk:
		b = append(b, p.Ref[:]...)
		b = binary.AppendUvarint(b, uint64(p.Offset))
	}
	return binary.AppendUvarint(b, uint64(p.To-p.From))
}

// Decode reads a stored range that begins at from. Its bytes alias v.
func (p *PageRange) Decode(from int64, v []byte) error {
	if len(v) == 0 {
		return ErrPages
	}
	*p = PageRange{From: from, Kind: pageKind(v[0])}
	d := decoder{v: view.String(v[1:])}
	length := int64(len(v) - 1)
	switch p.Kind {
	case PageInline:
		p.Bytes = v[1:]
		d.rest()
	case PageChunk:
		copy(p.Ref[:], d.next(len(p.Ref)))
		p.Offset = d.size()
		length = d.size()
	case PageHole:
		length = d.size()
	default:
		d.fail()
	}
	if d.bad || d.more() || length <= 0 || length > math.MaxInt64-from {
		return ErrPages
	}
	p.To = from + length
	return nil
}

func AppendRangeKey(b, partition []byte, layer engine.Stamp, offset int64) []byte {
	return binary.BigEndian.AppendUint64(AppendContentKey(b, partition, KeyPageRange, layer), uint64(offset))
}

func DecodeLayers(v []byte) ([]engine.Stamp, error) {
	if len(v) == 0 || len(v)%8 != 0 {
		return nil, ErrPages
	}
	layers := make([]engine.Stamp, len(v)/8)
	for i := range layers {
		layers[i] = engine.Stamp(binary.BigEndian.Uint64(v[8*i:]))
	}
	return layers, nil
}

func AppendLayers(b []byte, layers []engine.Stamp) []byte {
	for _, l := range layers {
		b = binary.BigEndian.AppendUint64(b, uint64(l))
	}
	return b
}
