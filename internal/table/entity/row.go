package entity

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/view"
)

// A row is
//
//	version (1) | flags | Timestamp (8 bytes, ticks, big endian) | properties
//
// and a property is
//
//	type | length of name (uvarint) | name | [length of value (uvarint), for String and Binary] | value
//
// Integers, doubles and DateTimes are big endian: 4 bytes an Int32, 8 the others; a Boolean is one byte, a Guid sixteen.
// Properties stand in the order in which they came.
//
// A row longer than InlineRow lies outside the entities that are scanned: its entry has flagParts and, instead of properties,
// their length (uvarint); the properties are cut into parts of PartSize bytes, the last shorter.
const (
	rowVersion = 1
	rowHeader  = 10

	flagParts = 1 << 0

	// InlineRow is the longest row that stands in its entry, in bytes.
	InlineRow = 16 << 10
	// PartSize is the size of a part, in bytes.
	PartSize = 60 << 10
)

// ErrRow tells bytes that are no row of a version known here.
var ErrRow = fmt.Errorf("entity row: %w", engine.ErrCorrupt)

var errVersion = errors.New("entity row: unknown version")

// Row is an encoded entity as one run of bytes.
type Row []byte

// AppendRow appends the encoding of an entity whose Timestamp is stamp.
func AppendRow(dst []byte, stamp engine.Stamp, props []Property) Row {
	dst = append(dst, rowVersion, 0)
	dst = binary.BigEndian.AppendUint64(dst, uint64(stamp))
	for i := range props {
		dst = AppendProperty(dst, props[i].Name, props[i].Value)
	}
	return dst
}

// AppendProperty appends the encoding of one property; null appends nothing.
func AppendProperty(dst []byte, name string, v Value) []byte {
	if v.Type == Null {
		return dst
	}
	dst = append(dst, byte(v.Type))
	dst = binary.AppendUvarint(dst, uint64(len(name)))
	dst = append(dst, name...)
	switch v.Type {
	case String, Binary:
		dst = binary.AppendUvarint(dst, uint64(len(v.Data)))
		return append(dst, v.Data...)
	case Guid:
		return append(dst, v.Data...)
	case Boolean:
		return append(dst, byte(v.Bits))
	case Int32:
		return binary.BigEndian.AppendUint32(dst, uint32(v.Bits))
	}
	return binary.BigEndian.AppendUint64(dst, v.Bits)
}

// Check tells whether r begins as a row does.
func (r Row) Check() error {
	if len(r) < rowHeader {
		return ErrRow
	}
	if r[0] != rowVersion {
		return fmt.Errorf("%w %d", errVersion, r[0])
	}
	return nil
}

// Head is what of a stored entry Check, Stamp and Parts look at.
func (r Row) Head() Row { return r[:min(len(r), rowHeader+binary.MaxVarintLen64)] }

// Stamp is the Timestamp. r has passed Check.
func (r Row) Stamp() engine.Stamp { return engine.Stamp(binary.BigEndian.Uint64(r[2:])) }

// SetStamp writes the Timestamp into a row being made.
func (r Row) SetStamp(s engine.Stamp) { binary.BigEndian.PutUint64(r[2:], uint64(s)) }

// Properties returns a reader of the properties of a whole row. r has passed Check.
func (r Row) Properties() Reader { return Reader{rest: r[rowHeader:]} }

// Split returns the entry and the parts that a row is stored as. A short one is its own entry.
func (r Row) Split() (entry []byte, parts [][]byte) {
	if len(r) <= InlineRow {
		return r, nil
	}
	entry = append(make([]byte, 0, rowHeader+binary.MaxVarintLen64), r[:rowHeader]...)
	entry[1] |= flagParts
	props := r[rowHeader:]
	entry = binary.AppendUvarint(entry, uint64(len(props)))
	for len(props) > 0 {
		n := min(len(props), PartSize)
		parts = append(parts, props[:n])
		props = props[n:]
	}
	return entry, parts
}

// Merge appends to dst the whole row that base becomes with the properties of patch: each replaces its like or comes last. Both
// are whole. The Timestamp is that of patch.
func Merge(dst []byte, base, patch Row) (Row, error) {
	from := len(dst)
	dst = append(dst, patch[:rowHeader]...)
	old := base.Properties()
	for old.Next() {
		if !patch.has(old.name) {
			dst = append(dst, old.raw...)
		}
	}
	if old.err != nil {
		return nil, old.err
	}
	return append(dst, patch[rowHeader:]...)[from:], nil
}

func (r Row) has(name []byte) bool {
	props := r.Properties()
	for props.Next() {
		if bytes.Equal(props.name, name) {
			return true
		}
	}
	return false
}

// Parts is the number of parts that a stored entry has besides itself; 0 for most. r has passed Check.
func (r Row) Parts() (int, error) {
	if r[1]&flagParts == 0 {
		return 0, nil
	}
	n, used := binary.Uvarint(r[rowHeader:])
	if used <= 0 || n > maxRow {
		return 0, ErrRow
	}
	return int((n + PartSize - 1) / PartSize), nil
}

// Size returns the length of the whole row of which this is the entry, 0 for one that is none.
func (r Row) Size() int {
	if len(r) < rowHeader || r[1]&flagParts == 0 {
		return len(r)
	}
	n, _ := binary.Uvarint(r[rowHeader:])
	return rowHeader + int(n)
}

// maxRow bounds what a damaged length can make us allocate; no entity of 1 MiB by Azure's count has a longer row.
const maxRow = 4 << 20

// Join appends to dst the whole row of an entry with parts, taking each with part.
func (r Row) Join(dst []byte, part func(i int) ([]byte, error)) (Row, error) {
	n, err := r.Parts()
	if err != nil {
		return nil, err
	}
	from := len(dst)
	dst = append(dst, r[:rowHeader]...)
	dst[from+1] &^= flagParts
	for i := range n {
		p, err := part(i)
		if err != nil {
			return nil, fmt.Errorf("part %d of %d of an entity: %w", i, n, err)
		}
		dst = append(dst, p...)
	}
	if length, _ := binary.Uvarint(r[rowHeader:]); uint64(len(dst)-from-rowHeader) != length {
		return nil, ErrRow
	}
	return dst[from:], nil
}

// AppendPartKey appends what follows an entity's key in the key of one of its parts.
func AppendPartKey(dst []byte, i int) []byte { return append(dst, separator, byte(i)) }

// Reader walks the properties of a row. Next must return true before anything else is asked.
type Reader struct {
	rest  []byte
	raw   []byte // the whole property
	name  []byte
	value []byte
	typ   Type
	err   error
}

// sizes of values; 0 for those that have their length before them, and for what is no type.
var sizes = [256]uint8{Boolean: 1, Int32: 4, Int64: 8, Double: 8, DateTime: 8, Guid: 16}

// Next moves to the next property.
func (r *Reader) Next() bool {
	all := r.rest
	if len(all) < 2 {
		if len(all) != 0 {
			r.err = ErrRow
		}
		return false
	}
	at, end := 2, 2+int(all[1])
	if all[1] >= 0x80 {
		n, used := binary.Uvarint(all[1:])
		if used <= 0 || n > uint64(len(all)) {
			return r.fail()
		}
		at = 1 + used
		end = at + int(n)
	}
	if end >= len(all) { // every value has a byte at least, if only that of its length
		return r.fail()
	}
	r.typ, r.name = Type(all[0]), all[at:end]
	size := int(sizes[all[0]])
	if size == 0 {
		if r.typ != String && r.typ != Binary {
			return r.fail()
		}
		size = int(all[end])
		end++
		if size >= 0x80 {
			n, used := binary.Uvarint(all[end-1:])
			if used <= 0 || n > uint64(len(all)) {
				return r.fail()
			}
			end += used - 1
			size = int(n)
		}
	}
	if size > len(all)-end {
		return r.fail()
	}
	r.value, r.rest, r.raw = all[end:end+size], all[end+size:], all[:end+size]
	return true
}

func (r *Reader) fail() bool {
	r.err, r.rest = ErrRow, nil
	return false
}

// Err tells, after Next returned false, whether the row was damaged.
func (r *Reader) Err() error { return r.err }

// Name is the property's name; it lives as long as the row.
func (r *Reader) Name() []byte { return r.name }

// Value is the property's value; its Data lives as long as the row.
func (r *Reader) Value() Value {
	v := Value{Type: r.typ}
	switch r.typ {
	case String, Binary, Guid:
		v.Data = view.String(r.value)
	case Boolean:
		v.Bits = uint64(r.value[0])
	case Int32:
		v.Bits = uint64(int64(int32(binary.BigEndian.Uint32(r.value))))
	default:
		v.Bits = binary.BigEndian.Uint64(r.value)
	}
	return v
}
