package odata

import (
	"encoding/json"
	"encoding/xml"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/table/entity"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file under testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}

func everyType(t testing.TB) []entity.Property {
	guid, ok := entity.AppendParsedGuid(nil, "a455c695-df98-5678-aaaa-81d3367e5a34")
	require.True(t, ok)
	when, ok := entity.ParseDateTime("2020-01-01T01:05:00.1234567Z")
	require.True(t, ok)
	return []entity.Property{
		{Name: "Text", Value: entity.StringValue("<Grüße> & \"\\\n\t\x01 \U0001F600 ")},
		{Name: "Empty", Value: entity.StringValue("")},
		{Name: "Binary", Value: entity.BinaryValue("\x00\x01\xff")},
		{Name: "Yes", Value: entity.BooleanValue(true)},
		{Name: "No", Value: entity.BooleanValue(false)},
		{Name: "Int32", Value: entity.Int32Value(math.MinInt32)},
		{Name: "Int64", Value: entity.Int64Value(math.MaxInt64)},
		{Name: "Double", Value: entity.DoubleValue(1)},
		{Name: "Large", Value: entity.DoubleValue(1.23456789012346e+24)},
		{Name: "NaN", Value: entity.DoubleValue(math.NaN())},
		{Name: "Infinity", Value: entity.DoubleValue(math.Inf(1))},
		{Name: "Minus", Value: entity.DoubleValue(math.Inf(-1))},
		{Name: "DateTime", Value: entity.DateTimeValue(when)},
		{Name: "Guid", Value: entity.GuidValue(string(guid))},
	}
}

func writer(f Format) *Writer {
	return &Writer{Format: f, Base: "https://acct.table.example.org/", Account: "acct", Table: "people"}
}

func sample(t testing.TB) (pk, rk []byte, row entity.Row) {
	stamp, ok := entity.ParseDateTime("2021-01-04T22:26:49.64333Z")
	require.True(t, ok)
	row = entity.AppendRow(nil, 0, everyType(t))
	row.SetStamp(engine.Stamp(stamp))
	return entity.AppendKeyString(nil, `A'aaa_bbbb2"`), entity.AppendKeyString(nil, "ä \U0001F600&"), row
}

func TestEntityBodies(t *testing.T) {
	pk, rk, row := sample(t)
	for f, name := range map[Format]string{None: "none", Minimal: "minimal", Full: "full", Atom: "atom"} {
		ext := ".json"
		if f == Atom {
			ext = ".xml"
		}
		w := writer(f)
		body, err := w.AppendEntity(nil, pk, rk, row, true)
		require.NoError(t, err)
		golden(t, "entity-"+name+ext, body)
		wellFormed(t, f, body)

		feed := w.AppendFeedStart(nil)
		feed, err = w.AppendEntity(feed, pk, rk, row, false)
		require.NoError(t, err)
		if f.JSON() {
			feed = append(feed, ',')
		}
		w.SetSelect([]string{"RowKey", "Int32", "Absent"})
		feed, err = w.AppendEntity(feed, pk, rk, row, false)
		require.NoError(t, err)
		feed = w.AppendFeedEnd(feed)
		golden(t, "feed-"+name+ext, feed)
		wellFormed(t, f, feed)

		w = writer(f)
		table := w.AppendTable(nil, "people", true)
		golden(t, "table-"+name+ext, table)
		wellFormed(t, f, table)
		tables := w.AppendTablesStart(nil)
		tables = w.AppendFeedEnd(w.AppendTable(tables, "people", false))
		golden(t, "tables-"+name+ext, tables)
		wellFormed(t, f, tables)

		fail := AppendError(nil, f, protocol.ErrEntityAlreadyExists, "3:The specified entity already exists.\nRequestId:r\nTime:t")
		golden(t, "error-"+name+ext, fail)
		wellFormed(t, f, fail)
	}
}

func wellFormed(t *testing.T, f Format, body []byte) {
	t.Helper()
	if f.JSON() {
		require.True(t, json.Valid(body), "%s", body)
		return
	}
	d := xml.NewDecoder(strings.NewReader(strings.ReplaceAll(string(body), "&#x1;", "")))
	for {
		_, err := d.Token()
		if err == io.EOF {
			return
		}
		require.NoError(t, err, "%s", body)
	}
}

// TestRoundTrip reads back what was written, in every format that carries types.
func TestRoundTrip(t *testing.T) {
	_, rk, row := sample(t)
	for _, f := range []Format{Minimal, Full, Atom} {
		w := writer(f)
		props := everyType(t)
		if f == Atom { // which has no way to write U+0001 that every reader takes
			props[0].Value = entity.StringValue("<Grüße> & \"\\\n\t \U0001F600 ")
			stamp := row.Stamp()
			row = entity.AppendRow(nil, stamp, props)
		}
		body, err := w.AppendEntity(nil, []byte("p"), rk, row, true)
		require.NoError(t, err)
		var d Decoder
		if f == Atom {
			require.NoError(t, d.Atom(body), "%s", body)
		} else {
			require.NoError(t, d.JSON(body))
		}
		require.Equal(t, entity.AppendRow(nil, 1, props), entity.AppendRow(nil, 1, d.Entity.Properties))
		require.Equal(t, "p", d.Entity.PartitionKey)
		require.Equal(t, "ä \U0001F600&", d.Entity.RowKey)
	}
}

func TestDecodeJSON(t *testing.T) {
	one := func(v entity.Value) []entity.Property { return []entity.Property{{Name: "A", Value: v}} }
	for _, c := range []struct {
		body string
		want []entity.Property
	}{
		{`{"A":"x"}`, one(entity.StringValue("x"))},
		{` { "A" : "x" } `, one(entity.StringValue("x"))},
		{`{"A":"a\"\\\/\b\f\n\r\tA\u00e9\ud83d\ude00"}`, one(entity.StringValue("a\"\\/\b\f\n\r\tAé\U0001F600"))},
		{`{"A":"\ud83dx\ude00\ud83d\u0041"}`, one(entity.StringValue("\uFFFDx\uFFFD\uFFFDA"))},
		{`{"\u0041":"x"}`, one(entity.StringValue("x"))},
		{`{"A":5}`, one(entity.Int32Value(5))},
		{`{"A":-2147483648}`, one(entity.Int32Value(math.MinInt32))},
		{`{"A":2147483648}`, one(entity.DoubleValue(2147483648))},
		{`{"A":1.0}`, one(entity.DoubleValue(1))},
		{`{"A":1e3}`, one(entity.DoubleValue(1000))},
		{`{"A":-0.5E-1}`, one(entity.DoubleValue(-0.05))},
		{`{"A":true}`, one(entity.BooleanValue(true))},
		{`{"A":false}`, one(entity.BooleanValue(false))},
		{`{"A":null}`, nil},
		{`{"A":null,"A@odata.type":"Edm.Int64"}`, nil},
		{`{"A@odata.type":"Edm.Int64"}`, nil},
		{`{"A@odata.type":"Edm.Int64","A":"4"}`, one(entity.Int64Value(4))},
		{`{"A":"-9223372036854775808","A@odata.type":"Edm.Int64"}`, one(entity.Int64Value(math.MinInt64))},
		{`{"A":4,"A@odata.type":"Edm.Int64"}`, one(entity.Int64Value(4))},
		{`{"A":1,"A@odata.type":"Edm.Double"}`, one(entity.DoubleValue(1))},
		{`{"A":"1.23456789012346e+24","A@odata.type":"Edm.Double"}`, one(entity.DoubleValue(1.23456789012346e+24))},
		{`{"A":"-Infinity","A@odata.type":"Edm.Double"}`, one(entity.DoubleValue(math.Inf(-1)))},
		{`{"A":"2020-01-01T01:02:00.0000001Z","A@odata.type":"Edm.DateTime"}`, one(entity.DateTimeValue(637134373200000001))},
		{`{"A":"AAH/","A@odata.type":"Edm.Binary"}`, one(entity.BinaryValue("\x00\x01\xff"))},
		{`{"A":"","A@odata.type":"Edm.Binary"}`, one(entity.BinaryValue(""))},
		{`{"A":"x","A@odata.type":"Edm.String"}`, one(entity.StringValue("x"))},
		{`{"A":true,"A@odata.type":"Edm.Boolean"}`, one(entity.BooleanValue(true))},
		{`{"odata.etag":"x","odata.metadata":"y","Timestamp":null,"A":1}`, one(entity.Int32Value(1))},
		{`{"Timestamp":"2020","Timestamp@odata.type":"Edm.DateTime"}`, nil},
		{`{}`, nil},
	} {
		var d Decoder
		require.NoError(t, d.JSON([]byte(c.body)), c.body)
		require.Equal(t, entity.AppendRow(nil, 1, c.want), entity.AppendRow(nil, 1, d.Entity.Properties), c.body)
	}
	var d Decoder
	require.NoError(t, d.JSON([]byte(`{"RowKey":"r","PartitionKey@odata.type":"Edm.String","PartitionKey":""}`)))
	require.True(t, d.Entity.HasPartitionKey && d.Entity.HasRowKey)
	require.Equal(t, "r", d.Entity.RowKey)
	require.NoError(t, d.JSON([]byte(`{"PartitionKey":null}`)))
	require.False(t, d.Entity.HasPartitionKey || d.Entity.HasRowKey)
}

// A Writer serves answer after answer: what one selected is no concern of the next.
func TestWriterForgetsItsSelect(t *testing.T) {
	row := entity.AppendRow(nil, 1, []entity.Property{{Name: "A", Value: entity.Int32Value(1)}})
	for _, f := range []Format{None, Minimal, Full, Atom} {
		w := writer(f)
		fresh, err := w.AppendEntity(nil, []byte("p"), []byte("r"), row, true)
		require.NoError(t, err)
		w.SetSelect([]string{"Missing", "A"})
		_, err = w.AppendEntity(nil, []byte("p"), []byte("r"), row, true)
		require.NoError(t, err)
		w.SetSelect(nil)
		again, err := w.AppendEntity(nil, []byte("p"), []byte("r"), row, true)
		require.NoError(t, err)
		require.Equal(t, string(fresh), string(again))
	}
}

func TestDecodeJSONRefuses(t *testing.T) {
	for _, body := range []string{``, ` `, `[]`, `"x"`, `{`, `{}x`, `{"A"}`, `{"A":}`, `{"A":1,}`, `{,}`, `{"A":1 "B":2}`, `{A:1}`, `{'A':1}`, `{"A":tru}`, `{"A":nul}`,
		`{"A":01}`, `{"A":+1}`, `{"A":1.}`, `{"A":.5}`, `{"A":1e}`, `{"A":-}`, `{"A":1e999}`, `{"A":NaN}`, `{"A":{}}`, `{"A":[1]}`, "{\"A\":\"\n\"}", `{"A":"\x"}`, `{"A":"\u12"}`,
		`{"A":"\u12g4"}`, `{"A":"\`, `{"A":"x`, "{\"A\":\"\xff\"}",
		`{"A":"x","A@odata.type":"Edm.Int64"}`, `{"A":"x","A@odata.type":"Edm.Int32"}`, `{"A":1.5,"A@odata.type":"Edm.Int32"}`, `{"A":"2147483648","A@odata.type":"Edm.Int32"}`,
		`{"A":"x","A@odata.type":"Edm.Guid"}`, `{"A":"x","A@odata.type":"Edm.DateTime"}`, `{"A":"x!","A@odata.type":"Edm.Binary"}`, `{"A":"x","A@odata.type":"Edm.Double"}`,
		`{"A":1,"A@odata.type":"Edm.String"}`, `{"A":true,"A@odata.type":"Edm.Int32"}`, `{"A":1,"A@odata.type":"Edm.Decimal"}`, `{"A":1,"A@odata.type":5}`, `{"A":"maybe","A@odata.type":"Edm.Boolean"}`,
		`{"PartitionKey":5}`, `{"RowKey":true}`} {
		var d Decoder
		require.ErrorIs(t, d.JSON([]byte(body)), protocol.ErrInvalidInput, body)
	}
	for body, want := range map[string]*protocol.Error{
		`{"A":1,"A":1}`: protocol.ErrDuplicatePropertiesSpecified,
		`{"PartitionKey":"x","PartitionKey":"x"}`:                 protocol.ErrDuplicatePropertiesSpecified,
		`{"A@odata.type":"Edm.Int32","A@odata.type":"Edm.Int32"}`: protocol.ErrDuplicatePropertiesSpecified,
		`{"A-B":1}`:                              protocol.ErrPropertyNameInvalid,
		`{"":1}`:                                 protocol.ErrPropertyNameInvalid,
		`{"` + strings.Repeat("A", 256) + `":1}`: protocol.ErrPropertyNameTooLong,
		`{"A":"` + strings.Repeat("x", 32769) + `"}`:                 protocol.ErrPropertyValueTooLarge,
		`{"A":"1600-12-31T23:59:59Z","A@odata.type":"Edm.DateTime"}`: protocol.ErrOutOfRangeInput,
		manyProperties(maxItems + 1):                                 protocol.ErrTooManyProperties,
	} {
		var d Decoder
		require.ErrorIs(t, d.JSON([]byte(body)), want, "%.80s", body)
	}
}

func manyProperties(n int) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"P` + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676)) + `":null`)
	}
	return b.String() + "}"
}

const atomHead = `<?xml version="1.0" encoding="utf-8"?><entry xmlns:d="http://schemas.microsoft.com/ado/2007/08/dataservices" xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata" xmlns="http://www.w3.org/2005/Atom"><title /><updated>2009-03-18T11:48:34.9840639-07:00</updated><author><name/></author><id/><content type="application/xml"><m:properties>`

const atomTail = `</m:properties></content></entry>`

func TestDecodeAtom(t *testing.T) {
	var d Decoder
	require.NoError(t, d.Atom([]byte(atomHead+`
		<d:Address>Mountain &amp; View</d:Address><d:Age m:type="Edm.Int32"> 23 </d:Age><d:Gone m:null="true"/><d:Empty></d:Empty>
		<d:Since m:type="Edm.DateTime">2008-07-10T00:00:00</d:Since><d:PartitionKey>p</d:PartitionKey><d:RowKey/><d:Timestamp m:type="Edm.DateTime">0001-01-01T00:00:00</d:Timestamp>`+atomTail)))
	since, _ := entity.ParseDateTime("2008-07-10")
	require.Equal(t, []entity.Property{{Name: "Address", Value: entity.StringValue("Mountain & View")}, {Name: "Age", Value: entity.Int32Value(23)},
		{Name: "Empty", Value: entity.StringValue("")}, {Name: "Since", Value: entity.DateTimeValue(since)}}, d.Entity.Properties)
	require.Equal(t, "p", d.Entity.PartitionKey)
	require.True(t, d.Entity.HasRowKey)

	for _, body := range []string{"", "x", "<entry/>", "<entry xmlns='http://www.w3.org/2005/Atom'>", atomHead, atomHead + "<d:A><d:B/></d:A>" + atomTail, atomHead + "<A/>" + atomTail,
		atomHead + `<d:A m:type="Edm.Int32">x</d:A>` + atomTail, atomHead + `<d:A m:type="Edm.Nope">x</d:A>` + atomTail, atomHead + atomTail + "<x/>",
		`<!DOCTYPE x [<!ENTITY a "b">]>` + atomHead + atomTail, atomHead + "<d:A>&a;</d:A>" + atomTail, strings.Repeat("<entry xmlns='http://www.w3.org/2005/Atom'>", 20)} {
		require.ErrorIs(t, d.Atom([]byte(body)), protocol.ErrInvalidInput, body)
	}
	require.ErrorIs(t, d.Atom([]byte(atomHead+"<d:A/><d:A/>"+atomTail)), protocol.ErrDuplicatePropertiesSpecified)
}

func TestNegotiate(t *testing.T) {
	for _, c := range []struct {
		version        protocol.Version
		format, accept string
		want           Format
		err            error
	}{
		{"2019-02-02", "", "application/json;odata=nometadata", None, nil},
		{"2019-02-02", "", "application/json; odata=fullmetadata", Full, nil},
		{"2019-02-02", "", "application/json", Minimal, nil},
		{"2019-02-02", "application/json;odata=minimalmetadata", "application/json;odata=nometadata", Minimal, nil},
		{"2019-02-02", "", "text/html, application/json;odata=nometadata", None, nil},
		{"2019-02-02", "", "", Minimal, nil},
		{"2019-02-02", "", "*/*", Minimal, nil},
		{"2019-02-02", "", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Minimal, nil},
		{"2019-02-02", "", "application/atom+xml,application/json;odata=nometadata", None, nil},
		{"2019-02-02", "", "application/atom+xml", Atom, protocol.ErrAtomFormatNotSupported},
		{"2019-02-02", "", "text/html", Minimal, protocol.ErrMediaTypeNotSupported},
		{"2019-02-02", "", "application/json;odata=verbose", Minimal, protocol.ErrMediaTypeNotSupported},
		{"2014-02-14", "", "application/atom+xml,application/xml", Atom, nil},
		{"2014-02-14", "", "", Atom, nil},
		{"2014-02-14", "json", "", Minimal, nil},
		{"2012-02-12", "", "application/json", Minimal, protocol.ErrJsonFormatNotSupported},
		{"2012-02-12", "", "", Atom, nil},
	} {
		f, err := Negotiate(c.version, c.format, c.accept)
		require.Equal(t, c.want, f, "%+v", c)
		if c.err == nil {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, c.err, "%+v", c)
		}
	}
}

func TestParsePath(t *testing.T) {
	for raw, want := range map[string]Target{
		"":                                    {},
		"Tables":                              {Set: true},
		"Tables()":                            {Set: true},
		"Tables('T1a')":                       {Set: true, Table: "T1a"},
		"Tables%28'T1a'%29":                   {Set: true, Table: "T1a"},
		"people":                              {Table: "people"},
		"people()":                            {Table: "people"},
		"people(PartitionKey='p',RowKey='r')": {Table: "people", Entity: true, PartitionKey: "p", RowKey: "r"},
		"people(RowKey='r',PartitionKey='p')": {Table: "people", Entity: true, PartitionKey: "p", RowKey: "r"},
		"people%28PartitionKey=%27A%27%27aaa%22%27%2CRowKey=%27%27%29":    {Table: "people", Entity: true, PartitionKey: `A'aaa"`, RowKey: ""},
		"people(PartitionKey='A''aaa%22',RowKey='%2C)%3D(''''%20%C3%A4')": {Table: "people", Entity: true, PartitionKey: `A'aaa"`, RowKey: ",)=('' ä"},
		"people(PartitionKey='a',RowKey='x',PartitionKey='')":             {}, "people(PartitionKey='a')": {}, "people(PartitionKey='a',PartitionKey='b')": {}, "people('x')": {}, "people(": {},
		"people(PartitionKey='a',RowKey='b'": {}, "people(PartitionKey='a',RowKey='b')x": {}, "people(PartitionKey=a,RowKey=b)": {}, "Tables('x": {}, "Tables('x')y": {}, "%zz": {}, "%": {}, "%ff": {},
	} {
		got, err := ParsePath(raw)
		if want == (Target{}) && raw != "" {
			require.ErrorIs(t, err, protocol.ErrInvalidUri, raw)
			continue
		}
		require.NoError(t, err, raw)
		require.Equal(t, want, got, raw)
		if got.Entity {
			again, err := ParsePath(string(AppendEntityPath(nil, got.Table, got.PartitionKey, got.RowKey)))
			require.NoError(t, err)
			require.Equal(t, got, again)
		}
	}
	require.Equal(t, `T(PartitionKey='A''aaa_bbbb2%22',RowKey='%22A''aaa_bbbb2')`, string(AppendEntityPath(nil, "T", `A'aaa_bbbb2"`, `"A'aaa_bbbb2`)))
}

// FuzzDecodeJSON reads a body after another, whose shape it may have, as it is read by itself.
func FuzzDecodeJSON(f *testing.F) {
	for _, bodies := range [][2]string{
		{`{"A@odata.type":"Edm.Int64","A":"4","B":1.5e3,"C":"\u00e9\ud83d\ude00","D":null,"PartitionKey":"p","RowKey":"r"}`, `{"A@odata.type":"Edm.Int64","A":"5","B":-1,"C":"x","D":1,"PartitionKey":"q","RowKey":"s"}`},
		{`{"G@odata.type":"Edm.Guid","G":"a455c695-df98-5678-aaaa-81d3367e5a34","X":"AAH/","X@odata.type":"Edm.Binary"}`, `{"G@odata.type":"Edm.Guid","G":"b","X":null,"X@odata.type":"Edm.Binary"}`},
		{` { "odata.etag" : "x" , "\u0041" : true,"Timestamp":"t","A@b":1 } `, ` { "odata.etag" : null , "\u0041" : "\n","Timestamp":5,"A@b":"c" } `},
		{`{"A":1}`, `{"A":1,"A":1}`}, {`{"A":1}`, `{"A":12}x`}, {`{"A":1}`, `{"A":01}`}, {`{}`, `{ }`}, {`{"A":1,"B":2}`, `{"A":1,"C":2}`},
	} {
		f.Add([]byte(bodies[0]), []byte(bodies[1]))
	}
	f.Fuzz(func(t *testing.T, before, body []byte) {
		var d, used Decoder
		err := d.JSON(body)
		_ = used.JSON(before)
		for range 2 {
			usedErr := used.JSON(body)
			require.Equal(t, err, usedErr)
			if err == nil {
				require.Equal(t, entity.AppendRow(nil, 1, d.Entity.Properties), entity.AppendRow(nil, 1, used.Entity.Properties))
				require.Equal(t, [2]string{d.Entity.PartitionKey, d.Entity.RowKey}, [2]string{used.Entity.PartitionKey, used.Entity.RowKey})
				require.Equal(t, [2]bool{d.Entity.HasPartitionKey, d.Entity.HasRowKey}, [2]bool{used.Entity.HasPartitionKey, used.Entity.HasRowKey})
			}
		}
		if err != nil {
			var e *protocol.Error
			require.ErrorAs(t, err, &e)
			return
		}
		require.True(t, json.Valid(body), "%q", body)
		again(t, &d, Minimal)
	})
}

// TestShapes: a body that is like the one before it is read without a look at its names, and any other as ever.
func TestShapes(t *testing.T) {
	body := func(i int, more string) []byte {
		return fmt.Appendf(nil, `{"PartitionKey":"p","RowKey":"%d","Text":"\u0041%[1]d","N@odata.type":"Edm.Int64","N":"%[1]d","F":%[1]d.5,"odata.etag":"%[1]d"%s}`, i, more)
	}
	var d Decoder
	for i := range 4 {
		more := ""
		if i%2 == 1 {
			more = `,"More":true`
		}
		for j := range 3 {
			require.NoError(t, d.JSON(body(j, more)))
			require.Equal(t, strconv.Itoa(j), d.Entity.RowKey)
			require.Len(t, d.Entity.Properties, 3+i%2)
			require.Equal(t, entity.Property{Name: "Text", Value: entity.StringValue("A" + strconv.Itoa(j))}, d.Entity.Properties[0])
			require.Equal(t, entity.Property{Name: "N", Value: entity.Int64Value(int64(j))}, d.Entity.Properties[1])
			require.Equal(t, entity.Property{Name: "F", Value: entity.DoubleValue(float64(j) + 0.5)}, d.Entity.Properties[2])
		}
		require.True(t, d.shaped(string(body(1000, more))), "the shape is known")
		require.False(t, d.shaped(string(body(1000, more+" "))), "another is not")
	}
	// Neither is what would take much memory.
	require.NoError(t, d.JSON([]byte(`{"odata.`+strings.Repeat("x", maxShapeText)+`":1}`)))
	require.Empty(t, d.shape.runs)
	require.NoError(t, d.JSON([]byte(`{`+strings.Repeat(`"odata.x":1,`, maxShapeRuns)+`"A":1}`)))
	require.Empty(t, d.shape.runs)
	require.NoError(t, d.JSON(body(1, "")))
	require.NotEmpty(t, d.shape.runs)
	last := body(2, "")
	require.Zero(t, testing.AllocsPerRun(10, func() {
		if err := d.JSON(last); err != nil {
			t.Fatal(err)
		}
	}))
}

func FuzzDecodeAtom(f *testing.F) {
	f.Add([]byte(atomHead + `<d:A m:type="Edm.Int32">5</d:A><d:B>x</d:B>` + atomTail))
	f.Fuzz(func(t *testing.T, body []byte) {
		var d Decoder
		if err := d.Atom(body); err != nil {
			var e *protocol.Error
			require.ErrorAs(t, err, &e)
			return
		}
		again(t, &d, Minimal)
	})
}

// again writes what was read and reads it once more.
func again(t *testing.T, d *Decoder, f Format) {
	row := entity.AppendRow(nil, 1, d.Entity.Properties)
	body, err := writer(f).AppendEntity(nil, []byte("p"), []byte("r"), row, true)
	require.NoError(t, err)
	require.True(t, json.Valid(body), "%q", body)
	var e Decoder
	require.NoError(t, e.JSON(body), "%q", body)
	require.Equal(t, row, entity.AppendRow(nil, 1, e.Entity.Properties))
}

func FuzzParsePath(f *testing.F) {
	f.Add("people(PartitionKey='A''aaa%22',RowKey='r')")
	f.Add("Tables('T')")
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := ParsePath(raw)
		if err != nil || !got.Entity {
			return
		}
		back, err := ParsePath(string(AppendEntityPath(nil, "T", got.PartitionKey, got.RowKey)))
		require.NoError(t, err)
		require.Equal(t, got.PartitionKey, back.PartitionKey)
		require.Equal(t, got.RowKey, back.RowKey)
	})
}

func BenchmarkDecodeJSON(b *testing.B) {
	body := []byte(`{"PartitionKey":"p","RowKey":"r","Name":"somebody","Address":"Some street 15, Sometown","Age":31,"Active":true,"Amount":255.5,"Id@odata.type":"Edm.Guid","Id":"a455c695-df98-5678-aaaa-81d3367e5a34","N@odata.type":"Edm.Int64","N":"255","When@odata.type":"Edm.DateTime","When":"2008-07-10T00:00:00Z"}`)
	var d Decoder
	var row entity.Row
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if err := d.JSON(body); err != nil {
			b.Fatal(err)
		}
		row = entity.AppendRow(row[:0], 1, d.Entity.Properties)
	}
}

func BenchmarkEncodeJSON(b *testing.B) {
	pk, rk, row := sample(b)
	w := writer(Minimal)
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = w.AppendEntity(buf[:0], pk, rk, row, false)
	}
	b.SetBytes(int64(len(buf)))
}
