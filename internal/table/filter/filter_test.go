package filter

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/table/entity"
)

type row struct {
	pk, rk string
	stamp  uint64
	props  []entity.Property
}

func ticks(t testing.TB, s string) uint64 {
	n, ok := entity.ParseDateTime(s)
	require.True(t, ok)
	return n
}

func guid(t testing.TB, s string) string {
	g, ok := entity.AppendParsedGuid(nil, s)
	require.True(t, ok)
	return string(g)
}

func matches(t testing.TB, f *Filter, r row) bool {
	m := f.Matcher(func(entity.Row) (entity.Row, error) { return nil, engine.ErrCorrupt })
	ok, err := m.Match(entity.AppendKeyString(nil, r.pk), entity.AppendKeyString(nil, r.rk), entity.AppendRow(nil, engine.Stamp(r.stamp), r.props))
	require.NoError(t, err)
	return ok
}

func TestMatch(t *testing.T) {
	e := row{"p", "o'clock", ticks(t, "2021-01-04T22:26:49.6433315Z"), []entity.Property{
		{Name: "S", Value: entity.StringValue("grün")},
		{Name: "Quote", Value: entity.StringValue("it's")},
		{Name: "Empty", Value: entity.StringValue("")},
		{Name: "T", Value: entity.BooleanValue(true)},
		{Name: "F", Value: entity.BooleanValue(false)},
		{Name: "I", Value: entity.Int32Value(-5)},
		{Name: "L", Value: entity.Int64Value(1<<53 + 1)},
		{Name: "D", Value: entity.DoubleValue(1.5)},
		{Name: "N", Value: entity.DoubleValue(math.NaN())},
		{Name: "When", Value: entity.DateTimeValue(ticks(t, "2012-06-01T00:00:00Z"))},
		{Name: "G", Value: entity.GuidValue(guid(t, "a455c695-df98-5678-aaaa-81d3367e5a34"))},
		{Name: "B", Value: entity.BinaryValue("01")},
		{Name: "eq", Value: entity.Int32Value(1)},
		{Name: "Wide", Value: entity.StringValue("\U0001F600")},
	}}
	for _, c := range []struct {
		text string
		want bool
	}{
		{"", true}, {"  ", true},
		{"PartitionKey eq 'p'", true}, {"PartitionKey eq 'P'", false}, {"RowKey eq 'o''clock'", true}, {"RowKey gt 'o'", true}, {"'o' lt RowKey", true},
		{"S eq 'grün'", true}, {"S ne 'grün'", false}, {"S ne 'x'", true}, {"S gt 'gr'", true}, {"S lt 'gr'", false}, {"S ge 'grün' and S le 'grün'", true},
		{"Quote eq 'it''s'", true}, {"Empty eq ''", true}, {"'' eq Empty", true}, {"'a' gt Empty", true}, {"'a' lt Empty", false},
		{"T", true}, {"F", false}, {"not F", true}, {"T and not F", true}, {"T eq true", true}, {"true eq T", true}, {"F ne true", true}, {"T eq 1", false}, {"T eq 'true'", false}, {"T eq True and F eq FALSE", true}, {"TRUE", true},
		{"I eq -5", true}, {"I lt 0", true}, {"-5 eq I", true}, {"0 gt I", true},
		{"L eq 9007199254740993L", true}, {"L eq 9007199254740992L", false}, {"L gt 9007199254740992L", true}, {"L gt 5", true}, {"L eq 5", false}, {"5 lt L", true},
		{"D eq 1.5", true}, {"D gt 1", true}, {"D lt 2L", true}, {"D ge 15e-1", true}, {"D eq 0.15E+1", true}, {"1 lt D", true}, {"D eq 1.5d", true}, {"D lt 2D", true}, {"D lt INF", true}, {"D gt -INF", true}, {"D eq NaN", false}, {"D ne NaN", true},
		// A property of another type is less than the literal, so that "ne ''" asks whether it is there at all.
		{"I ne ''", true}, {"I lt ''", true}, {"I le ''", true}, {"I eq ''", false}, {"I gt ''", false}, {"I ge ''", false}, {"'' gt I", true}, {"'' lt I", false}, {"not (I ne '')", false},
		{"T ne ''", true}, {"D ne ''", true}, {"When ne ''", true}, {"G ne ''", true}, {"B ne ''", true}, {"Empty ne ''", false}, {"Missing ne ''", false}, {"not (Missing ne '')", true},
		{"When lt 5", true}, {"S lt 5", true}, {"S lt guid'00000000-0000-0000-0000-000000000000'", true}, {"F lt 0", true}, {"F gt -1", false},
		// So is a number that is less wide than the literal, whatever its value.
		{"I eq -5L", false}, {"I ne -5L", true}, {"I lt -9L", true}, {"I gt -9L", false}, {"I eq -5.0", false}, {"I lt -9.0", true}, {"L eq 9007199254740992.0", false}, {"L lt -1e300", true}, {"L gt 1.0", false},
		{"N eq 1", false}, {"N ne 1", true}, {"N lt 1.0", false}, {"N ne 1.0", true}, {"N ge 1.0", false},
		{"When eq datetime'2012-06-01T00:00:00Z'", true}, {"When eq datetime'2012-06-01T02:00:00+02:00'", true}, {"When gt datetime'2012-05-31T23:59:59.9999999Z'", true}, {"When eq '2012-06-01T00:00:00Z'", false},
		{"Timestamp eq datetime'2021-01-04T22:26:49.6433315Z'", true}, {"Timestamp lt datetime'2021-01-04T22:26:49.6433316Z'", true}, {"Timestamp ge datetime'2021-01-04T22:26:49.64333154Z'", true},
		{"G eq guid'A455C695-DF98-5678-AAAA-81D3367E5A34'", true}, {"G ne guid'a455c695-df98-5678-aaaa-81d3367e5a34'", false}, {"G gt guid'00000000-0000-0000-0000-000000000000'", true},
		{"B eq X'3031'", true}, {"B eq binary'3031'", true}, {"B lt X'3032'", true}, {"B eq X''", false}, {"B eq '01'", false}, {"B eq x'3031'", true}, {"B eq Binary'3031'", true},
		{"G eq Guid'a455c695-df98-5678-aaaa-81d3367e5a34' and When eq DateTime'2012-06-01T00:00:00Z'", true}, {"When lt datetime'2012-06-01T00:00:00.00000009Z'", true},
		{"(PartitionKey) eq ('p')", true}, {"((I)) lt (((0)))", true}, {"('p') eq PartitionKey and (T)", true}, {"T\nand\r\n\tI\u00a0eq\n-5", true}, {"I eq(-5)", true},
		{"Missing eq 1", false}, {"Missing ne 1", false}, {"not (Missing eq 1)", true}, {"not Missing eq 1", true}, {"Missing", false}, {"not Missing", true},
		{"T or F and F", true}, {"(T or F) and F", false}, {"not F or T and F", true}, {"not (F or T)", false}, {"not not T", true},
		{"F or F or T", true}, {"T and T and F", false}, {"I EQ -5 AND t eq 1 OR T", true},
		{"eq eq 1", true}, {"(((T)))", true}, {"( T )and( T )", true}, {"not(F)", true}, {"true", true}, {"false or T", true}, {"1 lt 2", true}, {"'a' eq 'b'", false},
		{"Wide lt '\uFFFD'", true}, {"Wide gt '\uD7FF'", true},
	} {
		f, err := Parse(c.text)
		require.NoError(t, err, c.text)
		require.Equal(t, c.want, matches(t, f, e), c.text)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"(", ")", "()", "and", "A eq", "eq 1 1", "A eq 1)", "(A eq 1", "A eq 1 B eq 2", "A eq 'x", "A eq 'x''", "A foo 1", "A eq 1 and", "or A eq 1",
		"A eq guid'x'", "A eq datetime'2012-13-01'", "A eq X'3'", "A eq X'zz'", "A eq nope'30'", "A eq 1x", "A eq 1.2.3", "A eq --1", "A eq 99999999999999999999L",
		"A eq 1e999", "A eq -", "A eq .", "A = 1", "A eq B", "A eq null", "1", "'x'", "1 and A", "A eq \x00", "A/B eq 1", "A eq 1 eq true", "\xff", "A,B", "A eq 1,",
		"A eq 2147483648", "A eq -2147483649", "A eq 99999999999999999999", "A eq 1f", "A eq 1dd", "A eq -INFx", "A eq 1.5L", "A eq (1", "(A eq 1) eq 2", "A eq inf", "A eq -"} {
		_, err := Parse(text)
		require.ErrorIs(t, err, protocol.ErrInvalidInput, text)
	}
	for _, text := range []string{"startswith(A,'x')", "A eq tolower('X')", "substringof('x',A) and B"} {
		_, err := Parse(text)
		require.ErrorIs(t, err, protocol.ErrNotImplemented, text)
	}
	for text, message := range map[string]string{
		"PartitionKey eq 5":                   "A binary operator with incompatible types was detected. Found operand types 'Edm.String' and 'Edm.Int32' for operator kind 'Equal'.",
		"5.0 lt RowKey":                       "A binary operator with incompatible types was detected. Found operand types 'Edm.Double' and 'Edm.String' for operator kind 'LessThan'.",
		"Timestamp ge '2'":                    "A binary operator with incompatible types was detected. Found operand types 'Edm.DateTime' and 'Edm.String' for operator kind 'GreaterThanOrEqual'.",
		"(PartitionKey ) and (RowKey ge 'a')": "A binary operator with incompatible types was detected. Found operand types 'Edm.String' and 'Edm.Boolean' for operator kind 'And'.",
		"PartitionKey or Flag":                "A binary operator with incompatible types was detected. Found operand types 'Edm.String' and 'Edm.Boolean' for operator kind 'Or'.",
		"A or 1":                              "A binary operator with incompatible types was detected. Found operand types 'Edm.Boolean' and 'Edm.Int32' for operator kind 'Or'.",
		"'a' eq 1":                            "A binary operator with incompatible types was detected. Found operand types 'Edm.String' and 'Edm.Int32' for operator kind 'Equal'.",
		"not RowKey":                          "A unary operator with an incompatible type was detected. Found operand type 'Edm.String' for operator kind 'Not'.",
		"(Timestamp)":                         "The $filter expression must evaluate to a single boolean value.",
		"1":                                   "The $filter expression must evaluate to a single boolean value.",
	} {
		_, err := Parse(text)
		var e *protocol.Error
		require.ErrorAs(t, err, &e, text)
		require.Equal(t, "InvalidInput", e.Code)
		require.Equal(t, message, e.Message, text)
	}
	for _, text := range []string{"TableName eq 1", "TableName", "TableName and Other"} {
		_, err := ParseTables(text)
		require.ErrorIs(t, err, protocol.ErrInvalidInput, text)
	}
	deep := strings.Repeat("(", maxDepth+2) + "A" + strings.Repeat(")", maxDepth+2)
	_, err := Parse(deep)
	require.ErrorIs(t, err, protocol.ErrInvalidInput)
	_, err = Parse(deep[2 : len(deep)-2])
	require.NoError(t, err)
	_, err = Parse(strings.Repeat("not ", maxDepth+2) + "A")
	require.ErrorIs(t, err, protocol.ErrInvalidInput)
	_, err = Parse("A eq @")
	require.ErrorContains(t, err, "Syntax error at position 5 in 'A eq @'.")
}

func TestMatchName(t *testing.T) {
	for _, c := range []struct {
		text string
		want bool
	}{
		{"TableName eq 'MYTABLE'", true}, {"TableName ge 'my' and TableName lt 'mz'", true}, {"TableName lt 'my'", false}, {"not (TableName eq 'x')", true}, {"Other eq 'x'", false},
		{"", true}, {"TableName eq 'a' or TableName eq 'myTable'", true}, {"PartitionKey eq 'x'", false}, {"true", true},
	} {
		f, err := ParseTables(c.text)
		require.NoError(t, err)
		require.Equal(t, c.want, f.MatchName("MyTable"), c.text)
	}
}

// describe writes ranges so that a person can read them.
func describe(ranges []Range) string {
	var b strings.Builder
	for _, r := range ranges {
		if b.Len() > 0 {
			b.WriteString(" ")
		}
		high := "-"
		if r.Upper != nil {
			high = string(r.Upper)
		}
		fmt.Fprintf(&b, "[%s,%s)", r.Lower, high)
	}
	return strings.NewReplacer("\x00", "|", "\x01", "+").Replace(b.String())
}

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		text, want string
		exact      bool
	}{
		{"", "[,-)", true},
		{"A eq 1", "[,-)", false},
		{"PartitionKey eq 'p'", "[p|,p+)", true},
		{"'p' eq PartitionKey", "[p|,p+)", true},
		{"PartitionKey eq 'p' and RowKey eq 'r'", "[p|r,p|r|)", true},
		{"PartitionKey eq 'p' and RowKey ge 'a' and RowKey lt 'b'", "[p|a,p|b)", true},
		{"PartitionKey eq 'p' and (RowKey gt 'a' and RowKey le 'b') and A eq 1", "[p|a|,p|b|)", false},
		{"PartitionKey eq 'p' or PartitionKey eq 'a'", "[a|,a+) [p|,p+)", true},
		{"PartitionKey eq 'p' and (RowKey eq '2' or RowKey eq '1' or RowKey eq '2')", "[p|1,p|1|) [p|2,p|2|)", true},
		{"(PartitionKey eq 'p' and RowKey eq '1') or (PartitionKey eq 'q' and RowKey eq '2' and A)", "[p|1,p|1|) [q|2,q|2|)", false},
		{"PartitionKey ge 'a' and PartitionKey le 'c'", "[a|,c+)", true},
		{"PartitionKey gt 'a' and PartitionKey lt 'c'", "[a+,c|)", true},
		{"PartitionKey ge 'a' and PartitionKey le 'c' and RowKey ge '5' and RowKey lt '7'", "[a|5,c|7)", false},
		{"PartitionKey gt 'a' and RowKey eq '5'", "[a+,-)", false},
		{"RowKey eq '5'", "[,-)", false},
		{"PartitionKey ne 'p'", "[,p|) [p+,-)", true},
		{"not (PartitionKey eq 'p')", "[,p|) [p+,-)", true},
		{"not (PartitionKey lt 'p' or A eq 1)", "[p|,-)", false},
		{"not (PartitionKey ne 'p' or RowKey ne 'r')", "[p|r,p|r|)", true},
		{"PartitionKey eq 'p' and PartitionKey eq 'q'", "", true},
		{"PartitionKey eq 'p' and RowKey lt 'a' and RowKey gt 'b'", "", true},
		{"PartitionKey eq 'p' or A eq 1", "[,-)", false},
		{"PartitionKey eq 'p' and (A eq 1 or B eq 2)", "[p|,p+)", false},
		{"(PartitionKey) eq ('p') and RowKey lt ('b')", "[p|,p|b)", true},
		{"PartitionKey eq 'p' and false", "", true},
		{"PartitionKey eq ''", "[|,+)", true},
		{"PartitionKey eq 'p' and RowKey eq ''", "[p|,p||)", true},
	} {
		f, err := Parse(c.text)
		require.NoError(t, err)
		ranges, exact := f.Plan()
		require.Equal(t, c.want, describe(ranges), c.text)
		require.Equal(t, c.exact, exact, c.text)
	}
}

func TestPlanIsBounded(t *testing.T) {
	var ors []string
	for i := range 600 {
		ors = append(ors, fmt.Sprintf("PartitionKey eq '%04d'", i))
	}
	any := "(" + strings.Join(ors, " or ") + ")"
	f, err := Parse(any)
	require.NoError(t, err)
	ranges, exact := f.Plan()
	require.Len(t, ranges, 600)
	require.True(t, exact)
	f, err = Parse(any + " and " + strings.ReplaceAll(any, "PartitionKey", "RowKey"))
	require.NoError(t, err)
	ranges, exact = f.Plan()
	require.LessOrEqual(t, len(ranges), maxBoxes)
	require.False(t, exact)
	f, err = Parse(any + " or " + strings.ReplaceAll(any, "'0", "'x"))
	require.NoError(t, err)
	ranges, exact = f.Plan()
	require.Equal(t, "[,-)", describe(ranges))
	require.False(t, exact)
}

func TestKeysAndClip(t *testing.T) {
	s := func(s string) *string { return &s }
	require.Equal(t, "[b|2,d|4|)", describe([]Range{Keys(s("b"), s("2"), s("d"), s("4"))}))
	require.Equal(t, "[b|,d+)", describe([]Range{Keys(s("b"), nil, s("d"), nil)}))
	require.Equal(t, "[,-)", describe([]Range{Keys(nil, nil, nil, nil)}))
	bounds := Keys(s("b"), s("2"), s("d"), s("4"))
	require.Equal(t, "[b|2,b+) [c|,d|4|)", describe(Clip([]Range{{[]byte("a|"), []byte("b\x01")}, {[]byte("c\x00"), nil}}, bounds)))
	require.Empty(t, Clip([]Range{{[]byte("x"), nil}}, bounds))
	for key, want := range map[string]bool{"b\x002": true, "b\x001": false, "c\x00": true, "d\x004": true, "d\x005": false, "d\x0044": false} {
		require.Equal(t, want, bounds.Contains([]byte(key)), "%q", key)
	}
}

func TestMatchReadsPartsOnlyForProperties(t *testing.T) {
	whole := entity.AppendRow(nil, 5, []entity.Property{{Name: "Big", Value: entity.StringValue(strings.Repeat("x", entity.InlineRow))}, {Name: "A", Value: entity.Int32Value(1)}})
	entry, _ := whole.Split()
	reads := 0
	read := func(entity.Row) (entity.Row, error) { reads++; return whole, nil }
	for text, want := range map[string]int{"PartitionKey eq 'p' and Timestamp ge datetime'0001-01-01'": 0, "A eq 1": 1, "A eq 1 and Big gt 'x'": 1, "PartitionKey eq 'q' and A eq 1": 0} {
		f, err := Parse(text)
		require.NoError(t, err)
		reads = 0
		ok, err := f.Matcher(read).Match([]byte("p"), nil, entry)
		require.NoError(t, err)
		require.Equal(t, !strings.Contains(text, "'q'"), ok, text)
		require.Equal(t, want, reads, text)
	}
	f, _ := Parse("A eq 1")
	_, err := f.Matcher(func(entity.Row) (entity.Row, error) { return nil, engine.ErrCorrupt }).Match(nil, nil, entry)
	require.ErrorIs(t, err, engine.ErrCorrupt)
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"A eq 1", "PartitionKey eq 'p' and (RowKey ge 'a' or not B)", "X'30' ne C", "guid'a455c695-df98-5678-aaaa-81d3367e5a34' eq G",
		"Timestamp gt datetime'2012-06-01T00:00:00Z'", "1.5e3 le D or L eq 5L", "f(x)", "((((", "'o''clock' eq A"} {
		f.Add(s)
	}
	r := row{"p", "a", 5, []entity.Property{{Name: "A", Value: entity.Int32Value(1)}, {Name: "B", Value: entity.BooleanValue(true)}}}
	key := entity.AppendKeyString(append(entity.AppendKeyString(nil, r.pk), 0), r.rk)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse(text)
		if err != nil {
			var e *protocol.Error
			require.ErrorAs(t, err, &e)
			return
		}
		ok := matches(t, c, r)
		ranges, exact := c.Plan()
		require.True(t, slices.IsSortedFunc(ranges, func(a, b Range) int { return bytes.Compare(a.Lower, b.Lower) }))
		planned := slices.ContainsFunc(ranges, func(r Range) bool { return r.Contains(key) })
		require.False(t, ok && !planned, "the plan lost a matching row")
		require.False(t, exact && planned && !ok, "an exact plan has a row too many")
		if c, err = ParseTables(text); err == nil {
			c.MatchName(text)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	f, err := Parse("Age gt 30 and Name eq 'somebody' and Active")
	require.NoError(b, err)
	props := []entity.Property{{Name: "Name", Value: entity.StringValue("somebody")}, {Name: "Address", Value: entity.StringValue("Some street 15, Sometown")}, {Name: "Age", Value: entity.Int32Value(31)}, {Name: "Active", Value: entity.BooleanValue(true)}, {Name: "Amount", Value: entity.DoubleValue(255.5)}}
	r := entity.AppendRow(nil, 1, props)
	m := f.Matcher(nil)
	b.ReportAllocs()
	for b.Loop() {
		if ok, _ := m.Match(nil, nil, r); !ok {
			b.Fatal("no match")
		}
	}
}
