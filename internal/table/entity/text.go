package entity

import (
	"math"
	"strconv"
	"strings"

	"github.com/blobd/blobd/internal/protocol"
)

// Ticks of 100 ns.
const (
	ticksPerSecond = 10_000_000
	ticksPerDay    = 24 * 3600 * ticksPerSecond
	// MinDateTime and MaxDateTime bound a DateTime property: 1601-01-01 to the last tick of 9999-12-31.
	MinDateTime = 504_911_232_000_000_000
	MaxDateTime = 3_155_378_975_999_999_999
)

// AppendDateTime appends ticks in the service's form, "2021-01-04T22:26:49.64333Z": trailing zeros of the fraction dropped.
func AppendDateTime(dst []byte, ticks uint64) []byte {
	t := dateTime(ticks)
	return append(dst, t.text[:t.end]...)
}

// Times appends DateTimes as AppendDateTime does, of which many fall into the same second, as those of neighbours do.
type Times struct {
	second uint64 // of the texts, counted from one
	text   [19]byte
	tag    [23]byte // text as it stands in an ETag
}

// Append appends ticks.
func (t *Times) Append(dst []byte, ticks uint64) []byte {
	if ticks/ticksPerSecond+1 != t.second {
		t.set(ticks)
	}
	return appendFraction(append(dst, t.text[:]...), uint32(ticks%ticksPerSecond))
}

// AppendETag appends ticks as AppendETagTime does.
func (t *Times) AppendETag(dst []byte, ticks uint64) []byte {
	if ticks/ticksPerSecond+1 != t.second {
		t.set(ticks)
	}
	return appendFraction(append(dst, t.tag[:]...), uint32(ticks%ticksPerSecond))
}

func (t *Times) set(ticks uint64) {
	whole := dateTime(ticks)
	t.second = ticks/ticksPerSecond + 1
	copy(t.text[:], whole.text[:])
	copy(t.tag[:13], t.text[:13])
	copy(t.tag[13:], "%3A")
	copy(t.tag[16:18], t.text[14:16])
	copy(t.tag[18:], "%3A")
	copy(t.tag[21:], t.text[17:19])
}

// appendFraction appends the ticks of a second and the Z.
func appendFraction(dst []byte, frac uint32) []byte {
	if frac != 0 {
		high, low := frac/1000, frac%1000
		dst = append(dst, '.', byte('0'+high/1000), byte('0'+high/100%10), byte('0'+high/10%10), byte('0'+high%10), byte('0'+low/100), byte('0'+low/10%10), byte('0'+low%10))
		for dst[len(dst)-1] == '0' {
			dst = dst[:len(dst)-1]
		}
	}
	return append(dst, 'Z')
}

// AppendETag appends the ETag of an entity with that Timestamp: W/"datetime'2021-01-04T22%3A26%3A49.64333Z'".
func AppendETag(dst []byte, ticks uint64) []byte {
	dst = append(dst, `W/"datetime'`...)
	dst = AppendETagTime(dst, ticks)
	return append(dst, `'"`...)
}

// AppendETagTime appends the time within an ETag.
func AppendETagTime(dst []byte, ticks uint64) []byte {
	t := dateTime(ticks)
	dst = append(append(dst, t.text[:13]...), "%3A"...)
	dst = append(append(dst, t.text[14:16]...), "%3A"...)
	return append(dst, t.text[17:t.end]...)
}

// timeText is "2021-01-04T22:26:49.64333Z" in text[:end].
type timeText struct {
	text [28]byte
	end  int
}

func dateTime(ticks uint64) (t timeText) {
	y, m, d := civil(ticks / ticksPerDay)
	rest := ticks % ticksPerDay
	s, frac := rest/ticksPerSecond, rest%ticksPerSecond
	b := &t.text
	*b = [28]byte{4: '-', 7: '-', 10: 'T', 13: ':', 16: ':', 19: 'Z'}
	put2(b[0:2], y/100)
	put2(b[2:4], y%100)
	put2(b[5:7], m)
	put2(b[8:10], d)
	put2(b[11:13], s/3600)
	put2(b[14:16], s/60%60)
	put2(b[17:19], s%60)
	t.end = 20
	if frac != 0 {
		b[19] = '.'
		for i := 26; i >= 20; i-- {
			b[i] = byte('0' + frac%10)
			frac /= 10
		}
		t.end = 27
		for b[t.end-1] == '0' {
			t.end--
		}
		b[t.end] = 'Z'
		t.end++
	}
	return t
}

func put2(b []byte, n uint64) { b[0], b[1] = byte('0'+n/10), byte('0'+n%10) }

// civil turns days since 0001-01-01 into a date of the Gregorian calendar, counting eras of 400 years from March.
func civil(days uint64) (y, m, d uint64) {
	z := days + 306 // since 0000-03-01
	era, doe := z/146097, z%146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	d = doy - (153*mp+2)/5 + 1
	y = era*400 + yoe
	if mp < 10 {
		return y, mp + 3, d
	}
	return y + 1, mp - 9, d
}

// daysBefore is the number of days from 0001-01-01 to a date.
func daysBefore(y, m, d uint64) uint64 {
	if m <= 2 {
		y--
		m += 9
	} else {
		m -= 3
	}
	return y*365 + y/4 - y/100 + y/400 + (153*m+2)/5 + d - 1 - 306
}

func daysIn(y, m uint64) uint64 {
	switch m {
	case 2:
		if y%4 == 0 && (y%100 != 0 || y%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// ParseDateTime reads an ISO 8601 moment, "2020-01-01[T01:02[:03[.1234567]]][Z|+hh:mm]", as UTC when it names no zone. A fraction may
// have any number of digits; what is less than a tick is rounded, a half to the even tick. It gives ticks; whether a property may
// hold them is CheckValue's to say.
func ParseDateTime(s string) (ticks uint64, ok bool) {
	num := func(at, n int) uint64 {
		if len(s) < at+n {
			ok = false
			return 0
		}
		v := uint64(0)
		for _, c := range []byte(s[at : at+n]) {
			if c < '0' || c > '9' {
				ok = false
				return 0
			}
			v = v*10 + uint64(c-'0')
		}
		return v
	}
	is := func(at int, c byte) bool { return len(s) > at && s[at] == c }
	ok = true
	y, m, d := num(0, 4), num(5, 2), num(8, 2)
	if !ok || s[4] != '-' || s[7] != '-' || y < 1 || m < 1 || m > 12 || d < 1 || d > daysIn(y, m) {
		return 0, false
	}
	ticks = daysBefore(y, m, d) * ticksPerDay
	at := 10
	if is(at, 'T') || is(at, 't') || is(at, ' ') {
		h, min, sec := num(11, 2), num(14, 2), uint64(0)
		if !ok || s[13] != ':' {
			return 0, false
		}
		at = 16
		if is(at, ':') {
			sec = num(17, 2)
			at = 19
		}
		if !ok || h > 23 || min > 59 || sec > 59 {
			return 0, false
		}
		ticks += (h*3600 + min*60 + sec) * ticksPerSecond
		if at == 19 && is(at, '.') {
			from := at + 1
			for at = from; at < len(s) && s[at] >= '0' && s[at] <= '9'; at++ {
			}
			if at == from {
				return 0, false
			}
			if ticks += fractionTicks(s[from:at]); ticks > MaxDateTime {
				return 0, false
			}
		}
	}
	switch {
	case at == len(s):
		return ticks, true
	case is(at, 'Z') || is(at, 'z'):
		return ticks, at+1 == len(s)
	case is(at, '+') || is(at, '-'):
		h, min := num(at+1, 2), num(at+4, 2)
		if !ok || s[at+3] != ':' || len(s) != at+6 || h > 14 || min > 59 {
			return 0, false
		}
		off := (h*3600 + min*60) * ticksPerSecond
		if s[at] == '-' {
			return ticks + off, ticks+off <= MaxDateTime
		}
		return ticks - off, ticks >= off
	}
	return 0, false
}

// fractionTicks gives the ticks of a second's decimal digits.
func fractionTicks(digits string) uint64 {
	const most = 7 // that a tick is worth
	n := uint64(0)
	for i := range most {
		n *= 10
		if i < len(digits) {
			n += uint64(digits[i] - '0')
		}
	}
	if len(digits) <= most {
		return n
	}
	beyond := digits[most] - '0'
	if beyond > 5 || beyond == 5 && (n%2 == 1 || strings.Trim(digits[most+1:], "0") != "") {
		n++
	}
	return n
}

// ParseETag reads an ETag of AppendETag's form and gives its ticks. A ":" may be percent-encoded or not.
func ParseETag(s string) (ticks uint64, ok bool) {
	if strings.HasPrefix(s, "w") { // some clients write it so
		s = "W" + s[1:]
	}
	s, weak := strings.CutPrefix(s, `W/"datetime'`)
	s, closed := strings.CutSuffix(s, `'"`)
	if !weak || !closed || len(s) > 64 {
		return 0, false
	}
	var buf [64]byte
	b := buf[:0]
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && s[i+1] == '3' && s[i+2]|0x20 == 'a' {
			b = append(b, ':')
			i += 2
			continue
		}
		b = append(b, s[i])
	}
	return ParseDateTime(string(b))
}

const hexDigits = "0123456789abcdef"

// AppendGuid appends 16 bytes as "a455c695-df98-5678-aaaa-81d3367e5a34".
func AppendGuid(dst []byte, g string) []byte {
	b := [36]byte{8: '-', 13: '-', 18: '-', 23: '-'}
	for i, at := range guidDigits {
		b[at], b[at+1] = hexDigits[g[i]>>4], hexDigits[g[i]&15]
	}
	return append(dst, b[:]...)
}

// guidDigits is where the digits of each byte of a Guid stand in its text.
var guidDigits = [16]uint8{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34}

// AppendParsedGuid reads a Guid with its dashes, in any case, and appends its 16 bytes.
func AppendParsedGuid(dst []byte, s string) ([]byte, bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return dst, false
	}
	ok := true
	for _, group := range [...]string{s[:8], s[9:13], s[14:18], s[19:23], s[24:]} {
		if dst, ok = AppendParsedHex(dst, group); !ok {
			break
		}
	}
	return dst, ok
}

// AppendParsedHex reads pairs of hexadecimal digits and appends their bytes.
func AppendParsedHex(dst []byte, s string) ([]byte, bool) {
	if len(s)%2 != 0 {
		return dst, false
	}
	for i := 0; i < len(s); i += 2 {
		hi, lo := protocol.Unhex(s[i]), protocol.Unhex(s[i+1])
		if hi|lo > 15 {
			return dst, false
		}
		dst = append(dst, hi<<4|lo)
	}
	return dst, true
}

// AppendDouble appends a Double as the service writes it: 1.0, 1.1, 1.23456789012346E+24, NaN, Infinity, -Infinity. It is the
// shortest text that reads back as the same number, scientific from 1E+15 up and from 1E-05 down, never without a mark that
// tells it from an integer.
func AppendDouble(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	// Most numbers have three decimals at most. A decimal of up to 15 digits that rounds to f is the only one that short, so
	// the shortest.
	if x := f * 1000; x == math.Trunc(x) && math.Abs(x) < 1e15 && x/1000 == f && x != 0 {
		return appendThousandths(dst, int64(x))
	}
	from := len(dst)
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e15) {
		return strconv.AppendFloat(dst, f, 'E', -1, 64)
	}
	dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
	for _, c := range dst[from:] {
		if c == '.' {
			return dst
		}
	}
	return append(dst, ".0"...)
}

// appendThousandths appends n/1000, which is not 0.
func appendThousandths(dst []byte, n int64) []byte {
	if n < 0 {
		dst, n = append(dst, '-'), -n
	}
	dst = strconv.AppendInt(dst, n/1000, 10)
	n %= 1000
	dst = append(dst, '.', byte('0'+n/100))
	if n%100 != 0 {
		dst = append(dst, byte('0'+n/10%10))
	}
	if n%10 != 0 {
		dst = append(dst, byte('0'+n%10))
	}
	return dst
}

// ParseDouble reads a decimal number, or NaN, Infinity, INF and their negatives. ok is false for anything else, hexadecimal
// floats and numbers out of range among it.
func ParseDouble(s string) (f float64, ok bool) {
	switch s {
	case "NaN":
		return math.NaN(), true
	case "Infinity", "INF":
		return math.Inf(1), true
	case "-Infinity", "-INF":
		return math.Inf(-1), true
	case "":
		return 0, false
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9', c == '+', c == '-', c == '.', c == 'e', c == 'E':
		default:
			return 0, false
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}
