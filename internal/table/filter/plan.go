package filter

import (
	"bytes"
	"slices"

	"github.com/blobd/blobd/internal/invariants"
	"github.com/blobd/blobd/internal/table/entity"
)

// Range is a run of keys of one table: lower <= key < upper, after the prefix that all its keys share. A nil Upper is open.
type Range struct{ Lower, Upper []byte }

// Everything is the range of all entities of a table.
var Everything = Range{}

// Plan turns the conditions on PartitionKey and RowKey into the ranges of keys that a query has to read: in order, apart from
// each other, and holding every entity that the filter matches. exact tells that they hold no others, so that the rows need no
// look.
func (f *Filter) Plan() (ranges []Range, exact bool) {
	if f.root == nil {
		return []Range{Everything}, true
	}
	p := planner{left: maxWork}
	boxes, exact := p.boxes(f.root, false)
	for i := range boxes {
		r, tight := boxes[i].keys()
		exact = exact && tight
		if !r.empty() {
			ranges = append(ranges, r)
		}
	}
	return merge(ranges), exact
}

// interval is a run of encoded strings, low <= s < high; nil is open. Its bounds are cuts: between the encodings of strings,
// never equal to the continuation of one.
type interval struct{ low, high []byte }

// box is the set of keys with a PartitionKey in pk and a RowKey in rk.
type box struct{ pk, rk interval }

// A cut of PartitionKeys ends with the separator (before the partition) or one more (after it), a cut of RowKeys with nothing
// or a separator.
const (
	before = 0x00
	after  = 0x01
)

// maxBoxes bounds the ranges of a plan, and maxWork the boxes that are looked at while it is made; beyond them it reads more than it
// has to.
const (
	maxBoxes = 1024
	maxWork  = 16 * maxBoxes
)

// planner has the work that may still be done.
type planner struct{ left int }

// spend takes from it; false if that is not left.
func (p *planner) spend(n int) bool {
	p.left -= n
	return p.left >= 0
}

// boxes covers what n matches, or with negate what it does not match, and tells whether it covers nothing else.
func (p *planner) boxes(n *node, negate bool) ([]box, bool) {
	switch n.kind {
	case kindNot:
		return p.boxes(&n.kids[0], !negate)
	case kindConst:
		if (n.value.Bits != 0) != negate {
			return []box{{}}, true
		}
		return nil, true
	case kindCompare:
		return n.leaf(negate)
	}
	if (n.kind == kindAnd) == negate { // or, or the negation of and
		all, exact := []box(nil), true
		for i := range n.kids {
			b, e := p.boxes(&n.kids[i], negate)
			all, exact = append(all, b...), exact && e
			invariants.Look(len(b))
			if len(all) > maxBoxes || !p.spend(len(b)) {
				return []box{{}}, false
			}
		}
		return all, exact
	}
	all, exact := []box{{}}, true
	for i := range n.kids {
		b, e := p.boxes(&n.kids[i], negate)
		exact = exact && e
		if len(all)*len(b) > maxBoxes || !p.spend(len(all)*len(b)) {
			exact = false
			if len(b) < len(all) {
				all = b
			}
			continue
		}
		var both []box
		invariants.Look(len(all) * len(b))
		for _, x := range all {
			for _, y := range b {
				z := box{intersect(x.pk, y.pk), intersect(x.rk, y.rk)}
				if !z.pk.empty() && !z.rk.empty() {
					both = append(both, z)
				}
			}
		}
		all = both
	}
	return all, exact
}

func (n *node) leaf(negate bool) ([]box, bool) {
	if n.slot != slotPartitionKey && n.slot != slotRowKey {
		return []box{{}}, false
	}
	op := n.op
	if negate {
		op = [...]operator{opEq: opNe, opNe: opEq, opGt: opLe, opGe: opLt, opLt: opGe, opLe: opGt}[op]
	}
	at := slices.Clip(n.key)
	var from, to []byte // the cuts before and after the literal
	if n.slot == slotPartitionKey {
		from, to = append(at, before), append(at, after)
	} else {
		from, to = at, append(at, before)
	}
	var runs []interval
	switch op {
	case opEq:
		runs = []interval{{from, to}}
	case opNe:
		runs = []interval{{nil, from}, {to, nil}}
	case opGt:
		runs = []interval{{to, nil}}
	case opGe:
		runs = []interval{{from, nil}}
	case opLt:
		runs = []interval{{nil, from}}
	case opLe:
		runs = []interval{{nil, to}}
	}
	boxes := make([]box, len(runs))
	for i, r := range runs {
		if n.slot == slotPartitionKey {
			boxes[i].pk = r
		} else {
			boxes[i].rk = r
		}
	}
	return boxes, true
}

func intersect(a, b interval) interval {
	if bytes.Compare(b.low, a.low) > 0 {
		a.low = b.low
	}
	if a.high == nil || b.high != nil && bytes.Compare(b.high, a.high) < 0 {
		a.high = b.high
	}
	return a
}

func (i interval) empty() bool { return i.high != nil && bytes.Compare(i.low, i.high) >= 0 }

// keys returns the run of keys that holds the box, and whether it holds nothing else.
func (b box) keys() (Range, bool) {
	r := Range{b.pk.low, b.pk.high}
	point := false
	if n := len(b.pk.low); n > 0 && b.pk.low[n-1] == before {
		r.Lower = append(slices.Clip(b.pk.low), b.rk.low...)
		m := len(b.pk.high)
		point = m == n && b.pk.high[m-1] == after && bytes.Equal(b.pk.high[:m-1], b.pk.low[:n-1])
	}
	if n := len(b.pk.high); n > 0 && b.pk.high[n-1] == after && b.rk.high != nil {
		r.Upper = append(append(slices.Clip(b.pk.high[:n-1]), before), b.rk.high...)
	}
	return r, point || len(b.rk.low) == 0 && b.rk.high == nil
}

func (r Range) empty() bool { return r.Upper != nil && bytes.Compare(r.Lower, r.Upper) >= 0 }

// merge sorts ranges and joins those that touch.
func merge(all []Range) []Range {
	slices.SortFunc(all, func(a, b Range) int { return bytes.Compare(a.Lower, b.Lower) })
	var out []Range
	for _, r := range all {
		if n := len(out); n > 0 {
			last := &out[n-1]
			if last.Upper == nil {
				break
			}
			if bytes.Compare(r.Lower, last.Upper) <= 0 {
				if r.Upper == nil || bytes.Compare(r.Upper, last.Upper) > 0 {
					last.Upper = r.Upper
				}
				continue
			}
		}
		out = append(out, r)
	}
	return out
}

// Clip returns the part of ranges that lies in one more.
func Clip(ranges []Range, to Range) []Range {
	var out []Range
	for _, r := range ranges {
		i := intersect(interval{r.Lower, r.Upper}, interval{to.Lower, to.Upper})
		if !i.empty() {
			out = append(out, Range{i.low, i.high})
		}
	}
	return out
}

// Keys returns the range from (startPK, startRK) to (endPK, endRK), both included, as a SAS bounds it. A nil bound is open;
// a RowKey counts only beside its PartitionKey.
func Keys(startPK, startRK, endPK, endRK *string) Range {
	var r Range
	if startPK != nil {
		r.Lower = append(entity.AppendKeyString(nil, *startPK), before)
		if startRK != nil {
			r.Lower = entity.AppendKeyString(r.Lower, *startRK)
		}
	}
	if endPK != nil {
		if endRK == nil {
			r.Upper = append(entity.AppendKeyString(nil, *endPK), after)
		} else {
			r.Upper = append(entity.AppendKeyString(append(entity.AppendKeyString(nil, *endPK), before), *endRK), before)
		}
	}
	return r
}

// Contains tells whether the key, after the table's prefix, lies in the range.
func (r Range) Contains(key []byte) bool {
	return bytes.Compare(r.Lower, key) <= 0 && (r.Upper == nil || bytes.Compare(key, r.Upper) < 0)
}
