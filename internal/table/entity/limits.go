package entity

import (
	"unicode"
	"unicode/utf8"

	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/view"
)

// Limits of the service (REST page "Understanding the Table service data model"). Lengths of text are in UTF-16 code units.
const (
	MaxProperties   = 252
	MaxNameLength   = 255
	MaxKeyLength    = 1024
	MaxStringLength = 32 << 10 // code units: 64 KiB
	MaxBinaryLength = 64 << 10 // bytes
	MaxSize         = 1 << 20  // bytes, as the service counts them: see Size
)

// CheckKey tells whether a PartitionKey or RowKey may be stored. name says which it is.
func CheckKey(name, key string) error {
	for i := 0; i < len(key); i++ {
		c := key[i]
		if doubtful[c] && (c != 0xC2 || i+1 < len(key) && key[i+1] < 0xA0) {
			return protocol.ErrOutOfRangeInput.Saying("The '" + name + "' parameter of value '" + key + "' is out of range.")
		}
	}
	if len(key) > MaxKeyLength && UTF16Len(key) > MaxKeyLength {
		return protocol.ErrKeyValueTooLarge
	}
	return nil
}

// doubtful has the bytes that no key may have, and the first of U+0080…U+00BF, of which half are forbidden.
var doubtful = func() (t [256]bool) {
	for c := range t {
		t[c] = c < 0x20 || c == 0x7F || c == '/' || c == '\\' || c == '#' || c == '?' || c == 0xC2
	}
	return t
}()

// CheckName tells whether a property may have that name: a C# identifier of at most 255 characters.
func CheckName(name string) error {
	if len(name) > MaxNameLength && UTF16Len(name) > MaxNameLength {
		return protocol.ErrPropertyNameTooLong
	}
	if name == "" {
		return protocol.ErrPropertyNameInvalid
	}
	for i := 0; i < len(name); {
		c := name[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(name[i:])
			if !unicode.IsLetter(r) && (i == 0 || !unicode.In(r, unicode.Nd, unicode.Mn, unicode.Mc, unicode.Pc, unicode.Cf)) {
				return protocol.ErrPropertyNameInvalid
			}
			i += n
			continue
		}
		if !(c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || i > 0 && c >= '0' && c <= '9') {
			return protocol.ErrPropertyNameInvalid
		}
		i++
	}
	return nil
}

// CheckValue tells whether a property may hold the value.
func CheckValue(v Value) error {
	switch v.Type {
	case String:
		if len(v.Data) > MaxStringLength {
			return tooLarge(2*UTF16Len(v.Data), 2*MaxStringLength)
		}
	case Binary:
		if len(v.Data) > MaxBinaryLength {
			return tooLarge(len(v.Data), MaxBinaryLength)
		}
	case DateTime:
		if v.Bits < MinDateTime || v.Bits > MaxDateTime {
			return protocol.ErrOutOfRangeInput
		}
	}
	return nil
}

// tooLarge is the error of a value of n bytes, nil if that is not over the limit: one that no entity can hold makes the entity too large.
func tooLarge(n, limit int) error {
	switch {
	case n >= MaxSize:
		return protocol.ErrEntityTooLarge
	case n > limit:
		return protocol.ErrPropertyValueTooLarge
	}
	return nil
}

// Size counts an entity as the service does: 4 + 2·(keys) + Σ(8 + 2·(name) + value), text in UTF-16. row is whole.
func Size(pk, rk string, row Row) int {
	n := 4 + 2*(UTF16Len(pk)+UTF16Len(rk))
	props := row.Properties()
	for props.Next() {
		n += 8 + 2*UTF16Len(view.String(props.name))
		switch props.typ {
		case String:
			n += 4 + 2*UTF16Len(view.String(props.value))
		case Binary:
			n += 4 + len(props.value)
		default:
			n += len(props.value)
		}
	}
	return n
}

// CheckRow tells whether a whole row is within the limits of an entity: number of properties and size. Names and values have
// been checked one by one.
func CheckRow(pk, rk string, row Row) error {
	// A property takes four bytes at least: most rows cannot hold too many, nor be too large.
	if len(row) <= rowHeader+4*MaxProperties {
		return nil
	}
	n := 0
	for props := row.Properties(); props.Next(); {
		n++
	}
	if n > MaxProperties {
		return protocol.ErrTooManyProperties
	}
	// Two bytes a character and what a property costs besides its name and value are over what the row has for them.
	if 4+2*(len(pk)+len(rk)+len(row))+12*n > MaxSize && Size(pk, rk, row) > MaxSize {
		return protocol.ErrEntityTooLarge
	}
	return nil
}
