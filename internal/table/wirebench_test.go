package table_test

import (
	"fmt"
	"testing"
)

// Small requests over the wire; the client's part is in them.
func benchWire(b *testing.B, status int, method, target string, body func(i int) string) {
	s := open(b)
	s.Do("POST", root+"Tables", `{"TableName":"people"}`, jsonBody)
	for i := range 50 {
		s.Do("POST", people, fmt.Sprintf(`{"PartitionKey":"q","RowKey":"%d","Name":"somebody","Age":%d}`, i, i), jsonBody)
	}
	c := s.Dial()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		if r := c.Do(method, target, body(n), jsonBody, plain, "Prefer: return-no-content"); r.Status != status {
			b.Fatal(r)
		}
	}
}

func BenchmarkInsertOnTheWire(b *testing.B) {
	benchWire(b, 204, "POST", people, func(i int) string {
		return fmt.Sprintf(`{"PartitionKey":"p","RowKey":"%d","Name":"somebody","Age":1}`, i)
	})
}

func BenchmarkQueryOnTheWire(b *testing.B) {
	benchWire(b, 200, "GET", people+"()?$filter=PartitionKey%20eq%20'q'", func(int) string { return "" })
}
