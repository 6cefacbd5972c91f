package protocol

import "strings"

// Words of the protocol, in headers, query parameters and documents, are read in any case: .NET's former library and Hadoop send
// blocklisttype=Committed, Python's write booleans as True and False.

// ParseFlag reads a Boolean.
func ParseFlag(s string) (value, ok bool) {
	value = strings.EqualFold(s, "true")
	return value, value || strings.EqualFold(s, "false")
}

// Word is a word as it compares.
func Word(s string) string { return strings.ToLower(s) }
