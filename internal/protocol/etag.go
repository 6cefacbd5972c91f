package protocol

import (
	"time"

	"github.com/blobd/blobd/internal/engine"
)

// ETags, Last-Modified and the ids of snapshots and versions are all made of the engine's stamps.

const upperHex = "0123456789ABCDEF"

// AppendETag appends the ETag of a stamp without quotes: 0x and the ticks in upper-case hex.
func AppendETag(b []byte, s engine.Stamp) []byte {
	var d [16]byte
	i := len(d)
	for v := uint64(s); ; v >>= 4 {
		i--
		d[i] = upperHex[v&15]
		if v < 16 {
			break
		}
	}
	b = append(b, '0', 'x')
	return append(b, d[i:]...)
}

// ETag returns the quoted ETag of a stamp, as it goes into a header.
func ETag(s engine.Stamp) string {
	var buf [20]byte
	return string(append(AppendETag(append(buf[:0], '"'), s), '"'))
}

// IsETag reports whether tag, quoted or not, is the ETag of the stamp.
func IsETag(tag string, s engine.Stamp) bool {
	if n := len(tag); n >= 2 && tag[0] == '"' && tag[n-1] == '"' {
		tag = tag[1 : n-1]
	}
	var buf [20]byte
	return tag == string(AppendETag(buf[:0], s))
}

const (
	ticksPerSecond = 10_000_000
	ticksPerDay    = 86400 * ticksPerSecond
	weekdays       = "MonTueWedThuFriSatSun" // 0001-01-01 was a Monday
	months         = "JanFebMarAprMayJunJulAugSepOctNovDec"
)

// civil returns the date of a day counted from 0001-01-01 (the usual shift of the year to March, eras of 400 years).
func civil(day uint64) (year, month, dayOfMonth int) {
	z := day + 306 // days since 0000-03-01
	era := z / 146097
	doe := z % 146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	dayOfMonth = int(doy - (153*mp+2)/5 + 1)
	year = int(yoe + era*400)
	month = int(mp) + 3
	if month > 12 {
		month -= 12
		year++
	}
	return year, month, dayOfMonth
}

func appendDigits(b []byte, v, width int) []byte {
	var d [20]byte
	for i := width - 1; i >= 0; i-- {
		d[i] = byte('0' + v%10)
		v /= 10
	}
	return append(b, d[:width]...)
}

// AppendDate appends a stamp as RFC 1123, to the second: Mon, 02 Jan 2006 15:04:05 GMT. It is the hot half of a list entry, which
// time.AppendFormat would make five times as dear.
func AppendDate(b []byte, s engine.Stamp) []byte {
	day := uint64(s) / ticksPerDay
	sec := int(uint64(s) % ticksPerDay / ticksPerSecond)
	year, month, dom := civil(day)
	w := day % 7 * 3
	b = append(b, weekdays[w:w+3]...)
	b = append(b, ", "...)
	b = appendDigits(b, dom, 2)
	b = append(b, ' ')
	b = append(b, months[month*3-3:month*3]...)
	b = append(b, ' ')
	b = appendDigits(b, year, 4)
	b = append(b, ' ')
	b = appendDigits(b, sec/3600, 2)
	b = append(b, ':')
	b = appendDigits(b, sec/60%60, 2)
	b = append(b, ':')
	b = appendDigits(b, sec%60, 2)
	return append(b, " GMT"...)
}

// Date returns a stamp as RFC 1123.
func Date(s engine.Stamp) string {
	var buf [32]byte
	return string(AppendDate(buf[:0], s))
}

// AppendSnapshotID appends a stamp as a snapshot or version id: 2006-01-02T15:04:05.0000000Z.
func AppendSnapshotID(b []byte, s engine.Stamp) []byte {
	year, month, dom := civil(uint64(s) / ticksPerDay)
	sec := int(uint64(s) % ticksPerDay / ticksPerSecond)
	b = append(appendDigits(b, year, 4), '-')
	b = append(appendDigits(b, month, 2), '-')
	b = append(appendDigits(b, dom, 2), 'T')
	b = append(appendDigits(b, sec/3600, 2), ':')
	b = append(appendDigits(b, sec/60%60, 2), ':')
	b = append(appendDigits(b, sec%60, 2), '.')
	return append(appendDigits(b, int(uint64(s)%ticksPerSecond), 7), 'Z')
}

// SnapshotID returns a stamp as a snapshot or version id.
func SnapshotID(s engine.Stamp) string {
	var buf [32]byte
	return string(AppendSnapshotID(buf[:0], s))
}

// ParseSnapshotID reads a snapshot or version id. Fewer decimals than seven are read as zeros.
func ParseSnapshotID(id string) (engine.Stamp, bool) {
	const form = "2006-01-02T15:04:05.0000000Z"
	if len(id) < len("2006-01-02T15:04:05Z") || len(id) > len(form) || id[len(id)-1] != 'Z' {
		return 0, false
	}
	t, err := time.Parse("2006-01-02T15:04:05.9999999Z", id)
	if err != nil || t.Year() < 1 {
		return 0, false
	}
	return engine.StampOf(t), true
}

// ParseDate reads an HTTP date: RFC 1123, or one of the two older forms that RFC 9110 asks to accept.
func ParseDate(s string) (time.Time, bool) {
	for _, form := range [...]string{"Mon, 02 Jan 2006 15:04:05 GMT", "Monday, 02-Jan-06 15:04:05 GMT", "Mon Jan _2 15:04:05 2006", "Mon, 02 Jan 2006 15:04:05 UTC"} {
		if t, err := time.Parse(form, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}
