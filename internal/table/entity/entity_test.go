package entity

import (
	"bytes"
	"encoding/hex"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

func TestDateTimeText(t *testing.T) {
	for _, c := range []struct{ in, out string }{
		{"2021-01-04T22:26:49.6433315Z", "2021-01-04T22:26:49.6433315Z"},
		{"2021-01-04T22:26:30.5768370Z", "2021-01-04T22:26:30.576837Z"},
		{"2020-01-01T01:02:00Z", "2020-01-01T01:02:00Z"},
		{"2020-02-29T23:59:59.0000001Z", "2020-02-29T23:59:59.0000001Z"},
		{"2020-01-01T01:05:00", "2020-01-01T01:05:00Z"},
		{"2020-01-01T01:05", "2020-01-01T01:05:00Z"},
		{"2020-01-01", "2020-01-01T00:00:00Z"},
		{"2020-01-01T01:05:00.5+02:30", "2019-12-31T22:35:00.5Z"},
		{"2020-01-01T01:05:00-01:00", "2020-01-01T02:05:00Z"},
		{"1601-01-01T00:00:00Z", "1601-01-01T00:00:00Z"},
		{"9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59.9999999Z"},
		{"0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"},
		// What is less than a tick is rounded: Java's clock has nanoseconds.
		{"2024-01-02T17:39:07.668243378Z", "2024-01-02T17:39:07.6682434Z"},
		{"2024-01-02T17:39:07.668243349999Z", "2024-01-02T17:39:07.6682433Z"},
		{"2024-01-02T17:39:07.66824335Z", "2024-01-02T17:39:07.6682434Z"},
		{"2024-01-02T17:39:07.66824345000Z", "2024-01-02T17:39:07.6682434Z"},
		{"2024-01-02T17:39:07.66824345001Z", "2024-01-02T17:39:07.6682435Z"},
		{"2024-01-02T17:39:07.668243000000Z", "2024-01-02T17:39:07.668243Z"},
		{"2023-12-31T23:59:59.99999995+00:00", "2024-01-01T00:00:00Z"},
	} {
		ticks, ok := ParseDateTime(c.in)
		require.True(t, ok, c.in)
		require.Equal(t, c.out, string(AppendDateTime(nil, ticks)), c.in)
	}
	for _, bad := range []string{"", "2020", "2020-13-01", "2021-02-29", "2020-01-01T", "2020-01-01T24:00:00Z", "2020-01-01T01:02:60Z",
		"2020-01-01T01:02:03.Z", "9999-12-31T23:59:59.99999996Z", "2020-01-01T01:02:03Zx", "2020-01-01T01:02:03+0100", "0000-01-01",
		"2020-01-01T01:02:03+", "2020x01x01", "9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00", "２０２０-01-01"} {
		_, ok := ParseDateTime(bad)
		require.False(t, ok, bad)
	}
}

func TestDateTimeAgreesWithTime(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		ticks := MinDateTime + r.Uint64N(MaxDateTime-MinDateTime+1)
		want := engine.Stamp(ticks).Time().Format("2006-01-02T15:04:05.9999999Z")
		require.Equal(t, want, string(AppendDateTime(nil, ticks)))
		back, ok := ParseDateTime(want)
		require.True(t, ok)
		require.Equal(t, ticks, back)
		tag := string(AppendETag(nil, ticks))
		back, ok = ParseETag(tag)
		require.True(t, ok, tag)
		require.Equal(t, ticks, back)
	}
	require.Equal(t, uint64(MinDateTime), uint64(engine.StampOf(time.Date(1601, 1, 1, 0, 0, 0, 0, time.UTC))))
}

func TestETag(t *testing.T) {
	ticks, _ := ParseDateTime("2021-01-04T22:26:49.6433315Z")
	require.Equal(t, `W/"datetime'2021-01-04T22%3A26%3A49.6433315Z'"`, string(AppendETag(nil, ticks)))
	for _, same := range []string{`W/"datetime'2021-01-04T22%3a26%3a49.6433315Z'"`, `W/"datetime'2021-01-04T22:26:49.6433315Z'"`} {
		got, ok := ParseETag(same)
		require.True(t, ok)
		require.Equal(t, ticks, got)
	}
	for _, other := range []string{"", "*", `"x"`, `W/"x"`, `W/"datetime''"`, `W/"datetime'` + strings.Repeat("9", 100) + `'"`} {
		_, ok := ParseETag(other)
		require.False(t, ok, other)
	}
}

func TestDoubleText(t *testing.T) {
	for _, c := range []struct {
		in  float64
		out string
	}{
		{1, "1.0"}, {1.1, "1.1"}, {-5, "-5.0"}, {0, "0.0"}, {math.Copysign(0, -1), "-0.0"}, {1.23456789012346e+24, "1.23456789012346E+24"}, {1e14, "100000000000000.0"},
		{1e15, "1E+15"}, {0.0001, "0.0001"}, {0.00001, "1E-05"}, {math.MaxFloat64, "1.7976931348623157E+308"}, {5e-324, "5E-324"},
		{math.NaN(), "NaN"}, {math.Inf(1), "Infinity"}, {math.Inf(-1), "-Infinity"},
	} {
		require.Equal(t, c.out, string(AppendDouble(nil, c.in)))
		back, ok := ParseDouble(c.out)
		require.True(t, ok)
		require.True(t, math.Float64bits(back) == math.Float64bits(c.in) || back != back && c.in != c.in)
	}
	for _, bad := range []string{"", "x", "0x1p3", "1_000", "1e999", "inf", "nan", "1e", "--1", " 1"} {
		_, ok := ParseDouble(bad)
		require.False(t, ok, bad)
	}
}

func TestGuidText(t *testing.T) {
	g, ok := AppendParsedGuid(nil, "A455C695-df98-5678-aaaa-81d3367e5a34")
	require.True(t, ok)
	require.Equal(t, "a455c695-df98-5678-aaaa-81d3367e5a34", string(AppendGuid(nil, string(g))))
	for _, bad := range []string{"", "a455c695df985678aaaa81d3367e5a34", "a455c695-df98-5678-aaaa-81d3367e5a3g", "a455c695-df98-5678-aaaa-81d3367e5a-4"} {
		_, ok := AppendParsedGuid(nil, bad)
		require.False(t, ok, bad)
	}
}

// randomText favours what breaks an order: the ends of encodings, surrogates and the characters above them.
func randomText(r *rand.Rand, n int) string {
	alphabet := []rune{0x20, 'a', 'b', '~', 0xA0, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFD, 0xFFFF, 0x10000, 0x10FFFF, 0x1F600}
	s := make([]rune, r.IntN(n))
	for i := range s {
		s[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(s)
}

func compareUnits(a, b string) int {
	return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
}

func TestKeysSortByUTF16(t *testing.T) {
	const seed = 7
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 50000 {
		a, b := randomText(r, 4), randomText(r, 4)
		want := compareUnits(a, b)
		require.Equal(t, want, max(-1, min(1, CompareOrdinal(a, b))), "%q %q", a, b)
		require.Equal(t, want, bytes.Compare(AppendKeyString(nil, a), AppendKeyString(nil, b)), "%q %q", a, b)

		c, d := randomText(r, 4), randomText(r, 4)
		pair := want
		if pair == 0 {
			pair = compareUnits(c, d)
		}
		ka, kb := AppendKey(nil, 1, a, c), AppendKey(nil, 1, b, d)
		require.Equal(t, pair, bytes.Compare(ka, kb), "(%q %q) (%q %q)", a, c, b, d)
		pk, rk, ok := SplitKey(ka)
		require.True(t, ok)
		require.Equal(t, a, string(AppendDecoded(nil, pk)))
		require.Equal(t, c, string(AppendDecoded(nil, rk)))
		require.Equal(t, len(utf16.Encode([]rune(a))), UTF16Len(a))

		pa, pb := AppendPartition(nil, 1, a), AppendPartition(nil, 1, b)
		if a != b {
			require.False(t, bytes.HasPrefix(pa, pb), "%q %q", a, b)
		}
		require.True(t, bytes.HasPrefix(ka, pa))
	}
}

func TestBoundsWithNUL(t *testing.T) {
	in := []string{"", "\x00", "\x00\x00", "a", "a\x00", "a\x00b", "aa", "b"}
	for i := range in[1:] {
		require.Negative(t, bytes.Compare(append(AppendKeyString(nil, in[i]), 0), append(AppendKeyString(nil, in[i+1]), 0)), "%q", in[i])
	}
}

func everyType(t testing.TB) []Property {
	g, ok := AppendParsedGuid(nil, "a455c695-df98-5678-aaaa-81d3367e5a34")
	require.True(t, ok)
	when, _ := ParseDateTime("2020-01-01T01:05:00.1234567Z")
	return []Property{
		{"String", StringValue("Grüße \U0001F600")},
		{"Empty", StringValue("")},
		{"Binary", BinaryValue("\x00\x01\xff")},
		{"True", BooleanValue(true)},
		{"False", BooleanValue(false)},
		{"Int32", Int32Value(math.MinInt32)},
		{"Int64", Int64Value(math.MaxInt64)},
		{"Double", DoubleValue(-1.5)},
		{"DateTime", DateTimeValue(when)},
		{"Guid", GuidValue(string(g))},
	}
}

func decode(t testing.TB, r Row) []Property {
	require.NoError(t, r.Check())
	var props []Property
	rd := r.Properties()
	for rd.Next() {
		props = append(props, Property{string(rd.Name()), rd.Value()})
	}
	require.NoError(t, rd.Err())
	return props
}

func TestRowGolden(t *testing.T) {
	row := AppendRow(nil, 0x0102030405060708, everyType(t))
	const golden = "01" + "00" + "0102030405060708" +
		"01" + "06" + "537472696e67" + "0c" + "4772c3bcc39f6520f09f9880" +
		"01" + "05" + "456d707479" + "00" +
		"02" + "06" + "42696e617279" + "03" + "0001ff" +
		"03" + "04" + "54727565" + "01" +
		"03" + "05" + "46616c7365" + "00" +
		"04" + "05" + "496e743332" + "80000000" +
		"05" + "05" + "496e743634" + "7fffffffffffffff" +
		"06" + "06" + "446f75626c65" + "bff8000000000000" +
		"07" + "08" + "4461746554696d65" + "08d78e56a0239c87" +
		"08" + "04" + "47756964" + "a455c695df985678aaaa81d3367e5a34"
	require.Equal(t, golden, hex.EncodeToString(row))
	require.Equal(t, everyType(t), decode(t, row))
	require.EqualValues(t, 0x0102030405060708, row.Stamp())
	require.Equal(t, "65"+"000000000000002a"+"c3a4"+"00"+"eda0bdedb880", hex.EncodeToString(AppendKey(nil, 42, "ä", "\U0001F600")))
}

func TestLargeRowInParts(t *testing.T) {
	for _, n := range []int{0, InlineRow - rowHeader - 6, InlineRow, PartSize, 10*PartSize + 1} {
		row := AppendRow(nil, 9, []Property{{"A", BinaryValue(strings.Repeat("x", n/2))}, {"B", BinaryValue(strings.Repeat("y", n-n/2))}})
		entry, parts := row.Split()
		if len(row) <= InlineRow {
			require.Empty(t, parts)
			require.Equal(t, []byte(row), entry)
			continue
		}
		require.Less(t, len(entry), 20)
		require.NoError(t, Row(entry).Check())
		require.Equal(t, row.Stamp(), Row(entry).Stamp())
		count, err := Row(entry).Parts()
		require.NoError(t, err)
		require.Len(t, parts, count)
		whole, err := Row(entry).Join(nil, func(i int) ([]byte, error) { return parts[i], nil })
		require.NoError(t, err)
		require.Equal(t, row, whole)
		_, err = Row(entry).Join(nil, func(i int) ([]byte, error) { return parts[i][:1], nil })
		require.ErrorIs(t, err, engine.ErrCorrupt)
	}
}

func TestRowRefusesOtherVersions(t *testing.T) {
	row := AppendRow(nil, 1, nil)
	row[0] = 2
	require.ErrorContains(t, row.Check(), "unknown version 2")
	require.ErrorIs(t, Row{1, 2, 3}.Check(), engine.ErrCorrupt)
}

func FuzzRow(f *testing.F) {
	f.Add([]byte(AppendRow(nil, 1, everyType(f))))
	entry, _ := AppendRow(nil, 1, []Property{{"A", StringValue(strings.Repeat("x", 20000))}}).Split()
	f.Add(entry)
	f.Fuzz(func(t *testing.T, b []byte) {
		row := Row(b)
		if row.Check() != nil {
			return
		}
		_ = row.Stamp()
		if n, err := row.Parts(); err == nil && n > 0 {
			_, err := row.Join(nil, func(int) ([]byte, error) { return b, nil })
			_ = err // any outcome but a panic
		}
		var props []Property
		rd := row.Properties()
		for rd.Next() {
			props = append(props, Property{string(rd.Name()), rd.Value()})
		}
		if rd.Err() == nil {
			again := AppendRow(nil, row.Stamp(), props)
			var back []Property
			rd := again.Properties()
			for rd.Next() {
				back = append(back, Property{string(rd.Name()), rd.Value()})
			}
			require.NoError(t, rd.Err())
			require.Equal(t, props, back)
		}
	})
}

func TestCheckKey(t *testing.T) {
	for _, good := range []string{"", " ", "a b", "ä", "\u00A0", "\U0001F600", "A'aaa\"", "%25", strings.Repeat("k", 1024), strings.Repeat("\u20ac", 1024)} {
		require.NoError(t, CheckKey("PartitionKey", good))
	}
	for _, bad := range []string{"a/b", `a\b`, "#", "?", "\x00", "\x1f", "\x7f", "\u0080", "\u009f"} {
		require.ErrorIs(t, CheckKey("RowKey", bad), protocol.ErrOutOfRangeInput, "%q", bad)
	}
	for _, key := range []string{"a/b", `a\b"c`, "tab\tä", "\u007f" + strings.Repeat("é", 1000)} { // as it is, and whole
		require.ErrorContains(t, CheckKey("RowKey", key), "The 'RowKey' parameter of value '"+key+"' is out of range.")
	}
	require.ErrorIs(t, CheckKey("RowKey", strings.Repeat("k", 1025)), protocol.ErrKeyValueTooLarge)
	require.ErrorIs(t, CheckKey("RowKey", strings.Repeat("\U0001F600", 513)), protocol.ErrKeyValueTooLarge)
}

func TestCheckName(t *testing.T) {
	for _, good := range []string{"A", "_a1", "Größe", "日本", strings.Repeat("n", 255)} {
		require.NoError(t, CheckName(good), good)
	}
	for _, bad := range []string{"", "1a", "a-b", "a b", "a.b", "a@b", "\u2603"} {
		require.ErrorIs(t, CheckName(bad), protocol.ErrPropertyNameInvalid, bad)
	}
	require.ErrorIs(t, CheckName(strings.Repeat("n", 256)), protocol.ErrPropertyNameTooLong)
}

func TestCheckValueAndSize(t *testing.T) {
	require.NoError(t, CheckValue(StringValue(strings.Repeat("ä", MaxStringLength))))
	require.ErrorIs(t, CheckValue(StringValue(strings.Repeat("a", MaxStringLength+1))), protocol.ErrPropertyValueTooLarge)
	require.NoError(t, CheckValue(BinaryValue(strings.Repeat("a", MaxBinaryLength))))
	require.ErrorIs(t, CheckValue(BinaryValue(strings.Repeat("a", MaxBinaryLength+1))), protocol.ErrPropertyValueTooLarge)
	require.ErrorIs(t, CheckValue(DateTimeValue(MinDateTime-1)), protocol.ErrOutOfRangeInput)
	require.NoError(t, CheckValue(DateTimeValue(MaxDateTime)))

	require.Equal(t, 4+2*3+(8+2*6+4+2*8)+(8+2*5+4)+(8+2*6+4+3)+(8+2*4+1)+(8+2*5+1)+(8+2*5+4)+(8+2*5+8)+(8+2*6+8)+(8+2*8+8)+(8+2*4+16),
		Size("pk", "r", AppendRow(nil, 1, everyType(t))))

	full := make([]Property, 16)
	for i := range full { // 16 x (8 + 2 + 4 + 65522) + 8 is 8 over 1 MiB
		full[i] = Property{string(rune('A' + i)), BinaryValue(strings.Repeat("x", MaxBinaryLength-14))}
	}
	full[0].Value = BinaryValue(strings.Repeat("x", MaxBinaryLength-14-8))
	row := AppendRow(nil, 1, full)
	require.Equal(t, MaxSize, Size("p", "r", row))
	require.NoError(t, CheckRow("p", "r", row))
	require.ErrorIs(t, CheckRow("p", "rr", row), protocol.ErrEntityTooLarge)

	many := make([]Property, MaxProperties+1)
	for i := range many {
		many[i] = Property{"P", Int32Value(1)}
	}
	require.ErrorIs(t, CheckRow("p", "r", AppendRow(nil, 1, many)), protocol.ErrTooManyProperties)
	many[0].Value = Value{}
	require.NoError(t, CheckRow("p", "r", AppendRow(nil, 1, many)))
}

func TestMerge(t *testing.T) {
	base := AppendRow(nil, 5, []Property{{"A", Int32Value(1)}, {"B", StringValue("old")}, {"C", BooleanValue(true)}})
	patch := AppendRow(nil, 9, []Property{{"B", Int64Value(2)}, {"D", StringValue("new")}})
	got, err := Merge(nil, base, patch)
	require.NoError(t, err)
	require.Equal(t, AppendRow(nil, 9, []Property{{"A", Int32Value(1)}, {"C", BooleanValue(true)}, {"B", Int64Value(2)}, {"D", StringValue("new")}}), got)
	_, err = Merge(nil, base[:len(base)-1], patch)
	require.ErrorIs(t, err, engine.ErrCorrupt)
}

func BenchmarkAppendRow(b *testing.B) {
	props := everyType(b)
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendRow(buf[:0], 1, props)
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkReadRow(b *testing.B) {
	row := AppendRow(nil, 1, everyType(b))
	b.ReportAllocs()
	for b.Loop() {
		rd := row.Properties()
		for rd.Next() {
			_ = rd.Value()
		}
	}
}

// What most numbers take, a short way, gives the same text as the long one, and moments written after each other the same as
// alone.
func TestShortWaysGiveTheSame(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	long := func(f float64) string {
		if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e15) {
			return strconv.FormatFloat(f, 'E', -1, 64)
		}
		s := strconv.FormatFloat(f, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	var times Times
	ticks := uint64(MinDateTime)
	for range 200000 {
		f := math.Float64frombits(rng.Uint64())
		switch rng.IntN(4) {
		case 0:
			f = float64(rng.Int64N(1<<rng.IntN(62)+1)) / math.Pow10(rng.IntN(6))
		case 1:
			f = -float64(rng.Int64N(1<<rng.IntN(62)+1)) / 1000
		case 2:
			f = math.Nextafter(float64(rng.Int64N(1<<rng.IntN(62)+1))/1000, math.Inf(rng.IntN(2)*2-1))
		}
		if !math.IsNaN(f) && !math.IsInf(f, 0) {
			require.Equal(t, long(f), string(AppendDouble(nil, f)), "seed %d", seed)
		}
		switch rng.IntN(4) {
		case 0:
			ticks = MinDateTime + rng.Uint64N(MaxDateTime-MinDateTime)
		case 1:
			ticks = ticks/ticksPerSecond*ticksPerSecond + rng.Uint64N(ticksPerSecond)
		case 2:
			ticks = ticks / 1000 * 1000
		}
		require.Equal(t, string(AppendDateTime(nil, ticks)), string(times.Append(nil, ticks)), "seed %d", seed)
		require.Equal(t, string(AppendETagTime(nil, ticks)), string(times.AppendETag(nil, ticks)), "seed %d", seed)
	}
	require.Equal(t, "-0.0", string(AppendDouble(nil, math.Copysign(0, -1))))
	require.Equal(t, "0001-01-01T00:00:00Z", string(new(Times).Append(nil, 0)))
}

// What a refusal repeats of a key is text, wherever it is cut.
func TestARefusedKeyIsRepeatedAsText(t *testing.T) {
	for n := range 8 {
		err := CheckKey("PartitionKey", strings.Repeat("a", n)+strings.Repeat("é€😀", 120)+"/")
		require.Error(t, err)
		require.True(t, utf8.ValidString(err.Error()), "%q", err)
	}
}
