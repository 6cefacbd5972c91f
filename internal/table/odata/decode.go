package odata

import (
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/blobd/blobd/internal/invariants"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/table/entity"
	"github.com/blobd/blobd/internal/view"
)

// Entity is what a request body says. Its strings refer to the body and to the Decoder, and live until the Decoder is used
// again.
type Entity struct {
	PartitionKey, RowKey       string
	HasPartitionKey, HasRowKey bool
	Properties                 []entity.Property // without keys, Timestamp and nulls; checked one by one
}

// Decoder reads request bodies. It is used by one goroutine; its buffers are reused.
type Decoder struct {
	Entity  Entity
	items   []item
	index   map[string]int // of items by name, where there are many; else empty
	scratch []byte         // decoded strings; never moved while Entity refers to it
	shape   shape          // of the last body that was in JSON
	spans   []span         // of the values of the body at hand
}

// item is a member of an entity as sent, before its annotation is applied.
type item struct {
	name    string
	named   bool // its name was checked
	typ     entity.Type
	typed   bool
	present bool // a value has come, not only an annotation
	kind    valueKind
	text    string // of a string or number
}

// smallInteger reads a run of at most nine digits, which most integers are.
func smallInteger(s string) (n int32, ok bool) {
	digits := s
	if s != "" && s[0] == '-' {
		digits = s[1:]
	}
	if len(digits) == 0 || len(digits) > 9 {
		return 0, false
	}
	for i := 0; i < len(digits); i++ {
		c := digits[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int32(c)
	}
	if len(digits) < len(s) {
		n = -n
	}
	return n, true
}

type valueKind byte

const (
	isString valueKind = iota
	isNumber
	isTrue
	isFalse
	isNull
)

// maxItems bounds what one body can make us keep: more than an entity's properties, their annotations and nulls.
const maxItems = 1024

// Overwrite ends the life of what Entity refers to beside the body; see package invariants.
func (d *Decoder) Overwrite() { invariants.Overwrite(d.scratch) }

func (d *Decoder) reset() {
	clear(d.items)
	clear(d.Entity.Properties)
	d.items = d.items[:0]
	if len(d.index) > 0 {
		clear(d.index)
	}
	d.Entity = Entity{Properties: d.Entity.Properties[:0]}
	if cap(d.scratch) > 1<<20 {
		d.scratch = nil
	}
	d.scratch = d.scratch[:0]
}

// item returns the number of the item of that name, a new one if there is none.
func (d *Decoder) item(name string) (int, error) {
	if len(d.items) > fewItems {
		if d.index == nil {
			d.index = map[string]int{}
		}
		for i := len(d.index); i < len(d.items); i++ {
			d.index[d.items[i].name] = i
		}
		if i, ok := d.index[name]; ok {
			return i, nil
		}
	} else {
		invariants.Look(len(d.items))
		for i := len(d.items) - 1; i >= 0; i-- {
			if d.items[i].name == name {
				return i, nil
			}
		}
	}
	if len(d.items) == maxItems {
		return 0, protocol.ErrTooManyProperties
	}
	d.items = append(d.items, item{name: name})
	return len(d.items) - 1, nil
}

// fewItems are looked through faster than they are looked up.
const fewItems = 32

// set notes the value of a member and returns the number of its item.
func (d *Decoder) set(name string, kind valueKind, text string) (int, error) {
	i, err := d.item(name)
	if err != nil {
		return 0, err
	}
	it := &d.items[i]
	if it.present {
		return 0, protocol.ErrDuplicatePropertiesSpecified
	}
	it.present, it.kind, it.text = true, kind, text
	return i, nil
}

// annotate notes the type of a member, which may come before or after it.
func (d *Decoder) annotate(name, typeName string) error {
	typ, ok := entity.ParseType(typeName)
	if !ok {
		return errInput
	}
	i, err := d.item(name)
	if err != nil {
		return err
	}
	it := &d.items[i]
	if it.typed {
		return protocol.ErrDuplicatePropertiesSpecified
	}
	it.typ, it.typed = typ, true
	return nil
}

// finish turns the items into the entity.
func (d *Decoder) finish() error {
	for i := range d.items {
		it := &d.items[i]
		if !it.present {
			continue
		}
		switch it.name {
		case "PartitionKey", "RowKey":
			if it.kind == isNull {
				continue
			}
			if it.kind != isString || it.typed && it.typ != entity.String {
				return errInput
			}
			if it.name == "RowKey" {
				d.Entity.RowKey, d.Entity.HasRowKey = it.text, true
			} else {
				d.Entity.PartitionKey, d.Entity.HasPartitionKey = it.text, true
			}
			continue
		case "Timestamp":
			continue
		}
		if !it.named {
			if err := entity.CheckName(it.name); err != nil {
				return err
			}
		}
		v, err := d.value(it)
		if err != nil {
			return err
		}
		if v.Type == entity.Null {
			continue
		}
		if err := entity.CheckValue(v); err != nil {
			return err
		}
		d.Entity.Properties = append(d.Entity.Properties, entity.Property{Name: it.name, Value: v})
	}
	return nil
}

// value types an item. An unannotated number is an Int32 if it is an integer in its range and a Double otherwise.
func (d *Decoder) value(it *item) (entity.Value, error) {
	typ := it.typ
	if !it.typed {
		switch it.kind {
		case isString:
			typ = entity.String
		case isTrue, isFalse:
			typ = entity.Boolean
		case isNumber:
			if n, ok := smallInteger(it.text); ok {
				return entity.Int32Value(n), nil
			}
			if !strings.ContainsAny(it.text, ".eE") {
				if n, err := strconv.ParseInt(it.text, 10, 32); err == nil {
					return entity.Int32Value(int32(n)), nil
				}
			}
			typ = entity.Double
		}
	}
	switch it.kind {
	case isNull:
		return entity.Value{}, nil
	case isTrue, isFalse:
		if typ != entity.Boolean {
			return entity.Value{}, errInput
		}
		return entity.BooleanValue(it.kind == isTrue), nil
	case isNumber:
		if typ != entity.Double && typ != entity.Int32 && typ != entity.Int64 {
			return entity.Value{}, errInput
		}
	}
	return d.parse(typ, it.text)
}

// parse reads the text of a value.
func (d *Decoder) parse(typ entity.Type, text string) (entity.Value, error) {
	from := len(d.scratch)
	switch typ {
	case entity.String:
		return entity.StringValue(text), nil
	case entity.Boolean:
		switch strings.ToLower(text) {
		case "true", "1":
			return entity.BooleanValue(true), nil
		case "false", "0":
			return entity.BooleanValue(false), nil
		}
	case entity.Int32:
		if n, err := strconv.ParseInt(text, 10, 32); err == nil {
			return entity.Int32Value(int32(n)), nil
		}
	case entity.Int64:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return entity.Int64Value(n), nil
		}
	case entity.Double:
		if f, ok := entity.ParseDouble(text); ok {
			return entity.DoubleValue(f), nil
		}
	case entity.DateTime:
		if ticks, ok := entity.ParseDateTime(text); ok {
			return entity.DateTimeValue(ticks), nil
		}
	case entity.Guid:
		var ok bool
		if d.scratch, ok = entity.AppendParsedGuid(d.scratch, text); ok {
			return entity.GuidValue(view.String(d.scratch[from:])), nil
		}
	case entity.Binary:
		var err error
		if d.scratch, err = base64.StdEncoding.AppendDecode(d.scratch, []byte(text)); err == nil {
			return entity.BinaryValue(view.String(d.scratch[from:])), nil
		}
	}
	return entity.Value{}, errInput
}

// JSON reads an entity, or the body of Create Table, which is one with the property TableName. The result is d.Entity.
func (d *Decoder) JSON(body []byte) error {
	d.reset()
	if !utf8.Valid(body) {
		return errInput
	}
	text := view.String(body)
	if d.shaped(text) {
		return d.finish()
	}
	d.reset()
	d.spans = d.spans[:0]
	if err := d.object(text); err != nil {
		return err
	}
	if err := d.finish(); err != nil {
		return err
	}
	d.spans = append(d.spans, span{len(text), len(text), none})
	d.shape.learn(text, d.spans, d.items)
	return nil
}

// object reads a body into d.items.
func (d *Decoder) object(text string) error {
	p := jsonParser{text: text, d: d}
	p.space()
	if !p.accept('{') {
		return errInput
	}
	p.space()
	for first := true; !p.accept('}'); first = false {
		if !first {
			if !p.accept(',') {
				return errInput
			}
			p.space()
		}
		if err := p.member(); err != nil {
			return err
		}
		p.space()
	}
	p.space()
	if p.at != len(p.text) {
		return errInput
	}
	return nil
}

// jsonParser walks one flat object.
type jsonParser struct {
	text string
	at   int
	d    *Decoder
}

func (p *jsonParser) space() {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\r', '\n':
			p.at++
		default:
			return
		}
	}
}

func (p *jsonParser) accept(c byte) bool {
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *jsonParser) member() error {
	name, ok := p.string()
	if !ok {
		return errInput
	}
	p.space()
	if !p.accept(':') {
		return errInput
	}
	p.space()
	from := p.at
	kind, text, ok := p.value()
	if !ok {
		return errInput
	}
	value := span{from, p.at, ignored}
	of, annotation, annotated := strings.Cut(name, "@")
	switch {
	case strings.HasPrefix(name, "odata."):
	case !annotated:
		var err error
		if value.item, err = p.d.set(name, kind, text); err != nil {
			return err
		}
	case annotation == "odata.type":
		if kind != isString {
			return errInput
		}
		return p.d.annotate(of, text)
	}
	if len(p.d.spans) <= maxShapeRuns {
		p.d.spans = append(p.d.spans, value)
	}
	return nil
}

func (p *jsonParser) value() (kind valueKind, text string, ok bool) {
	if p.at == len(p.text) {
		return 0, "", false
	}
	switch p.text[p.at] {
	case '"':
		text, ok = p.string()
		return isString, text, ok
	case 't':
		return isTrue, "", p.word("true")
	case 'f':
		return isFalse, "", p.word("false")
	case 'n':
		return isNull, "", p.word("null")
	}
	text, ok = p.number()
	return isNumber, text, ok
}

func (p *jsonParser) word(w string) bool {
	if !strings.HasPrefix(p.text[p.at:], w) {
		return false
	}
	p.at += len(w)
	return true
}

func (p *jsonParser) digits() bool {
	from := p.at
	for p.at < len(p.text) && p.text[p.at] >= '0' && p.text[p.at] <= '9' {
		p.at++
	}
	return p.at > from
}

func (p *jsonParser) number() (string, bool) {
	from := p.at
	p.accept('-')
	if !p.accept('0') && !p.digits() {
		return "", false
	}
	if p.accept('.') && !p.digits() {
		return "", false
	}
	if p.accept('e') || p.accept('E') {
		if !p.accept('+') {
			p.accept('-')
		}
		if !p.digits() {
			return "", false
		}
	}
	return p.text[from:p.at], true
}

// string reads a string; without escapes it is a part of the body.
func (p *jsonParser) string() (string, bool) {
	if !p.accept('"') {
		return "", false
	}
	from := p.at
	p.at = special(p.text, from)
	if p.at == len(p.text) {
		return "", false
	}
	switch p.text[p.at] {
	case '"':
		p.at++
		return p.text[from : p.at-1], true
	case '\\':
		return p.escaped(from)
	}
	return "", false
}

// escaped goes on with a string at its first escape, in the decoder's scratch.
func (p *jsonParser) escaped(from int) (string, bool) {
	start := len(p.d.scratch)
	out := p.d.scratch
	for p.at < len(p.text) {
		c := p.text[p.at]
		switch {
		case c == '"':
			out = append(out, p.text[from:p.at]...)
			p.at++
			p.d.scratch = out
			return view.String(out[start:]), true
		case c < 0x20:
			return "", false
		case c != '\\':
			p.at = special(p.text, p.at)
			continue
		}
		out = append(out, p.text[from:p.at]...)
		if p.at+1 == len(p.text) {
			return "", false
		}
		p.at += 2
		switch e := p.text[p.at-1]; e {
		case '"', '\\', '/':
			out = append(out, e)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, ok := p.unit()
			if !ok {
				return "", false
			}
			if r >= 0xD800 && r < 0xDC00 && strings.HasPrefix(p.text[p.at:], `\u`) {
				back := p.at
				p.at += 2
				low, ok := p.unit()
				if !ok {
					return "", false
				}
				if low >= 0xDC00 && low < 0xE000 {
					r = 0x10000 + (r-0xD800)<<10 + (low - 0xDC00)
				} else {
					p.at = back
				}
			}
			out = utf8.AppendRune(out, r) // a lone surrogate becomes U+FFFD
		default:
			return "", false
		}
		from = p.at
	}
	return "", false
}

// unit reads the four digits of \uXXXX.
func (p *jsonParser) unit() (rune, bool) {
	if p.at+4 > len(p.text) {
		return 0, false
	}
	var b [2]byte
	digits, ok := entity.AppendParsedHex(b[:0], p.text[p.at:p.at+4])
	if !ok {
		return 0, false
	}
	p.at += 4
	return rune(digits[0])<<8 | rune(digits[1]), true
}
