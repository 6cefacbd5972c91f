package filter

import (
	"bytes"
	"cmp"
	"math"
	"strings"

	"github.com/blobd/blobd/internal/invariants"
	"github.com/blobd/blobd/internal/table/entity"
)

// Matcher evaluates one filter on row after row. It is used by one goroutine.
type Matcher struct {
	filter *Filter
	values []entity.Value // of the filter's names, in the row at hand
	// must has, by name, the comparisons that every row has to pass that the filter matches. The row is read no further than
	// to the first that fails, which for most rows comes before the properties are all taken out.
	must   [][]*node
	all    bool // they are all that the filter asks, so that a row passes that has every property and fails none
	loaded bool
	failed bool // one of must
	pk, rk []byte
	row    entity.Row
	whole  func(entity.Row) (entity.Row, error)
	err    error
}

// Matcher returns a matcher. whole makes a row of an entry that has its properties in parts; it is called only when the filter
// looks at them.
func (f *Filter) Matcher(whole func(entity.Row) (entity.Row, error)) *Matcher {
	m := &Matcher{filter: f, values: make([]entity.Value, len(f.names)), must: make([][]*node, len(f.names)), whole: whole}
	if f.root != nil {
		m.all = m.require(f.root)
	}
	return m
}

// require notes the comparisons of which n is the conjunction, and tells whether it is one of nothing else.
func (m *Matcher) require(n *node) bool {
	switch {
	case n.kind == kindCompare && n.slot >= 0:
		m.must[n.slot] = append(m.must[n.slot], n)
		return true
	case n.kind == kindAnd:
		all := true
		for i := range n.kids {
			all = m.require(&n.kids[i]) && all
		}
		return all
	}
	return false
}

// Match tells whether the entity with the encoded keys pk and rk and the stored entry row passes the filter. row has passed
// Check.
func (m *Matcher) Match(pk, rk []byte, row entity.Row) (bool, error) {
	if m.filter.root == nil {
		return true, nil
	}
	m.pk, m.rk, m.row, m.loaded, m.failed, m.err = pk, rk, row, len(m.values) == 0, false, nil
	if m.all {
		complete := m.load()
		return complete && m.err == nil, m.err
	}
	ok := m.eval(m.filter.root)
	return ok && !m.failed && m.err == nil, m.err
}

// MatchName evaluates a filter of tables on one, of which it knows but TableName. Table names ignore case.
func (f *Filter) MatchName(table string) bool {
	if f.root == nil {
		return true
	}
	return f.evalName(f.root, strings.ToLower(table))
}

func (f *Filter) evalName(n *node, table string) bool {
	switch n.kind {
	case kindCompare:
		if f.names[n.slot] != "TableName" {
			return false
		}
		return ordered(entity.CompareOrdinal(table, strings.ToLower(n.value.Data)), n.op)
	case kindConst:
		return n.value.Bits != 0
	case kindNot:
		return !f.evalName(&n.kids[0], table)
	}
	for i := range n.kids {
		if f.evalName(&n.kids[i], table) != (n.kind == kindAnd) {
			return n.kind == kindOr
		}
	}
	return n.kind == kindAnd
}

func (m *Matcher) eval(n *node) bool {
	switch n.kind {
	case kindCompare:
		return m.compare(n)
	case kindConst:
		return n.value.Bits != 0
	case kindNot:
		return !m.eval(&n.kids[0])
	}
	for i := range n.kids {
		if m.eval(&n.kids[i]) != (n.kind == kindAnd) {
			return n.kind == kindOr
		}
	}
	return n.kind == kindAnd
}

func (m *Matcher) compare(n *node) bool {
	switch n.slot {
	case slotPartitionKey:
		return ordered(bytes.Compare(m.pk, n.key), n.op)
	case slotRowKey:
		return ordered(bytes.Compare(m.rk, n.key), n.op)
	case slotTimestamp:
		return holds(entity.DateTimeValue(uint64(m.row.Stamp())), n.op, n.value)
	}
	if !m.loaded {
		m.load()
	}
	if m.failed {
		return false
	}
	return holds(m.values[n.slot], n.op, n.value)
}

// load takes the values that the filter names out of the row, or sets m.failed where one of them settles it. It tells whether they
// were all there, and none did.
func (m *Matcher) load() (complete bool) {
	m.loaded = true
	clear(m.values)
	row := m.row
	if n, err := row.Parts(); err != nil || n > 0 {
		if row, err = m.whole(row); err != nil {
			m.err = err
			return false
		}
	}
	missing := len(m.values)
	props := row.Properties()
	for missing > 0 && props.Next() {
		i := m.filter.slot(props.Name())
		if i < 0 {
			continue
		}
		v := props.Value()
		for _, n := range m.must[i] {
			if !holds(v, n.op, n.value) {
				m.failed = true
				return false
			}
		}
		m.values[i] = v
		missing--
	}
	m.err = props.Err()
	return missing == 0
}

// slot is the number of a name, -1 if the filter does not have it.
func (f *Filter) slot(name []byte) int {
	if f.slots != nil {
		if i, ok := f.slots[string(name)]; ok {
			return i
		}
		return -1
	}
	invariants.Look(len(f.names))
	for i, want := range f.names {
		if string(name) == want {
			return i
		}
	}
	return -1
}

func ordered(c int, op operator) bool {
	switch op {
	case opEq:
		return c == 0
	case opNe:
		return c != 0
	case opGt:
		return c > 0
	case opGe:
		return c >= 0
	case opLt:
		return c < 0
	}
	return c <= 0
}

// rank orders the types of numbers by width; 0 is no number.
func rank(v entity.Value) int {
	switch v.Type {
	case entity.Int32:
		return 1
	case entity.Int64:
		return 2
	case entity.Double:
		return 3
	}
	return 0
}

// holds tells whether a property's value v op a literal w. A value that is missing holds nothing; one of another type is less, and
// so is a number less wide than the literal.
func holds(v entity.Value, op operator, w entity.Value) bool {
	if v.Type != w.Type {
		switch {
		case v.Type == entity.Null:
			return false
		case v.Type == entity.Int64 && w.Type == entity.Int32:
		case v.Type == entity.Double && (w.Type == entity.Int32 || w.Type == entity.Int64):
			return orderedFloat(w.Int(), v.Float(), mirrored[op])
		default:
			return ordered(-1, op)
		}
	}
	switch v.Type {
	case entity.String:
		if op == opEq {
			return v.Data == w.Data
		}
		return ordered(entity.CompareOrdinal(v.Data, w.Data), op)
	case entity.Binary, entity.Guid:
		return ordered(strings.Compare(v.Data, w.Data), op)
	case entity.Double:
		a, b := v.Float(), w.Float()
		if a != a || b != b {
			return op == opNe
		}
		return ordered(cmp.Compare(a, b), op)
	}
	return ordered(compareInts(int64(v.Bits), int64(w.Bits)), op) // Int32, Int64, Boolean, DateTime
}

func compareInts(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// orderedFloat compares without rounding the integer.
func orderedFloat(i int64, f float64, op operator) bool {
	switch {
	case f != f:
		return op == opNe
	case f >= 1<<63:
		return ordered(-1, op)
	case f < -1<<63:
		return ordered(1, op)
	}
	whole := math.Trunc(f)
	c := compareInts(i, int64(whole))
	if c == 0 {
		switch {
		case f > whole:
			c = -1
		case f < whole:
			c = 1
		}
	}
	return ordered(c, op)
}
