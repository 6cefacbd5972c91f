// Package inspect is how what a store keeps is told to people and to programs: parts of a file and records of the key space, one after
// the other, each with what can be said of it. The packages that own a format tell of it, by what they decode with anyway.
package inspect

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/blobd/blobd/internal/engine"
)

// Item is a part of a file, or a record.
type Item struct {
	What   string // frame, footer, key
	At     int64  // offset in the file; -1 if it has none
	Length int64  // bytes
	Facts  Facts
	Wrong  string // why it is not as it should be; empty if it is
}

// Visit is called with each item, until it fails. An item is the visitor's to keep.
type Visit func(*Item) error

// Fact is one thing that can be said.
type Fact struct {
	Name  string
	Value any
}

// Facts are in the order in which they are told.
type Facts []Fact

// New begins an item at an offset of a file.
func New(what string, at, length int64) *Item { return &Item{What: what, At: at, Length: length} }

// Add adds a fact and returns the item.
func (i *Item) Add(name string, value any) *Item {
	i.Facts = append(i.Facts, Fact{name, value})
	return i
}

// Bad says why the item is not as it should be, if nothing was said before, and returns the item.
func (i *Item) Bad(format string, args ...any) *Item {
	if i.Wrong == "" {
		i.Wrong = fmt.Sprintf(format, args...)
	}
	return i
}

// String returns the item on one line. What clients chose can end no line, and tells a terminal nothing.
func (i *Item) String() string {
	var b strings.Builder
	if i.At >= 0 {
		fmt.Fprintf(&b, "%12d  ", i.At)
	}
	b.WriteString(i.What)
	if i.Length > 0 {
		fmt.Fprintf(&b, " of %d bytes", i.Length)
	}
	for n, f := range i.Facts {
		if n == 0 {
			b.WriteByte(':')
		} else {
			b.WriteByte(',')
		}
		b.WriteByte(' ')
		if f.Name != "" {
			b.WriteString(f.Name + " ")
		}
		b.WriteString(Text(f.Value))
	}
	if i.Wrong != "" {
		b.WriteString("; WRONG: " + Text(i.Wrong))
	}
	return b.String()
}

// MarshalJSON implements json.Marshaler.
func (i *Item) MarshalJSON() ([]byte, error) {
	v := struct {
		What   string `json:"what"`
		At     *int64 `json:"at,omitempty"`
		Length int64  `json:"length,omitempty"`
		Facts  Facts  `json:"facts,omitempty"`
		Wrong  string `json:"wrong,omitempty"`
	}{What: i.What, Length: i.Length, Facts: i.Facts, Wrong: i.Wrong}
	if i.At >= 0 {
		v.At = &i.At
	}
	return json.Marshal(v)
}

// MarshalJSON implements json.Marshaler: an object with the facts in their order.
func (f Facts) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, fact := range f {
		if i > 0 {
			b = append(b, ',')
		}
		name, err := json.Marshal(fact.Name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(plain(fact.Value))
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, name...), ':'), value...)
	}
	return append(b, '}'), nil
}

// plain makes of a value what JSON has.
func plain(v any) any {
	switch v := v.(type) {
	case []byte:
		return hex.EncodeToString(v)
	case Facts, bool, int, int64, uint32, uint64, []string:
		return v
	case string:
		return v
	}
	return Text(v)
}

// Text puts a value into words. A string that is more than a word is quoted.
func Text(v any) string {
	switch v := v.(type) {
	case string:
		return quoted(v)
	case []byte:
		return hex.EncodeToString(v)
	case []string:
		words := make([]string, len(v))
		for i, w := range v {
			words[i] = quoted(w)
		}
		return "[" + strings.Join(words, " ") + "]"
	case time.Time:
		return v.UTC().Format("2006-01-02T15:04:05.0000000Z")
	case engine.Stamp:
		return v.Time().UTC().Format("2006-01-02T15:04:05.0000000Z")
	case engine.Ref:
		return hex.EncodeToString(v[:])
	case Facts:
		var b strings.Builder
		for i, f := range v {
			if i > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(f.Name + "=" + Text(f.Value))
		}
		return "{" + b.String() + "}"
	}
	return fmt.Sprint(v)
}

// quoted returns a string as it is if all of it can be shown, and quoted otherwise.
func quoted(s string) string {
	for _, r := range s {
		if !unicode.IsPrint(r) || r == '"' || r == unicode.ReplacementChar {
			return strconv.Quote(s)
		}
	}
	if s == "" {
		return `""`
	}
	return s
}

// Of tells of the exported fields of a struct that are not zero.
func Of(v any) (f Facts) {
	s := reflect.Indirect(reflect.ValueOf(v))
	for i := range s.NumField() {
		field := s.Type().Field(i)
		if !field.IsExported() || s.Field(i).IsZero() {
			continue
		}
		f = append(f, Fact{field.Name, value(s.Field(i))})
	}
	return f
}

// value makes facts of structs, and of what holds some.
func value(v reflect.Value) any {
	switch x := v.Interface().(type) {
	case engine.Stamp, engine.Ref, time.Time, fmt.Stringer:
		return Text(x)
	}
	switch v.Kind() {
	case reflect.Pointer:
		return value(v.Elem())
	case reflect.Struct:
		return Of(v.Interface())
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			b := make([]byte, v.Len())
			reflect.Copy(reflect.ValueOf(b), v)
			return b
		}
		words := make([]string, v.Len())
		for i := range words {
			words[i] = Text(value(v.Index(i)))
		}
		return words
	case reflect.String:
		return v.String()
	case reflect.Bool:
		return v.Bool()
	case reflect.Uint64:
		return v.Uint()
	}
	return Text(v.Interface())
}
