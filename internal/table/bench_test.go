package table

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/table/entity"
	"github.com/blobd/blobd/internal/table/filter"
	"github.com/blobd/blobd/internal/table/odata"
)

// benchBody is an entity of seven properties, about 300 bytes.
const benchBody = `{"PartitionKey":"p","RowKey":"r%08d","Name":"somebody","Address":"Some street 15, Sometown, Somewhere","Age":31,"Active":true,"Amount":255.5,"Id@odata.type":"Edm.Guid","Id":"a455c695-df98-5678-aaaa-81d3367e5a34","When@odata.type":"Edm.DateTime","When":"2008-07-10T00:00:00Z"}`

func benchTable(b *testing.B, rows int) (*Service, *table) {
	s := newService(b, enginetest.New(b))
	tb := s.mustCreate(b, "people")
	for i := 0; i < rows; i += 100 {
		_, err := s.write(context.Background(), tb, benchChanges(b, i))
		require.NoError(b, err)
	}
	return s, tb
}

// benchChanges decodes a hundred inserts, from row i on.
func benchChanges(b *testing.B, i int) []change {
	var d odata.Decoder
	changes := make([]change, 0, 100)
	for j := range 100 {
		require.NoError(b, d.JSON(fmt.Appendf(nil, benchBody, i+j)))
		changes = append(changes, change{kind: insert, pk: d.Entity.PartitionKey, rk: d.Entity.RowKey, row: entity.AppendRow(nil, 0, d.Entity.Properties)})
	}
	return changes
}

func BenchmarkInsert(b *testing.B) {
	s, tb := benchTable(b, 0)
	var next atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(p *testing.PB) {
		var d odata.Decoder
		var row, body []byte
		for p.Next() {
			body = fmt.Appendf(body[:0], benchBody, next.Add(1))
			if err := d.JSON(body); err != nil {
				b.Error(err)
			}
			row = entity.AppendRow(row[:0], 0, d.Entity.Properties)
			if _, err := s.write(context.Background(), tb, []change{{kind: insert, pk: d.Entity.PartitionKey, rk: d.Entity.RowKey, row: row}}); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkGet(b *testing.B) {
	s, tb := benchTable(b, 1000)
	var next atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		w := odata.Writer{Table: "people", Base: "http://127.0.0.1/acct/"}
		var out []byte
		for p.Next() {
			rk := fmt.Sprintf("r%08d", next.Add(1)%1000)
			err := s.get(context.Background(), tb, "p", rk, func(pk, rk []byte, row entity.Row) (err error) {
				out, err = w.AppendEntity(out[:0], pk, rk, row, true)
				return err
			})
			if err != nil {
				b.Error(err)
			}
		}
	})
}

func benchQuery(b *testing.B, text string, want int) {
	s, tb := benchTable(b, 1000)
	f, err := filter.Parse(text)
	require.NoError(b, err)
	c := &call{Service: s}
	c.writer = odata.Writer{Table: "people", Base: "http://127.0.0.1/acct/"}
	rows := 0
	b.ReportAllocs()
	for b.Loop() {
		c.out = c.out[:0]
		p := &countingPage{entityPage: entityPage{c: c, comma: true}}
		if _, err := s.run(context.Background(), tb, &query{filter: f, top: maxPageRows, time: maxPageTime}, p); err != nil {
			b.Fatal(err)
		}
		rows += p.rows
		if p.rows != want {
			b.Fatalf("%d rows", p.rows)
		}
	}
	b.ReportMetric(1000*float64(b.N)/b.Elapsed().Seconds(), "scanned/s")
}

type countingPage struct {
	entityPage
	rows int
}

func (p *countingPage) add(pk, rk []byte, row entity.Row) (bool, error) {
	p.rows++
	return p.entityPage.add(pk, rk, row)
}

// BenchmarkPlainScan is what bench/ measures: a hundred characters of text, numbers of all kinds, no metadata, every second row a hit.
func BenchmarkPlainScan(b *testing.B) {
	s := newService(b, enginetest.New(b))
	tb := s.mustCreate(b, "people")
	var d odata.Decoder
	for i := range 1000 {
		require.NoError(b, d.JSON(fmt.Appendf(nil, `{"PartitionKey":"p%d","RowKey":"r%010[2]d","Text":"%0100[2]d","Number":%[2]d,"Big@odata.type":"Edm.Int64","Big":"%[3]d","Ratio":1.5,"Flag":true,"When@odata.type":"Edm.DateTime","When":"2026-11-23T10:00:00Z"}`, i/250, i, i+1<<40)))
		_, err := s.write(context.Background(), tb, []change{{kind: insert, pk: d.Entity.PartitionKey, rk: d.Entity.RowKey, row: entity.AppendRow(nil, 0, d.Entity.Properties)}})
		require.NoError(b, err)
	}
	f, err := filter.Parse("Flag eq true and Number lt 500")
	require.NoError(b, err)
	c := &call{Service: s, writer: odata.Writer{Table: "people", Base: "http://127.0.0.1/acct/", Format: odata.None}}
	b.ReportAllocs()
	for b.Loop() {
		c.out = c.out[:0]
		p := &countingPage{entityPage: entityPage{c: c, comma: true}}
		if _, err := s.run(context.Background(), tb, &query{filter: f, top: maxPageRows, time: maxPageTime}, p); err != nil || p.rows != 500 {
			b.Fatal(p.rows, err)
		}
	}
}

func BenchmarkQueryPartition(b *testing.B) { benchQuery(b, "PartitionKey eq 'p'", 1000) }

func BenchmarkFilteredScan(b *testing.B) { benchQuery(b, "Age gt 30 and Amount lt 100.0", 0) }

func BenchmarkTransaction(b *testing.B) {
	s, tb := benchTable(b, 0)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.write(context.Background(), tb, benchChanges(b, i)); err != nil {
			b.Fatal(err)
		}
		i += 100
	}
	b.ReportMetric(100*float64(b.N)/b.Elapsed().Seconds(), "entities/s")
}

// benchBatch is the body of a transaction of a hundred inserts.
func benchBatch() []byte {
	var b bytes.Buffer
	b.WriteString("--batch_357de4f7-6d0b-4e02-8cd2-6361411a9525\r\nContent-Type: multipart/mixed; boundary=changeset_5\r\n\r\n")
	for i := range 100 {
		b.WriteString("--changeset_5\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n" +
			"POST http://127.0.0.1:10002/devstoreaccount1/people HTTP/1.1\r\nAccept: application/json;odata=nometadata\r\nContent-Type: application/json\r\n" +
			"Prefer: return-no-content\r\nDataServiceVersion: 3.0\r\n\r\n")
		fmt.Fprintf(&b, benchBody+"\r\n", i)
	}
	b.WriteString("--changeset_5--\r\n--batch_357de4f7-6d0b-4e02-8cd2-6361411a9525--\r\n")
	return b.Bytes()
}

// serveBatch does all of a transaction's request but to read it, to write and to send the answer.
func (c *call) serveBatch(tb testing.TB, r *rest.Request, t *table, body []byte) {
	c.reset()
	c.in = append(c.in[:0], body...)
	outer, err := c.parts.Split(c.in, "batch_357de4f7-6d0b-4e02-8cd2-6361411a9525", 1)
	if err != nil {
		tb.Fatal(err)
	}
	parts, err := c.parts.Split(outer[0].Body, "changeset_5", maxChanges)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err = c.parseAll(r, parts); err != nil {
		tb.Fatal(err)
	}
	if _, err = c.prepareAll(r, c.ops); err != nil {
		tb.Fatal(err)
	}
	c.set = true
	if err = c.appendAnswers(r, t, c.ops, 638_000_000_000_000_000); err != nil {
		tb.Fatal(err)
	}
	if n := bytes.Count(c.out, []byte("DataServiceId: ")); n != 100 {
		tb.Fatalf("%d answers", n)
	}
}

func batchRequest() *rest.Request {
	return &rest.Request{ID: "a455c695-df98-5678-aaaa-81d3367e5a34", Version: protocol.Newest, Address: rest.Address{AccountName: "devstoreaccount1", PathStyle: true}}
}

func BenchmarkBatchRequest(b *testing.B) {
	body, r, t := benchBatch(), batchRequest(), newTable(record{name: "people", generation: 1})
	b.ReportAllocs()
	var c call
	for b.Loop() {
		c.serveBatch(b, r, t, body)
	}
}

func TestATransactionHardlyAllocates(t *testing.T) {
	body, r, people := benchBatch(), batchRequest(), newTable(record{name: "people", generation: 1})
	var c call
	require.LessOrEqual(t, testing.AllocsPerRun(10, func() { c.serveBatch(t, r, people, body) }), 2.0, "the text of its one ETag")
}
