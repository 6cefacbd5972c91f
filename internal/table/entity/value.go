// Package entity is a table entity at rest and in memory: typed property values, the order-preserving key and the binary row.
//
// Guarantees:
//
//   - keys compare bytewise as (table, PartitionKey, RowKey) do ordinally by UTF-16 code unit, Azure's order; the entities of one
//     PartitionKey are one contiguous range, and its prefix is a prefix of no other PartitionKey's;
//   - every EDM value comes back bit by bit as it went in;
//   - a reader skips a property by two lengths, decoding nothing;
//   - rows are versioned; another version, or bytes that are no row, give an error and never a panic.
//
// Facts: REST page "Understanding the Table service data model". The byte layout is specified in docs/format.md.
package entity

import (
	"math"
)

// Type is an EDM type. The numbers are part of the row format.
type Type byte

// The types. Null is no property at all: it is never stored.
const (
	Null     Type = 0
	String   Type = 1
	Binary   Type = 2
	Boolean  Type = 3
	Int32    Type = 4
	Int64    Type = 5
	Double   Type = 6
	DateTime Type = 7
	Guid     Type = 8
)

var typeNames = [...]string{"Null", "Edm.String", "Edm.Binary", "Edm.Boolean", "Edm.Int32", "Edm.Int64", "Edm.Double", "Edm.DateTime", "Edm.Guid"}

func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "unknown"
}

// ParseType reads the name of a type, such as "Edm.Int64".
func ParseType(name string) (Type, bool) {
	for t := String; t <= Guid; t++ {
		if typeNames[t] == name {
			return t, true
		}
	}
	return Null, false
}

// Value is a typed value; the zero Value is null. What Data refers to belongs to whoever made the Value: a request body, a row.
type Value struct {
	Type Type
	// Bits holds a Boolean (0 or 1), an Int32 or Int64 (sign-extended), a Double (its IEEE bits) or a DateTime (ticks of 100 ns
	// since 0001-01-01).
	Bits uint64
	// Data holds a String (UTF-8), a Binary or a Guid (16 bytes in the order in which they are written).
	Data string
}

// StringValue returns a String.
func StringValue(s string) Value { return Value{Type: String, Data: s} }

// BinaryValue returns a Binary.
func BinaryValue(b string) Value { return Value{Type: Binary, Data: b} }

// BooleanValue returns a Boolean.
func BooleanValue(b bool) Value {
	if b {
		return Value{Type: Boolean, Bits: 1}
	}
	return Value{Type: Boolean}
}

// Int32Value returns an Int32.
func Int32Value(n int32) Value { return Value{Type: Int32, Bits: uint64(int64(n))} }

// Int64Value returns an Int64.
func Int64Value(n int64) Value { return Value{Type: Int64, Bits: uint64(n)} }

// DoubleValue returns a Double.
func DoubleValue(f float64) Value { return Value{Type: Double, Bits: math.Float64bits(f)} }

// DateTimeValue returns a DateTime of that many ticks.
func DateTimeValue(ticks uint64) Value { return Value{Type: DateTime, Bits: ticks} }

// GuidValue returns a Guid of 16 bytes.
func GuidValue(b string) Value { return Value{Type: Guid, Data: b} }

// Int is the number of an Int32 or Int64.
func (v Value) Int() int64 { return int64(v.Bits) }

// Float is the number of a Double.
func (v Value) Float() float64 { return math.Float64frombits(v.Bits) }

// Property is a named value.
type Property struct {
	Name  string
	Value Value
}

// CompareOrdinal compares two UTF-8 strings by UTF-16 code units, as Azure and .NET do. It differs from the order of the bytes
// only between U+E000…U+FFFF and the supplementary planes, whose surrogates lie below.
func CompareOrdinal(a, b string) int {
	n := min(len(a), len(b))
	for i := 0; i < n; i++ {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		if x >= 0xEE && y >= 0xEE && (x >= 0xF0) != (y >= 0xF0) {
			x, y = y, x
		}
		if x < y {
			return -1
		}
		return 1
	}
	return len(a) - len(b)
}

// UTF16Len is the length of a UTF-8 string in UTF-16 code units.
func UTF16Len(s string) int {
	n := 0
	for i := 0; i < len(s); i++ {
		if s[i]&0xC0 != 0x80 {
			n++
		}
		if s[i] >= 0xF0 {
			n++
		}
	}
	return n
}
