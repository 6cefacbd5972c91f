package protocol

import (
	"strconv"
	"strings"
)

// Range is a byte range as asked for. Last is -1 when it is open.
type Range struct{ First, Last int64 }

// ParseRange reads "bytes=a-b" or "bytes=a-", the only forms that the service documents.
func ParseRange(s string) (r Range, ok bool) {
	s, ok = strings.CutPrefix(s, "bytes=")
	if !ok {
		return Range{}, false
	}
	first, last, ok := strings.Cut(s, "-")
	if !ok {
		return Range{}, false
	}
	if r.First, ok = offset(first); !ok {
		return Range{}, false
	}
	if last == "" {
		r.Last = -1
		return r, true
	}
	if r.Last, ok = offset(last); !ok || r.Last < r.First {
		return Range{}, false
	}
	return r, true
}

func offset(s string) (int64, bool) {
	if s == "" || s[0] < '0' || s[0] > '9' { // no sign
		return 0, false
	}
	v, err := strconv.ParseInt(s, 10, 64)
	return v, err == nil
}

// RequestRange returns the range of a request: x-ms-range wins over Range. A range of another form is as none.
func RequestRange(h Header) (Range, bool) {
	v, ok := h.HeaderOK("x-ms-range")
	if !ok {
		if v, ok = h.HeaderOK("range"); !ok {
			return Range{}, false
		}
	}
	return ParseRange(v)
}

// Within clips the range to a content of size bytes; ok is false if it begins behind the end.
func (r Range) Within(size int64) (offset, length int64, ok bool) {
	if r.First >= size {
		return 0, 0, false
	}
	last := r.Last
	if last < 0 || last >= size {
		last = size - 1
	}
	return r.First, last - r.First + 1, true
}

// AppendContentRange appends the value of a Content-Range header.
func AppendContentRange(b []byte, offset, length, size int64) []byte {
	b = append(b, "bytes "...)
	b = strconv.AppendInt(b, offset, 10)
	b = append(b, '-')
	b = strconv.AppendInt(b, offset+length-1, 10)
	b = append(b, '/')
	return strconv.AppendInt(b, size, 10)
}
