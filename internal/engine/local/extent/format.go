package extent

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/crc64"
	"github.com/blobd/blobd/internal/engine/siphash"
)

// The byte layouts of docs/format.md, section Extents. All numbers are big-endian.
const (
	formatVersion = 2 // of headers, frames and footers made now; those of version 1 are read

	blockSize  = 64 << 10 // payload of a full frame
	rowAlign   = 64       // rows begin at multiples of it, so that payloads are aligned in memory
	headerSize = 4096     // of a column file; the first row is at this offset
	headerSum  = headerSize - 8
	footerSize = 128
	footerSum  = footerSize - 8

	frameFixed = 64 // of a frame header; the table of the row follows
	frameSum   = 56
	cellSize   = 12

	maxColumns    = 32
	maxHead       = frameFixed + (maxColumns*cellSize+rowAlign-1)/rowAlign*rowAlign // longest frame header
	maxExtentSize = 1 << 30                                                         // offsets have 32 bits in references; far below, so that a chunk over the end does no harm

	magicHeader = "blobdext"
	magicFooter = "blobdsea"
	magicFrame  = "bdFR"
)

// Kinds of rows.
const (
	kindStriped = 1 // one chunk over all data columns
	kindPacked  = 2 // a chunk of its own in each data column used
)

// Reference layout.
const (
	refExtent = 0  // 8
	refOffset = 8  // 4
	refLength = 12 // 4
	refKind   = 16 // 1
	refColumn = 17 // 1
	// 18 to 23 are zero.
)

// place is what a reference says.
type place struct {
	extent uint64
	offset int64
	shape  shape
}

func makeRef(p place) (ref engine.Ref) {
	binary.BigEndian.PutUint64(ref[refExtent:], p.extent)
	binary.BigEndian.PutUint32(ref[refOffset:], uint32(p.offset))
	binary.BigEndian.PutUint32(ref[refLength:], uint32(p.shape.size))
	ref[refKind] = kindStriped
	if p.shape.packed {
		ref[refKind] = kindPacked
		ref[refColumn] = byte(p.shape.column)
	}
	return ref
}

func parseRef(ref engine.Ref) (place, error) {
	p := place{
		extent: ID(ref),
		offset: int64(binary.BigEndian.Uint32(ref[refOffset:])),
		shape:  shape{size: Size(ref), packed: ref[refKind] == kindPacked, column: int(ref[refColumn])},
	}
	bad := p.extent == 0 || p.offset < headerSize || p.offset%rowAlign != 0 || p.shape.size < 1 || p.shape.size > engine.MaxChunk ||
		[6]byte(ref[18:]) != [6]byte{}
	switch ref[refKind] {
	case kindStriped:
		bad = bad || p.shape.column != 0
	case kindPacked:
		bad = bad || p.shape.column >= maxColumns || p.shape.size > blockSize
	default:
		bad = true
	}
	if bad {
		return p, badRef(ref)
	}
	return p, nil
}

func badRef(ref engine.Ref) error { return fmt.Errorf("reference %x: %w", ref[:], engine.ErrCorrupt) }

// Nowhere returns the n-th reference to an extent that has no files: what is said to lie there cannot be read.
func Nowhere(id, n uint64, size int64) engine.Ref {
	return makeRef(place{extent: id, offset: headerSize + rowAlign*int64(n%nowhereRefs), shape: shape{size: size}})
}

// nowhereRefs is how many of them differ: offsets have 32 bits.
const nowhereRefs = 1 << 25

// ID returns the extent that a chunk is in.
func ID(ref engine.Ref) uint64 { return binary.BigEndian.Uint64(ref[refExtent:]) }

// Size returns the length of a chunk in bytes.
func Size(ref engine.Ref) int64 { return int64(binary.BigEndian.Uint32(ref[refLength:])) }

// fileHeader is the first block of a column file.
type fileHeader struct {
	store, disk [16]byte
	extent      uint64
	column      uint8
	k, m        uint8
	version     uint32
	started     uint64 // Options.Started of the process that made the extent; 0 if it said nothing
}

var (
	errNoHeader = errors.New("not a readable column header")
	errVersion  = errors.New("a format this program does not know")
)

func (h fileHeader) encode() []byte {
	b := make([]byte, headerSize)
	copy(b, magicHeader)
	binary.BigEndian.PutUint32(b[8:], h.version)
	binary.BigEndian.PutUint32(b[12:], headerSize)
	copy(b[16:], h.store[:])
	copy(b[32:], h.disk[:])
	binary.BigEndian.PutUint64(b[48:], h.extent)
	b[56], b[57], b[58] = h.column, h.k, h.m
	binary.BigEndian.PutUint32(b[60:], blockSize)
	binary.BigEndian.PutUint64(b[64:], h.started)
	binary.BigEndian.PutUint64(b[headerSum:], crc64.Sum(b[:headerSum]))
	return b
}

func decodeFileHeader(b []byte) (h fileHeader, err error) {
	if len(b) < headerSize || string(b[:8]) != magicHeader || binary.BigEndian.Uint64(b[headerSum:]) != crc64.Sum(b[:headerSum]) {
		return h, errNoHeader
	}
	h.version = binary.BigEndian.Uint32(b[8:])
	if h.version < 1 || h.version > formatVersion || binary.BigEndian.Uint32(b[12:]) != headerSize ||
		binary.BigEndian.Uint32(b[60:]) != blockSize {
		return h, fmt.Errorf("version %d: %w", h.version, errVersion)
	}
	copy(h.store[:], b[16:])
	copy(h.disk[:], b[32:])
	h.extent = binary.BigEndian.Uint64(b[48:])
	h.column, h.k, h.m = b[56], b[57], b[58]
	h.started = binary.BigEndian.Uint64(b[64:])
	if !validWidth(h.k, h.m) || h.column >= h.k+h.m {
		return h, errNoHeader
	}
	return h, nil
}

func validWidth(k, m uint8) bool { return k >= 1 && int(k)+int(m) <= maxColumns }

// footer ends a sealed column: the sum of all before it.
type footer struct {
	extent uint64
	column uint8
	length int64 // bytes before the footer: its own offset
	sha256 [32]byte
	data   int64 // bytes of the chunks that were given a place in the extent
}

func (f footer) encode(secret *siphash.Key) []byte {
	b := make([]byte, footerSize)
	copy(b, magicFooter)
	binary.BigEndian.PutUint32(b[8:], formatVersion)
	b[12] = f.column
	binary.BigEndian.PutUint64(b[16:], f.extent)
	binary.BigEndian.PutUint64(b[24:], uint64(f.length))
	copy(b[32:], f.sha256[:])
	binary.BigEndian.PutUint64(b[64:], uint64(f.data))
	binary.BigEndian.PutUint64(b[footerSum:], footerMark(b, secret))
	return b
}

// footerMark is the keyed sum of a footer: of all before it, as words.
func footerMark(b []byte, secret *siphash.Key) uint64 {
	var words [footerSum / 8]uint64
	for i := range words {
		words[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	return siphash.Sum(secret, words[:]...)
}

// decodeFooter decodes a footer; ok tells whether it is one that the store made.
func decodeFooter(b []byte, secret *siphash.Key) (f footer, ok bool) {
	if len(b) != footerSize || string(b[:8]) != magicFooter || binary.BigEndian.Uint32(b[8:]) != formatVersion ||
		binary.BigEndian.Uint64(b[footerSum:]) != footerMark(b, secret) {
		return f, false
	}
	return parseFooter(b)
}

// decodeFormerFooter decodes a footer of version 1, which anybody can make.
func decodeFormerFooter(b []byte) (f footer, ok bool) {
	if len(b) != footerSize || string(b[:8]) != magicFooter || binary.BigEndian.Uint32(b[8:]) != 1 ||
		binary.BigEndian.Uint64(b[footerSum:]) != crc64.Sum(b[:footerSum]) {
		return f, false
	}
	return parseFooter(b)
}

func parseFooter(b []byte) (f footer, ok bool) {
	f.column = b[12]
	f.extent = binary.BigEndian.Uint64(b[16:])
	f.length = int64(binary.BigEndian.Uint64(b[24:]))
	copy(f.sha256[:], b[32:])
	f.data = int64(binary.BigEndian.Uint64(b[64:]))
	return f, f.length >= headerSize && f.data >= 0
}

// frame is the header of a frame.
type frame struct {
	kind        uint8
	column      uint8
	k, m        uint8
	extent      uint64
	offset      uint32 // of the frame in its file
	length      uint32 // of the payload here
	rowLength   uint32 // of the longest payload of the row: that of its parity
	chunkOffset uint32 // of the chunk's first row; a parity frame of a packed row has its own offset
	chunkLength uint32 // of the chunk; 0 in a parity frame of a packed row
	sum         uint64 // CRC-64 of the payload

	table []byte // k cells, empty where m is 0; aliases what was decoded
}

// cell describes the payload of one data column of the row; length 0 means that nothing was written there.
type cell struct {
	length uint32
	sum    uint64
}

func (f *frame) cell(c int) cell {
	b := f.table[c*cellSize:]
	return cell{binary.BigEndian.Uint32(b), binary.BigEndian.Uint64(b[4:])}
}

// encodeTable writes the table of a row, which all its frames carry.
func encodeTable(b []byte, cells []cell) {
	for c, v := range cells {
		binary.BigEndian.PutUint32(b[c*cellSize:], v.length)
		binary.BigEndian.PutUint64(b[c*cellSize+4:], v.sum)
	}
}

// encode writes the header to b, which is as long as headSize says. The table is copied from f.table.
func (f *frame) encode(b []byte, tag uint64) {
	copy(b, magicFrame)
	b[4], b[5], b[6], b[7] = f.kind, f.column, f.k, f.m
	binary.BigEndian.PutUint64(b[8:], f.extent)
	binary.BigEndian.PutUint64(b[16:], tag)
	binary.BigEndian.PutUint32(b[24:], f.offset)
	binary.BigEndian.PutUint32(b[28:], f.length)
	binary.BigEndian.PutUint32(b[32:], f.rowLength)
	binary.BigEndian.PutUint32(b[36:], f.chunkOffset)
	binary.BigEndian.PutUint32(b[40:], f.chunkLength)
	binary.BigEndian.PutUint32(b[44:], 0)
	binary.BigEndian.PutUint64(b[48:], f.sum)
	n := frameFixed + copy(b[frameFixed:], f.table)
	clear(b[n:])
	binary.BigEndian.PutUint64(b[frameSum:], headSum(b))
}

// headSum is the sum of a frame header without the sum itself.
func headSum(b []byte) uint64 {
	s := crc64.Sum(b[:frameSum])
	if len(b) > frameFixed {
		s = crc64.Update(s, b[frameFixed:])
	}
	return s
}

var errNoFrame = errors.New("not a frame")

// decodeFrame reads the header at the start of b. Whatever b holds, it either returns errNoFrame or a header whose numbers are
// within bounds; the payload, b[head:head+length], is not looked at and may not be there.
func decodeFrame(b []byte, tag uint64) (f frame, err error) {
	if len(b) < frameFixed || string(b[:4]) != magicFrame {
		return f, errNoFrame
	}
	f.kind, f.column, f.k, f.m = b[4], b[5], b[6], b[7]
	if !validWidth(f.k, f.m) || f.column >= f.k+f.m || f.kind != kindStriped && f.kind != kindPacked {
		return f, errNoFrame
	}
	head := headSize(int(f.k), int(f.m))
	if len(b) < head || binary.BigEndian.Uint64(b[frameSum:]) != headSum(b[:head]) || binary.BigEndian.Uint64(b[16:]) != tag {
		return f, errNoFrame
	}
	f.extent = binary.BigEndian.Uint64(b[8:])
	f.offset = binary.BigEndian.Uint32(b[24:])
	f.length = binary.BigEndian.Uint32(b[28:])
	f.rowLength = binary.BigEndian.Uint32(b[32:])
	f.chunkOffset = binary.BigEndian.Uint32(b[36:])
	f.chunkLength = binary.BigEndian.Uint32(b[40:])
	f.sum = binary.BigEndian.Uint64(b[48:])
	if f.length < 1 || f.length > f.rowLength || f.rowLength > blockSize {
		return f, errNoFrame
	}
	if f.m > 0 {
		f.table = b[frameFixed : frameFixed+int(f.k)*cellSize]
		for c := range int(f.k) {
			if f.cell(c).length > f.rowLength {
				return f, errNoFrame
			}
		}
	}
	return f, nil
}

// payload returns the payload of the frame in b, or nil if it is cut off or does not have its sum.
func (f *frame) payload(b []byte) []byte {
	head := headSize(int(f.k), int(f.m))
	if len(b) < head+int(f.length) {
		return nil
	}
	p := b[head : head+int(f.length)]
	if crc64.Sum(p) != f.sum {
		return nil
	}
	return p
}
