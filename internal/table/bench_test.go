package table

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine/enginetest"
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
