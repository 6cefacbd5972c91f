package blob

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/protocol"
)

// kind is what the values of a column are.
type kind byte

const (
	textKind kind = iota
	numberKind
	momentKind
	flagKind
	pairsKind
)

// arrowTypes are the kinds on the wire. Moments are whole seconds without a time zone: some clients read the number as seconds
// whatever its unit. The map's entries and keys are never null, as the format asks.
var (
	arrowPairs = arrow.MapOfFields(arrow.Field{Type: arrow.BinaryTypes.String}, arrow.Field{Type: arrow.BinaryTypes.String, Nullable: true})
	arrowTypes = [...]arrow.DataType{
		textKind:   arrow.BinaryTypes.String,
		numberKind: arrow.PrimitiveTypes.Uint64,
		momentKind: &arrow.TimestampType{Unit: arrow.Second},
		flagKind:   arrow.FixedWidthTypes.Boolean,
		pairsKind:  arrowPairs,
	}
)

// column gathers the values of one column in Arrow's own layout, so that they go into the answer as they are. Rows come in
// ascending order; those without a value cost nothing before the first and after the last that has one.
type column struct {
	kind   kind
	rows   int     // that have their place
	values int     // rows that have a value
	valid  []byte  // a bit for each row, set if it has one
	ends   []int32 // of texts in data, of pairs in entries; begins with 0
	data   []byte  // texts, numbers of eight bytes, or bits
	// entries are the keys and the values of pairs.
	entries *[2]column
}

func (c *column) reset() {
	c.rows, c.values, c.valid, c.ends, c.data = 0, 0, c.valid[:0], append(c.ends[:0], 0), c.data[:0]
	if c.entries != nil {
		c.entries[0].reset()
		c.entries[1].reset()
	}
}

// grow gives the rows up to n their place, without a value.
func (c *column) grow(n int) {
	c.rows, c.valid = n, extend(c.valid, (n+7)/8)
	switch c.kind {
	case numberKind, momentKind:
		c.data = extend(c.data, 8*n)
	case flagKind:
		c.data = extend(c.data, (n+7)/8)
	default:
		for len(c.ends) <= n {
			c.ends = append(c.ends, c.ends[len(c.ends)-1])
		}
	}
}

func extend(b []byte, n int) []byte {
	for len(b) < n {
		b = append(b, 0)
	}
	return b
}

// begin gives a row its place, as one that has a value; the caller appends the value.
func (c *column) begin(row int) {
	if c.rows < row {
		c.grow(row)
	}
	if row%8 == 0 {
		c.valid = append(c.valid, 0)
	}
	c.valid[row/8] |= 1 << (row % 8)
	c.rows, c.values = row+1, c.values+1
}

func (c *column) number(row int, v int64) {
	c.begin(row)
	c.data = binary.NativeEndian.AppendUint64(c.data, uint64(v))
}

func (c *column) moment(row int, s record.Stamp) { c.number(row, s.Time().Unix()) }

// flag sets a row to true or false.
func (c *column) flag(row int, v bool) {
	c.begin(row)
	if row%8 == 0 {
		c.data = append(c.data, 0)
	}
	if v {
		c.data[row/8] |= 1 << (row % 8)
	}
}

// text sets a row to a text. An empty one is left out: clients take an element of XML without text for none.
func (c *column) text(row int, s string) {
	if s != "" {
		c.begin(row)
		c.end(appendUTF8(c.data, s))
	}
}

// end keeps data that grew by the text of the row that was begun.
func (c *column) end(data []byte) {
	c.data, c.ends = data, append(c.ends, int32(len(data)))
}

// pairs sets a row to a map of texts.
func (c *column) pairs(row int, pairs []protocol.Pair) {
	c.begin(row)
	if c.entries == nil {
		c.entries = &[2]column{}
		c.entries[0].reset()
		c.entries[1].reset()
	}
	keys, values := &c.entries[0], &c.entries[1]
	for i := range pairs {
		keys.begin(keys.rows)
		keys.end(appendUTF8(keys.data, pairs[i].Name))
		values.begin(values.rows)
		values.end(appendUTF8(values.data, pairs[i].Value))
	}
	c.ends = append(c.ends, int32(keys.rows))
}

// appendUTF8 appends a text whose every byte that is no part of a character is replaced, as in XML: readers refuse a whole
// page for one.
func appendUTF8(b []byte, s string) []byte {
	if utf8.ValidString(s) {
		return append(b, s...)
	}
	return append(b, strings.Map(func(r rune) rune { return r }, s)...)
}

// array is the column with so many rows, over the column's own memory.
func (c *column) array(rows int) *array.Data {
	c.grow(rows)
	buffers, children := make([]*memory.Buffer, 1, 3), []arrow.ArrayData(nil)
	if c.values < rows {
		buffers[0] = memory.NewBufferBytes(c.valid)
	}
	switch c.kind {
	case textKind:
		buffers = append(buffers, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(c.ends)), memory.NewBufferBytes(c.data))
	case pairsKind:
		n := c.entries[0].rows
		texts := []arrow.ArrayData{c.entries[0].array(n), c.entries[1].array(n)}
		buffers = append(buffers, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(c.ends)))
		children = []arrow.ArrayData{array.NewData(arrowPairs.Elem(), n, []*memory.Buffer{nil}, texts, 0, 0)}
	default:
		buffers = append(buffers, memory.NewBufferBytes(c.data))
	}
	return array.NewData(arrowTypes[c.kind], rows, buffers, children, rows-c.values, 0)
}
