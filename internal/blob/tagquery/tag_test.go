package tagquery

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/protocol"
)

// codeOf returns the code of the wire error in err, "" for nil.
func codeOf(t testing.TB, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var e *protocol.Error
	require.True(t, errors.As(err, &e), "%v", err)
	return e.Code
}

func TestParseTagHeader(t *testing.T) {
	many := func(n int) string {
		var s []string
		for i := range n {
			s = append(s, fmt.Sprintf("k%02d=v", i))
		}
		return strings.Join(s, "&")
	}
	for _, row := range []struct {
		in   string
		want []protocol.Pair
		code string
	}{
		{in: ""},
		{in: "b=2&a=1", want: []protocol.Pair{{Name: "a", Value: "1"}, {Name: "b", Value: "2"}}},
		{in: "a=", want: []protocol.Pair{{Name: "a", Value: ""}}},
		{in: "a+b%20c=1%2B1%3D2", want: []protocol.Pair{{Name: "a b c", Value: "1+1=2"}}},
		{in: "a=1&A=2", want: []protocol.Pair{{Name: "A", Value: "2"}, {Name: "a", Value: "1"}}}, // case-sensitive
		{in: "a=1=2", want: []protocol.Pair{{Name: "a", Value: "1=2"}}},
		{in: "a", code: "InvalidHeaderValue"},
		{in: "a=%zz", code: "InvalidHeaderValue"},
		{in: "a=1&", code: "InvalidHeaderValue"},
		{in: "=1", code: "EmptyTagName"},
		{in: "a=1&a=2", code: "DuplicateTagNames"},
		{in: "a=%21", code: "InvalidTag"},
		{in: "%C3%A4=1", code: "InvalidTag"},
		{in: strings.Repeat("k", 128) + "=" + strings.Repeat("v", 256), want: []protocol.Pair{{Name: strings.Repeat("k", 128), Value: strings.Repeat("v", 256)}}},
		{in: strings.Repeat("k", 129) + "=v", code: "TagsTooLarge"},
		{in: "k=" + strings.Repeat("v", 257), code: "TagsTooLarge"},
		{in: many(11), code: "TagsTooLarge"},
	} {
		got, err := ParseHeader(row.in)
		require.Equal(t, row.code, codeOf(t, err), row.in)
		require.Equal(t, row.want, got, row.in)
	}
	ten, err := ParseHeader(many(10))
	require.NoError(t, err)
	require.Len(t, ten, 10)
}

func TestParseTagsXML(t *testing.T) {
	doc := func(inner string) string {
		return "\xEF\xBB\xBF<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<Tags><TagSet>" + inner + "</TagSet></Tags>"
	}
	for _, row := range []struct {
		in   string
		want []protocol.Pair
		code string
	}{
		{in: doc("")},
		{in: "<Tags><TagSet/></Tags>"},
		{in: doc("<Tag><Key>b</Key><Value>2</Value></Tag> <Tag><Key>a</Key><Value/></Tag>"), want: []protocol.Pair{{Name: "a", Value: ""}, {Name: "b", Value: "2"}}},
		{in: "", code: "InvalidXmlDocument"},
		{in: "<Tags>", code: "InvalidXmlDocument"},
		{in: "<TagX><TagSet/></TagX>", code: "InvalidXmlDocument"},
		{in: doc("") + "x", code: "InvalidXmlDocument"},
		{in: doc("") + "<Tags/>", code: "InvalidXmlDocument"},
		{in: "<Tags/>", code: "MissingRequiredXmlNode"},
		{in: doc("<Tag><Value>2</Value></Tag>"), code: "MissingRequiredXmlNode"},
		{in: doc("<Tag><Key>2</Key></Tag>"), code: "MissingRequiredXmlNode"},
		{in: doc("<Tag><Key/><Value>2</Value></Tag>"), code: "EmptyTagName"},
		{in: doc("<Tag><Key>a</Key><Value>2</Value></Tag><Tag><Key>a</Key><Value>3</Value></Tag>"), code: "DuplicateTagNames"},
		{in: doc("<Tag><Key>a&lt;</Key><Value>2</Value></Tag>"), code: "InvalidTag"},
		{in: doc(strings.Repeat("<Tag><Key>a</Key><Value>2</Value></Tag>", 11)), code: "TagsTooLarge"},
	} {
		got, err := ParseXML([]byte(row.in))
		require.Equal(t, row.code, codeOf(t, err), row.in)
		require.Equal(t, row.want, got, row.in)
	}
}

// FuzzTags: what is accepted can be written and read again.
func FuzzTags(f *testing.F) {
	f.Add("a=1&b=2")
	f.Add("a+b=%2F")
	f.Add("<Tags><TagSet><Tag><Key>a</Key><Value>2</Value></Tag></TagSet></Tags>")
	f.Fuzz(func(t *testing.T, s string) {
		for _, parse := range []func() ([]protocol.Pair, error){
			func() ([]protocol.Pair, error) { return ParseHeader(s) },
			func() ([]protocol.Pair, error) { return ParseXML([]byte(s)) },
		} {
			tags, err := parse()
			if err != nil {
				codeOf(t, err)
				continue
			}
			again, err := ParseXML(append(AppendXML([]byte("<Tags>"), tags), "</Tags>"...))
			require.NoError(t, err)
			require.Equal(t, tags, again)
		}
	})
}

func TestWhere(t *testing.T) {
	tags := []protocol.Pair{{Name: "Date", Value: "2026-11-23"}, {Name: "empty", Value: ""}, {Name: "k 1", Value: "v=1"}, {Name: "n", Value: "10"}}
	for _, row := range []struct {
		in    string
		match bool
		both  bool // also in the grammar of Find Blobs by Tags
	}{
		{`n='10'`, true, true},
		{`n = '10'`, true, true},
		{`"n"='10'`, true, true},
		{`n='1'`, false, true},
		{`N='10'`, false, true},
		{`n>'1' AND n<'2'`, true, true},
		{`n>='10' and n<='10'`, true, true},
		{`n>'10'`, false, true},
		{`n<'9'`, true, true}, // as text, not as number
		{`"k 1"='v=1'`, true, true},
		{`empty=''`, true, true},
		{`none=''`, false, true},
		{`Date >= '2026-01-01' AND Date < '2027-01-01' AND n='10'`, true, true},
		{`n<>'1'`, true, false},
		{`none<>'1'`, false, false},
		{`n='1' OR n='10'`, true, false},
		{`n='10' OR none='' AND none=''`, true, false}, // AND binds closer
		{`(n='10' OR n='1') AND none=''`, false, false},
		{`NOT n='1'`, true, false},
		{`not (n='10' and Date='x')`, true, false},
		{`NOT NOT n='10'`, true, false},
		{`NOT none='x'`, true, false},
	} {
		w, err := ParseWhere(row.in, If)
		require.NoError(t, err, row.in)
		require.Equal(t, row.match, w.Matches("c", tags), row.in)
		w, err = ParseWhere(row.in, Find)
		require.Equal(t, row.both, err == nil, row.in)
		if err == nil {
			require.Equal(t, row.match, w.Matches("c", tags), row.in)
		}
	}
	w, err := ParseWhere(`@container='c' AND n='10'`, Find)
	require.NoError(t, err)
	require.True(t, w.Matches("c", tags))
	require.False(t, w.Matches("d", tags))
	require.True(t, w.Names("n"))
	require.False(t, w.Names("Date"))
}

func TestWhereErrors(t *testing.T) {
	for _, row := range []struct{ in, want string }{
		{``, "1: unexpected end of query"},
		{`n`, "2: expected an operator"},
		{`n=`, "3: unexpected end of query"},
		{`n=10`, "3: unexpected '10'"},
		{`n='10`, "3: the quotation is not closed"},
		{`'n'='10'`, "1: unexpected ''n''"},
		{`n='10' n='11'`, "8: unexpected 'n'"},
		{`n='10' AND`, "11: unexpected end of query"},
		{`n='10' OR n='11'`, "8: unexpected 'OR'"},
		{`NOT n='10'`, "1: unexpected 'NOT'"},
		{`(n='10')`, "1: unexpected '('"},
		{`n<>'10'`, "3: unexpected '>'"},
		{`n!='10'`, "2: unexpected '!'"},
		{`@blob='x'`, "1: unsupported parameter '@blob'"},
		{`@container='x'`, "1: there must be at least one tag name in the expression"},
		{`@container>'x' AND n='1'`, "1: only = is supported for @container"},
		{`n='ä'`, "3: an invalid character in a tag name or value"},
		{`""='a'`, "1: a tag name must be between 1 and 128 characters in length"},
		{`n='` + strings.Repeat("v", 257) + `'`, "3: a tag value must be between 0 and 256 characters in length"},
	} {
		_, err := ParseWhere(row.in, Find)
		require.Equal(t, "InvalidQueryParameterValue", codeOf(t, err), row.in)
		var e *protocol.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, "Error parsing query at or near character position "+row.want, e.Message)
		require.Equal(t, []protocol.Detail{{Name: "QueryParameterName", Value: "where"}, {Name: "QueryParameterValue", Value: row.in}, {Name: "Reason"}}, e.Details)
	}
	for _, in := range []string{`n`, `@container='c'`, `(n='1'`, `NOT`, strings.Repeat("(", 1000), strings.Repeat("NOT ", 1000), strings.Repeat("x", 10000)} {
		_, err := ParseWhere(in, If)
		require.Equal(t, "InvalidHeaderValue", codeOf(t, err), in)
	}
}

func FuzzWhere(f *testing.F) {
	for _, s := range []string{`@container='c' AND "a b" >= '1'`, `NOT (a='1' OR b<>'2')`, `a='`, `a<'1'and b>'2'`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, d := range []Dialect{Find, If} {
			w, err := ParseWhere(s, d)
			if err != nil {
				codeOf(t, err)
				continue
			}
			w.Matches("c", []protocol.Pair{{Name: "a", Value: "1"}, {Name: "b", Value: "2"}})
			if d == Find { // what one takes the other takes with the same meaning, containers apart
				if _, err := ParseWhere(s, If); err != nil {
					require.Contains(t, s, "@container")
				}
			}
		}
	})
}
