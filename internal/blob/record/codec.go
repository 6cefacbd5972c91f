package record

import (
	"encoding/binary"
	"math"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/view"
)

// The parts that stored records are made of.

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendField(b []byte, tag byte, s string) []byte { return appendString(append(b, tag), s) }

// appendText appends a field unless it is empty.
func appendText(b []byte, tag byte, s string) []byte {
	if s == "" {
		return b
	}
	return appendField(b, tag, s)
}

func appendUint(b []byte, tag byte, v uint64) []byte {
	var tmp [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(tmp[:], v)
	b = append(b, tag, byte(n))
	return append(b, tmp[:n]...)
}

func uvarintLen(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}

// appendPairs appends a field of names and values unless there are none.
func appendPairs(b []byte, tag byte, pairs []protocol.Pair) []byte {
	if len(pairs) == 0 {
		return b
	}
	n := 0
	for i := range pairs {
		p := &pairs[i]
		n += uvarintLen(uint64(len(p.Name))) + len(p.Name) + uvarintLen(uint64(len(p.Value))) + len(p.Value)
	}
	b = append(b, tag)
	b = binary.AppendUvarint(b, uint64(n))
	for i := range pairs {
		b = appendString(b, pairs[i].Name)
		b = appendString(b, pairs[i].Value)
	}
	return b
}

// decoder reads stored values. After a failure it yields zeros; bad is looked at once, at the end.
type decoder struct {
	v   string
	bad bool
}

func (d *decoder) fail()      { d.bad, d.v = true, "" }
func (d *decoder) more() bool { return len(d.v) > 0 }

func (d *decoder) next(n int) string {
	if n < 0 || n > len(d.v) {
		d.fail()
		return ""
	}
	s := d.v[:n]
	d.v = d.v[n:]
	return s
}

func (d *decoder) rest() string { return d.next(len(d.v)) }

func (d *decoder) byte() byte {
	if len(d.v) == 0 {
		d.fail()
		return 0
	}
	b := d.v[0]
	d.v = d.v[1:]
	return b
}

func (d *decoder) uint32() uint32 {
	s := d.next(4)
	if len(s) < 4 {
		return 0
	}
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}

func (d *decoder) uint64() uint64 {
	lo := d.uint32()
	return uint64(lo) | uint64(d.uint32())<<32
}

// uvarint reads a varint in its shortest form.
func (d *decoder) uvarint() uint64 {
	var v uint64
	for i := 0; i < len(d.v) && i < binary.MaxVarintLen64; i++ {
		c := d.v[i]
		if i == 9 && c > 1 {
			break
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			if i > 0 && c == 0 {
				break
			}
			d.v = d.v[i+1:]
			return v
		}
	}
	d.fail()
	return 0
}

// size reads a number of bytes or of things.
func (d *decoder) size() int64 {
	v := d.uvarint()
	if v > math.MaxInt64 {
		d.fail()
		return 0
	}
	return int64(v)
}

func (d *decoder) text() string {
	n := d.uvarint()
	if n > uint64(len(d.v)) {
		d.fail()
		return ""
	}
	return d.next(int(n))
}

func (d *decoder) pairs(p []protocol.Pair) []protocol.Pair {
	for d.more() {
		name := d.text()
		p = append(p, protocol.Pair{Name: name, Value: d.text()})
	}
	return p
}

// skipFields passes over the rest of a field whose tag was just read and over all that follow. They must be well-formed, so that
// they can be written again behind the known ones.
func (d *decoder) skipFields() {
	d.text()
	for d.more() {
		d.byte()
		d.text()
	}
}

func (d *decoder) chunk() (c engine.Chunk) {
	copy(c.Ref[:], d.next(len(c.Ref)))
	c.Size = d.size()
	c.CRC64 = d.uint64()
	if c.Size < 1 || c.Size > engine.MaxChunk {
		d.fail()
	}
	return c
}

func AppendStamp(b []byte, s engine.Stamp) []byte {
	return binary.LittleEndian.AppendUint64(b, uint64(s))
}

// DecodeStamp reads what appendStamp has written.
func DecodeStamp(v []byte) (engine.Stamp, bool) {
	d := decoder{v: view.String(v)}
	s := engine.Stamp(d.uint64())
	return s, !d.bad
}

// DecodeCount reads a value that is one varint: how many share a thing.
func DecodeCount(v []byte) (uint64, bool) {
	d := decoder{v: view.String(v)}
	n := d.uvarint()
	return n, !d.bad && !d.more()
}
