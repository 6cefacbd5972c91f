package entity

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// A key is
//
//	'e' | table generation (8 bytes, big endian) | PartitionKey | 00 | RowKey
//
// with the strings in CESU-8: UTF-8, but a supplementary character is its two surrogates, three bytes each. Its byte order is
// that of UTF-16 code units. U+0000, which no stored key holds but a bound of a query may, is 00 FF: after every key that
// ends there and before every other that goes on.
const (
	keyTag     = 'e'
	prefixLen  = 9
	separator  = 0x00
	escapedNUL = 0xFF
	// Surrogate is the first byte of an encoded surrogate, and of U+D000…U+D7FF: a string of a key without it is UTF-8 as it is.
	Surrogate = 0xED
)

// AppendTablePrefix appends what the keys of all entities of a table begin with.
func AppendTablePrefix(dst []byte, generation uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, keyTag), generation)
}

// AppendPartition appends what the keys of a table's entities with one PartitionKey begin with, and no others: the engine's
// partition.
func AppendPartition(dst []byte, generation uint64, pk string) []byte {
	return append(AppendKeyString(AppendTablePrefix(dst, generation), pk), separator)
}

// AppendKey appends the key of an entity.
func AppendKey(dst []byte, generation uint64, pk, rk string) []byte {
	return AppendKeyString(AppendPartition(dst, generation, pk), rk)
}

// AppendKeyString appends the order-preserving form of a key's string, without a terminator.
func AppendKeyString(dst []byte, s string) []byte {
	from := 0
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == 0:
			dst = append(append(dst, s[from:i]...), 0, escapedNUL)
			i++
			from = i
		case c >= 0xF0:
			r, n := utf8.DecodeRuneInString(s[i:])
			dst = append(dst, s[from:i]...)
			i += n
			from = i
			r -= 0x10000
			dst = appendSurrogate(appendSurrogate(dst, 0xD800+r>>10), 0xDC00+r&0x3FF)
		default:
			i++
		}
	}
	return append(dst, s[from:]...)
}

func appendSurrogate(dst []byte, r rune) []byte {
	return append(dst, Surrogate, 0x80|byte(r>>6)&0x3F, 0x80|byte(r)&0x3F)
}

// SplitKey gives the encoded PartitionKey and RowKey of an entity's key; ok is false if it is none.
func SplitKey(key []byte) (pk, rk []byte, ok bool) {
	if len(key) < prefixLen+1 || key[0] != keyTag {
		return nil, nil, false
	}
	rest := key[prefixLen:]
	i := bytes.IndexByte(rest, separator)
	if i < 0 {
		return nil, nil, false
	}
	return rest[:i], rest[i+1:], true
}

// AppendDecoded appends the UTF-8 of an encoded PartitionKey or RowKey.
func AppendDecoded(dst, enc []byte) []byte {
	if bytes.IndexByte(enc, Surrogate) < 0 {
		return append(dst, enc...)
	}
	for i := 0; i < len(enc); {
		if i+5 < len(enc) && enc[i] == Surrogate && enc[i+1]&0xF0 == 0xA0 && enc[i+3] == Surrogate {
			hi := rune(enc[i+1]&0x0F)<<6 | rune(enc[i+2]&0x3F)
			lo := rune(enc[i+4]&0x0F)<<6 | rune(enc[i+5]&0x3F)
			dst = utf8.AppendRune(dst, 0x10000+hi<<10+lo)
			i += 6
			continue
		}
		dst = append(dst, enc[i])
		i++
	}
	return dst
}
