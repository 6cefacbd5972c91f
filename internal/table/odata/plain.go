package odata

import "math/bits"

// special returns where, from at on, the first byte stands that does not stand for itself in a JSON string: a quote, a
// backslash or a control character; len(s) if there is none. It looks at eight bytes at once.
func special(s string, at int) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; at+8 <= len(s); at += 8 {
		w := s[at : at+8]
		x := uint64(w[0]) | uint64(w[1])<<8 | uint64(w[2])<<16 | uint64(w[3])<<24 | uint64(w[4])<<32 | uint64(w[5])<<40 | uint64(w[6])<<48 | uint64(w[7])<<56
		// A byte less than n sets its top bit in (x - n·ones) &^ x. A borrow can set the bits of bytes after such a one, never
		// before it, so that the lowest bit is right.
		quote, back := x^'"'*ones, x^'\\'*ones
		if found := ((quote-ones)&^quote | (back-ones)&^back | (x-0x20*ones)&^x) & tops; found != 0 {
			return at + bits.TrailingZeros64(found)/8
		}
	}
	for ; at < len(s); at++ {
		if c := s[at]; c < 0x20 || c == '"' || c == '\\' {
			return at
		}
	}
	return at
}
