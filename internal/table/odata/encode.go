package odata

import (
	"bytes"
	"encoding/base64"
	"math"
	"slices"
	"strconv"

	"github.com/blobd/blobd/internal/invariants"
	"github.com/blobd/blobd/internal/table/entity"
	"github.com/blobd/blobd/internal/view"
)

// Writer encodes entities of one table for one answer. It is used by one goroutine.
type Writer struct {
	Format  Format
	Base    string // URL of the account, with a slash at its end
	Account string
	Table   string   // as it was created
	Select  []string // properties asked for; nil for all: see SetSelect
	Context []byte   // what odata.metadata ends with: see AppendSelectContext

	pk      []byte // PartitionKey last written, encoded as in a key
	pkText  []byte // and as it stands in the answer; empty when none was written
	keys    [2][]byte
	missing []bool         // of Select, in the entity at hand
	index   map[string]int // of Select, where there are many; else nil

	stamps, times entity.Times // of Timestamps, of properties
}

// AppendEntity appends an entity: as an answer of its own, or as one in a feed. pk and rk are as in its key; row is whole.
func (w *Writer) AppendEntity(dst, pk, rk []byte, row entity.Row, alone bool) ([]byte, error) {
	if w.Format == Atom {
		return w.appendAtom(dst, pk, rk, row, alone)
	}
	return w.appendJSON(dst, pk, rk, row, alone)
}

// AppendFeedStart appends what stands before the entities of a feed.
func (w *Writer) AppendFeedStart(dst []byte) []byte {
	switch w.Format {
	case Atom:
		return w.appendAtomFeed(dst, w.Table)
	case None:
		return append(dst, `{"value":[`...)
	}
	dst = append(append(append(dst, `{"odata.metadata":"`...), w.Base...), `$metadata#`...)
	return append(append(append(dst, w.Table...), w.Context...), `","value":[`...)
}

// AppendSelectContext appends what a $select adds to odata.metadata: the list as it was asked for.
func AppendSelectContext(dst []byte, selected string) []byte {
	dst = append(dst, "&$select="...)
	for i := 0; i < len(selected); i++ {
		switch c := selected[i]; {
		case unreserved[c], c == ',', c == '*', c == '(', c == ')', c == '\'', c == '/', c == ':', c == '@':
			dst = append(dst, c)
		default:
			dst = append(dst, '%', "0123456789ABCDEF"[c>>4], "0123456789ABCDEF"[c&15])
		}
	}
	return dst
}

// AppendFeedEnd appends what stands after them.
func (w *Writer) AppendFeedEnd(dst []byte) []byte {
	if w.Format == Atom {
		return append(dst, `</feed>`...)
	}
	return append(dst, `]}`...)
}

// AppendTable appends a table: as an answer of its own, or as one in a list of them.
func (w *Writer) AppendTable(dst []byte, table string, alone bool) []byte {
	if w.Format == Atom {
		return w.appendAtomTable(dst, table, alone)
	}
	dst = append(dst, '{')
	if alone && w.Format != None {
		dst = append(append(append(dst, `"odata.metadata":"`...), w.Base...), `$metadata#Tables/@Element",`...)
	}
	if w.Format == Full {
		dst = append(append(append(dst, `"odata.type":"`...), w.Account...), `.Tables","odata.id":"`...)
		dst = append(append(append(append(dst, w.Base...), `Tables('`...), table...), `')","odata.editLink":"Tables('`...)
		dst = append(append(dst, table...), `')",`...)
	}
	return append(append(append(dst, `"TableName":"`...), table...), `"}`...)
}

// AppendKeys appends "T(PartitionKey='…',RowKey='…')" of encoded keys, as it stands in a URL.
func (w *Writer) AppendKeys(dst, pk, rk []byte) []byte {
	w.keys[0] = entity.AppendDecoded(w.keys[0][:0], pk)
	w.keys[1] = entity.AppendDecoded(w.keys[1][:0], rk)
	return AppendEntityPath(dst, w.Table, view.String(w.keys[0]), view.String(w.keys[1]))
}

// selected tells whether a property of every entity is asked for.
func (w *Writer) selected(name string) bool {
	if w.Select == nil {
		return true
	}
	if w.index != nil {
		i, found := w.index[name]
		if found {
			w.missing[i] = false
		}
		return found
	}
	invariants.Look(len(w.Select))
	i := slices.Index(w.Select, name)
	if i >= 0 {
		w.missing[i] = false
	}
	return i >= 0
}

// fewSelected are looked through faster than they are looked up.
const fewSelected = 8

// SetSelect has the answer hold the properties of these names, each once; nil for all.
func (w *Writer) SetSelect(names []string) {
	w.Select, w.index = names[:0], nil
	if len(names) > fewSelected {
		w.index = make(map[string]int, len(names))
	}
	for _, name := range names {
		if w.index == nil && slices.Contains(w.Select, name) {
			continue
		}
		if w.index != nil {
			if _, there := w.index[name]; there {
				continue
			}
			w.index[name] = len(w.Select)
		}
		w.Select = append(w.Select, name)
	}
}

func (w *Writer) begin() {
	w.missing = w.missing[:0] // also without a Select: a Writer that had one may be used again
	for range w.Select {
		w.missing = append(w.missing, true)
	}
}

func (w *Writer) appendJSON(dst, pk, rk []byte, row entity.Row, alone bool) ([]byte, error) {
	w.begin()
	stamp := uint64(row.Stamp())
	dst = append(dst, '{')
	if w.Format != None {
		if alone {
			dst = append(append(append(dst, `"odata.metadata":"`...), w.Base...), `$metadata#`...)
			dst = append(append(append(dst, w.Table...), `/@Element`...), w.Context...)
			dst = append(dst, `",`...)
		}
		if w.Format == Full {
			dst = append(append(append(append(append(dst, `"odata.type":"`...), w.Account...), '.'), w.Table...), `","odata.id":"`...)
			dst = append(w.AppendKeys(append(dst, w.Base...), pk, rk), `",`...)
		}
		dst = append(dst, `"odata.etag":"W/\"datetime'`...)
		dst = append(w.stamps.AppendETag(dst, stamp), `'\"",`...)
		if w.Format == Full {
			dst = append(w.AppendKeys(append(dst, `"odata.editLink":"`...), pk, rk), `",`...)
		}
	}
	if w.selected("PartitionKey") {
		if len(w.pkText) == 0 || !bytes.Equal(w.pk, pk) {
			w.pk = append(w.pk[:0], pk...)
			w.keys[0] = entity.AppendDecoded(w.keys[0][:0], pk)
			w.pkText = append(appendJSONString(append(w.pkText[:0], `"PartitionKey":`...), view.String(w.keys[0])), ',')
		}
		dst = append(dst, w.pkText...)
	}
	if w.selected("RowKey") {
		if bytes.IndexByte(rk, entity.Surrogate) >= 0 {
			w.keys[1] = entity.AppendDecoded(w.keys[1][:0], rk)
			rk = w.keys[1]
		}
		dst = append(appendJSONString(append(dst, `"RowKey":`...), view.String(rk)), ',')
	}
	if w.selected("Timestamp") {
		if w.Format == Full {
			dst = append(dst, `"Timestamp@odata.type":"Edm.DateTime",`...)
		}
		dst = append(w.stamps.Append(append(dst, `"Timestamp":"`...), stamp), `",`...)
	}
	props := row.Properties()
	for props.Next() {
		name := props.Name()
		if w.Select != nil && !w.selected(view.String(name)) {
			continue
		}
		dst = w.appendJSONProperty(dst, name, props.Value())
	}
	if err := props.Err(); err != nil {
		return nil, err
	}
	if w.Select != nil {
		for i, missing := range w.missing {
			if missing {
				dst = append(append(append(dst, '"'), w.Select[i]...), `":null,`...)
			}
		}
	}
	if dst[len(dst)-1] == ',' {
		dst = dst[:len(dst)-1]
	}
	return append(dst, '}'), nil
}

// appendJSONProperty appends a property and a comma. Its name was checked when it was stored and needs no escape.
func (w *Writer) appendJSONProperty(dst, name []byte, v entity.Value) []byte {
	annotated := false
	switch v.Type {
	case entity.Binary, entity.DateTime, entity.Guid, entity.Int64:
		annotated = w.Format != None
	case entity.Double:
		f := v.Float()
		annotated = w.Format != None && (math.IsNaN(f) || math.IsInf(f, 0))
	}
	dst = append(append(dst, '"'), name...)
	if annotated {
		dst = append(append(dst, `@odata.type":"`...), v.Type.String()...)
		dst = append(append(dst, `","`...), name...)
	}
	dst = append(dst, `":`...)
	switch v.Type {
	case entity.String:
		return append(appendJSONString(dst, v.Data), ',')
	case entity.Boolean:
		return append(strconv.AppendBool(dst, v.Bits != 0), ',')
	case entity.Int32:
		return append(strconv.AppendInt(dst, v.Int(), 10), ',')
	case entity.DateTime:
		return append(w.times.Append(append(dst, '"'), v.Bits), `",`...)
	case entity.Double:
		if f := v.Float(); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return append(entity.AppendDouble(dst, f), ',')
		}
	}
	return append(appendText(append(dst, '"'), v), `",`...)
}

// appendText appends the text that a value has in JSON strings and in Atom alike; a String is not escaped.
func appendText(dst []byte, v entity.Value) []byte {
	switch v.Type {
	case entity.String:
		return append(dst, v.Data...)
	case entity.Boolean:
		return strconv.AppendBool(dst, v.Bits != 0)
	case entity.Int32, entity.Int64:
		return strconv.AppendInt(dst, v.Int(), 10)
	case entity.Double:
		return entity.AppendDouble(dst, v.Float())
	case entity.DateTime:
		return entity.AppendDateTime(dst, v.Bits)
	case entity.Guid:
		return entity.AppendGuid(dst, v.Data)
	case entity.Binary:
		n := base64.StdEncoding.EncodedLen(len(v.Data))
		at := len(dst)
		dst = append(dst, make([]byte, n)...)
		base64.StdEncoding.Encode(dst[at:], []byte(v.Data))
	}
	return dst
}

// appendJSONString appends a quoted string. What is not ASCII stays as it is.
func appendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for from := 0; ; {
		i := special(s, from)
		dst = append(dst, s[from:i]...)
		if i == len(s) {
			return append(dst, '"')
		}
		from = i + 1
		switch c := s[i]; c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		}
	}
}
