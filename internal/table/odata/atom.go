package odata

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"

	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/table/entity"
	"github.com/blobd/blobd/internal/view"
)

// Namespaces of Atom bodies (REST page "Payload format for Table service operations").
const (
	nsAtom     = "http://www.w3.org/2005/Atom"
	nsData     = "http://schemas.microsoft.com/ado/2007/08/dataservices"
	nsMetadata = "http://schemas.microsoft.com/ado/2007/08/dataservices/metadata"

	xmlHead      = `<?xml version="1.0" encoding="utf-8" standalone="yes"?>`
	atomSpaces   = ` xmlns="` + nsAtom + `" xmlns:d="` + nsData + `" xmlns:m="` + nsMetadata + `"`
	scheme       = nsData + "/scheme"
	maxAtomDepth = 16
)

// Atom reads an entity, or the body of Create Table, from an Atom entry. The result is d.Entity.
func (d *Decoder) Atom(body []byte) error {
	d.reset()
	if err := d.atom(body); err != nil {
		var e *protocol.Error
		if errors.As(err, &e) {
			return err
		}
		return errInput
	}
	return d.finish()
}

func (d *Decoder) atom(body []byte) error {
	x := xml.NewDecoder(bytes.NewReader(body))
	depth, in, seen := 0, 0, false // in is the depth of m:properties, 0 outside
	var name, typeName string
	var null bool
	var text []byte
	for {
		tok, err := x.Token()
		if err == io.EOF && seen && depth == 0 {
			return nil
		}
		if err != nil {
			return errInput
		}
		switch t := tok.(type) {
		case xml.StartElement:
			depth++
			switch {
			case depth > maxAtomDepth || depth == 1 && (seen || t.Name != xml.Name{Space: nsAtom, Local: "entry"}):
				return errInput
			case in == 0 && t.Name == xml.Name{Space: nsMetadata, Local: "properties"}:
				in = depth
			case in == 0:
			case depth > in+1 || t.Name.Space != nsData:
				return errInput
			default:
				name, typeName, null, text = t.Name.Local, "", false, nil
				for _, a := range t.Attr {
					switch a.Name {
					case xml.Name{Space: nsMetadata, Local: "type"}:
						typeName = a.Value
					case xml.Name{Space: nsMetadata, Local: "null"}:
						null = protocol.Word(a.Value) == "true" || a.Value == "1"
					}
				}
			}
			seen = true
		case xml.EndElement:
			switch {
			case in != 0 && depth == in+1:
				if err := d.atomProperty(name, typeName, null, string(text)); err != nil {
					return err
				}
			case depth == in:
				in = 0
			}
			depth--
		case xml.CharData:
			if in != 0 && depth == in+1 {
				text = append(text, t...)
			}
		case xml.Directive:
			return errInput
		}
	}
}

func (d *Decoder) atomProperty(name, typeName string, null bool, text string) error {
	if typeName != "" {
		if err := d.annotate(name, typeName); err != nil {
			return err
		}
		if typeName != "Edm.String" {
			text = strings.TrimSpace(text)
		}
	}
	kind := isString
	if null {
		kind = isNull
	}
	_, err := d.set(name, kind, text)
	return err
}

func (w *Writer) appendAtom(dst, pk, rk []byte, row entity.Row, alone bool) ([]byte, error) {
	w.begin()
	if alone {
		dst = append(append(append(dst, xmlHead...), `<entry xml:base="`...), w.Base...)
		dst = append(append(dst, '"'), atomSpaces...)
	} else {
		dst = append(dst, `<entry`...)
	}
	stamp := uint64(row.Stamp())
	dst = append(dst, ` m:etag="`...)
	from := len(dst)
	dst = entity.AppendETag(dst, stamp)
	tag := string(dst[from:])
	dst = appendXMLText(dst[:from], tag)
	dst = append(append(dst, `"><id>`...), w.Base...)
	dst = w.appendXMLKeys(dst, pk, rk)
	dst = append(append(append(append(append(dst, `</id><category term="`...), w.Account...), '.'), w.Table...), `" scheme="`+scheme+`"/><link rel="edit" title="`...)
	dst = w.appendXMLKeys(append(append(dst, w.Table...), `" href="`...), pk, rk)
	dst = append(dst, `"/><title/><updated>`...)
	dst = entity.AppendDateTime(dst, stamp)
	dst = append(dst, `</updated><author><name/></author><content type="application/xml"><m:properties>`...)
	w.keys[0] = entity.AppendDecoded(w.keys[0][:0], pk)
	w.keys[1] = entity.AppendDecoded(w.keys[1][:0], rk)
	if w.selected("PartitionKey") {
		dst = appendXMLProperty(dst, "PartitionKey", entity.StringValue(view.String(w.keys[0])))
	}
	if w.selected("RowKey") {
		dst = appendXMLProperty(dst, "RowKey", entity.StringValue(view.String(w.keys[1])))
	}
	if w.selected("Timestamp") {
		dst = appendXMLProperty(dst, "Timestamp", entity.DateTimeValue(stamp))
	}
	props := row.Properties()
	for props.Next() {
		if name := view.String(props.Name()); w.selected(name) {
			dst = appendXMLProperty(dst, name, props.Value())
		}
	}
	if err := props.Err(); err != nil {
		return nil, err
	}
	for i, missing := range w.missing {
		if missing {
			dst = append(append(append(dst, `<d:`...), w.Select[i]...), ` m:null="true"/>`...)
		}
	}
	return append(dst, `</m:properties></content></entry>`...), nil
}

func (w *Writer) appendXMLKeys(dst, pk, rk []byte) []byte {
	from := len(dst)
	dst = w.AppendKeys(dst, pk, rk)
	if bytes.IndexByte(dst[from:], '&') >= 0 {
		s := string(dst[from:])
		dst = appendXMLText(dst[:from], s)
	}
	return dst
}

func appendXMLProperty(dst []byte, name string, v entity.Value) []byte {
	dst = append(append(dst, `<d:`...), name...)
	if v.Type != entity.String {
		dst = append(append(append(dst, ` m:type="`...), v.Type.String()...), '"')
	} else if s := v.Data; s != "" && (s[0] <= ' ' || s[len(s)-1] <= ' ') {
		dst = append(dst, ` xml:space="preserve"`...)
	}
	dst = append(dst, '>')
	switch v.Type {
	case entity.String:
		dst = appendXMLText(dst, v.Data)
	case entity.Double:
		dst = appendXMLDouble(dst, v.Float())
	default:
		dst = appendText(dst, v)
	}
	return append(append(append(dst, `</d:`...), name...), '>')
}

// appendXMLDouble appends a Double as XML Schema has it: INF and -INF, and no fraction where there is none.
func appendXMLDouble(dst []byte, f float64) []byte {
	switch {
	case math.IsInf(f, 1):
		return append(dst, "INF"...)
	case math.IsInf(f, -1):
		return append(dst, "-INF"...)
	}
	return bytes.TrimSuffix(entity.AppendDouble(dst, f), []byte(".0"))
}

func (w *Writer) appendAtomFeed(dst []byte, title string) []byte {
	dst = append(append(append(dst, xmlHead...), `<feed xml:base="`...), w.Base...)
	dst = append(append(append(dst, '"'), atomSpaces...), `><title type="text">`...)
	dst = append(append(append(append(dst, title...), `</title><id>`...), w.Base...), title...)
	dst = append(append(dst, `</id><link rel="self" title="`...), title...)
	return append(append(append(dst, `" href="`...), title...), `"/>`...)
}

func (w *Writer) appendAtomTable(dst []byte, table string, alone bool) []byte {
	if alone {
		dst = append(append(append(dst, xmlHead...), `<entry xml:base="`...), w.Base...)
		dst = append(append(append(dst, '"'), atomSpaces...), `><id>`...)
	} else {
		dst = append(dst, `<entry><id>`...)
	}
	dst = append(append(append(append(dst, w.Base...), `Tables('`...), table...), `')</id><category term="`...)
	dst = append(append(dst, w.Account...), `.Tables" scheme="`+scheme+`"/><link rel="edit" title="Tables" href="Tables('`...)
	dst = append(append(dst, table...), `')"/><title/><author><name/></author><content type="application/xml"><m:properties><d:TableName>`...)
	return append(append(dst, table...), `</d:TableName></m:properties></content></entry>`...)
}

// AppendTablesStart appends what stands before a list of tables.
func (w *Writer) AppendTablesStart(dst []byte) []byte {
	switch w.Format {
	case Atom:
		return w.appendAtomFeed(dst, "Tables")
	case None:
		return append(dst, `{"value":[`...)
	}
	return append(append(append(dst, `{"odata.metadata":"`...), w.Base...), `$metadata#Tables","value":[`...)
}

// appendXMLText appends character data or an attribute's value. Control characters, which XML 1.0 has no way to write, become
// character references, as old clients expect them.
func appendXMLText(dst []byte, s string) []byte {
	from := 0
	for i := 0; i < len(s); i++ {
		var ref string
		switch c := s[i]; c {
		case '&':
			ref = "&amp;"
		case '<':
			ref = "&lt;"
		case '>':
			ref = "&gt;"
		case '"':
			ref = "&quot;"
		case '\t', '\n':
			continue
		default:
			if c >= 0x20 {
				continue
			}
			dst = append(append(dst, s[from:i]...), "&#x"...)
			if c > 15 {
				dst = append(dst, '1')
			}
			dst = append(dst, "0123456789ABCDEF"[c&15], ';')
			from = i + 1
			continue
		}
		dst = append(append(dst, s[from:i]...), ref...)
		from = i + 1
	}
	return append(dst, s[from:]...)
}
