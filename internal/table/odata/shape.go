package odata

import (
	"strings"

	"github.com/blobd/blobd/internal/table/entity"
	"github.com/blobd/blobd/internal/view"
)

// shape is how a body was written: what stands between its values, names and annotations and all. Most entities that come one
// after another differ in nothing but their values. What a body means depends on its text alone, so one that has the same text
// between its values, each of which is one token, is read by comparing that text.
type shape struct {
	text  []byte
	runs  []run
	items []item // without values; their names stand in text
}

// run is a piece of text that goes before a value, or with item none behind the last.
type run struct {
	from, to int // in shape.text
	item     int // that the value is of; ignored for one that no entity has
}

const (
	ignored = -1 - iota
	none
)

// span is where a body has a value, and whose it is.
type span struct{ from, to, item int }

// Bounds of what a shape takes, lest a hostile body is kept or costs much more than to read it.
const (
	maxShapeText = 8 << 10
	maxShapeRuns = 2 * entity.MaxProperties
)

// learn notes the shape of a body that was read without an error. The last of spans is its end.
func (s *shape) learn(body string, spans []span, items []item) {
	s.text, s.runs = s.text[:0], s.runs[:0]
	clear(s.items)
	s.items = s.items[:0]
	fixed, names := len(body), 0
	for _, v := range spans {
		fixed -= v.to - v.from
	}
	for i := range items {
		names += len(items[i].name)
	}
	if fixed+names > maxShapeText || len(spans) > maxShapeRuns {
		return
	}
	if cap(s.text) < fixed+names { // its pieces are seen as strings, so it must not move
		s.text = make([]byte, 0, fixed+names)
	}
	at := 0
	for _, v := range spans {
		from := len(s.text)
		s.text = append(s.text, body[at:v.from]...)
		s.runs = append(s.runs, run{from, len(s.text), v.item})
		at = v.to
	}
	for i := range items {
		from := len(s.text)
		s.text = append(s.text, items[i].name...)
		it := items[i]
		it.name, it.text, it.named = view.String(s.text[from:]), "", true
		s.items = append(s.items, it)
	}
}

// shaped reads a body of the shape of the last one that was learnt into d.items. If it is of another, false, and d.items is left
// in disorder.
func (d *Decoder) shaped(body string) bool {
	s := &d.shape
	if len(s.runs) == 0 {
		return false
	}
	d.items = append(d.items, s.items...)
	p := jsonParser{text: body, d: d}
	text := view.String(s.text)
	for i := range s.runs {
		r := &s.runs[i]
		fixed := text[r.from:r.to]
		if !strings.HasPrefix(body[p.at:], fixed) {
			return false
		}
		p.at += len(fixed)
		if r.item == none {
			break
		}
		kind, value, ok := p.value()
		if !ok {
			return false
		}
		if r.item >= 0 {
			it := &d.items[r.item]
			it.kind, it.text = kind, value
		}
	}
	return p.at == len(body)
}
