package work

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/blobd/blobd/bench/content"
	"github.com/blobd/blobd/bench/wire"
)

const (
	tableNew   = "benchnew"   // inserted into
	tableRead  = "benchread"  // filled: Fill.Small entities in partitions of partition rows
	tableWrite = "benchwrite" // filled likewise, and rewritten
	tableScan  = "benchscan"  // filled: partition rows
	partition  = 1000         // rows
	batchOps   = 100
	partitions = 64 // of new entities
)

// Table is the work on entities of seven properties, about 300 bytes each.
func Table() Group {
	many := []int{1, 8, 32, 128}
	return Group{Name: "table", Prepare: prepareTable, Workloads: []Workload{
		{Name: "insert entity", Clients: many, Usual: 32, Items: 1, Ceilings: []string{"commit"}, Client: insertClient, After: checkInserted},
		{Name: "upsert entity", Clients: []int{32}, Usual: 32, Items: 1, Ceilings: []string{"commit"}, Client: upsertClient, After: checkWritten},
		{Name: "merge entity", Clients: []int{32}, Usual: 32, Items: 1, Ceilings: []string{"commit"}, Client: mergeClient, After: checkWritten},
		{Name: "get entity", Clients: many, Usual: 32, Items: 1, Ceilings: []string{"network"}, Client: pointClient},
		{Name: "query partition of 1 000", Clients: []int{1, 8}, Usual: 8, Items: partition, Client: queryClient},
		{Name: "scan of 1 000, 500 hits", Clients: []int{1, 8}, Usual: 8, Items: partition, Client: scanClient(500)},
		{Name: "scan of 1 000, 10 hits", Clients: []int{8}, Usual: 8, Items: partition, Client: scanClient(10)},
		{Name: "transaction of 100", Clients: []int{1, 8}, Usual: 8, Items: batchOps, Client: batchClient, After: checkBatches},
	}}
}

// nometadata asks for the plainest JSON.
var (
	nometadata = []wire.Field{{Name: "Accept", Value: "application/json;odata=nometadata"}}
	noEcho     = []wire.Field{{Name: "Accept", Value: "application/json;odata=nometadata"}, {Name: "Prefer", Value: "return-no-content"}}
)

const jsonType = "application/json"

// entity encodes entity i.
func entity(out []byte, pk, rk, i uint64) []byte {
	out = appendNumber(append(out, `{"PartitionKey":"p`...), pk)
	out = appendNumber(append(out, `","RowKey":"r`...), rk)
	out = append(out, `","Text":"`...)
	out = base64.RawURLEncoding.AppendEncode(out, content.Slice(i, 75))
	out = strconv.AppendUint(append(out, `","Number":`...), i%1000000, 10)
	out = strconv.AppendUint(append(out, `,"Big@odata.type":"Edm.Int64","Big":"`...), i+1<<40, 10)
	return append(out, `","Ratio":1.5,"Flag":true,"When@odata.type":"Edm.DateTime","When":"2026-11-23T10:00:00Z"}`...)
}

// matches tells whether JSON is entity i; it looks for what only that entity has.
func matches(got []byte, rk, i uint64, scratch []byte) bool {
	scratch = appendNumber(append(scratch[:0], `"RowKey":"r`...), rk)
	if !bytes.Contains(got, scratch) {
		return false
	}
	scratch = append(base64.RawURLEncoding.AppendEncode(append(scratch[:0], `"Text":"`...), content.Slice(i, 75)), '"')
	if !bytes.Contains(got, scratch) {
		return false
	}
	return bytes.Contains(got, append(strconv.AppendUint(append(scratch[:0], `"Number":`...), i%1000000, 10), ','))
}

func (c *Client) key(table string, pk, rk uint64) string {
	c.path = append(append(append(c.path[:0], '/'), table...), "(PartitionKey='p"...)
	c.path = appendNumber(c.path, pk)
	c.path = appendNumber(append(c.path, "',RowKey='r"...), rk)
	return string(append(c.path, "')"...))
}

// body encodes an entity into the client's buffer.
func (c *Client) body(pk, rk, i uint64) []byte {
	b := entity(c.buf.AvailableBuffer(), pk, rk, i)
	c.buf.Reset()
	c.buf.Write(b)
	return c.buf.Bytes()
}

func (c *Client) insert(t *Target, table string, pk, rk uint64) error {
	c.req = wire.Request{Table: true, Method: "POST", Path: "/" + table, ContentType: jsonType, Plain: noEcho, Body: c.body(pk, rk, rk)}
	resp, err := c.Table.Do(&c.req, nil)
	if t.Ceiling {
		return err
	}
	return expect(resp, err, 204)
}

func insertClient(t *Target, c *Client) func() error {
	return func() error {
		rk := t.next.Add(1)
		return c.insert(t, tableNew, rk%partitions, rk)
	}
}

func checkInserted(ctx context.Context, t *Target, turn *Turn) error {
	made := turn.last - turn.first
	return parallel(ctx, t, int(min(samples, made)), func(c *Client, i uint64) error {
		rk := turn.first + 1 + i*made/samples%made
		if err := c.point(t, tableNew, rk%partitions, rk, rk); err != nil {
			return fmt.Errorf("read back: %w", err)
		}
		return nil
	})
}

// readable is one of the entities that were filled in.
func (c *Client) readable(t *Target) (pk, rk uint64) {
	rk = c.rng.Uint64N(uint64(t.entities()))
	return rk / partition, rk
}

// entities is their number: whole partitions.
func (t *Target) entities() int { return max(t.Fill.Small/partition, 1) * partition }

func (c *Client) write(t *Target, method string, pk, rk uint64) error {
	c.req = wire.Request{Table: true, Method: method, Path: c.key(tableWrite, pk, rk), ContentType: jsonType, Plain: nometadata, Body: c.body(pk, rk, rk)}
	resp, err := c.Table.Do(&c.req, nil)
	if t.Ceiling {
		return err
	}
	return expect(resp, err, 204)
}

func upsertClient(t *Target, c *Client) func() error {
	return func() error { pk, rk := c.readable(t); return c.write(t, "PUT", pk, rk) }
}

func mergeClient(t *Target, c *Client) func() error {
	return func() error { pk, rk := c.readable(t); return c.write(t, "PATCH", pk, rk) }
}

// checkWritten reads some of the entities that upserts and merges have rewritten.
func checkWritten(ctx context.Context, t *Target, _ *Turn) error {
	return parallel(ctx, t, samples, func(c *Client, i uint64) error {
		rk := i * uint64(t.entities()) / samples
		return c.point(t, tableWrite, rk/partition, rk, rk)
	})
}

func pointClient(t *Target, c *Client) func() error {
	return func() error { pk, rk := c.readable(t); return c.point(t, tableRead, pk, rk, rk) }
}

func (c *Client) point(t *Target, table string, pk, rk, i uint64) error {
	c.req = wire.Request{Table: true, Method: "GET", Path: c.key(table, pk, rk), Plain: nometadata}
	c.buf.Reset()
	resp, err := c.Table.Do(&c.req, &c.buf)
	if t.Ceiling {
		return err
	}
	if err = expect(resp, err, 200); err != nil {
		return err
	}
	if !matches(c.buf.Bytes(), rk, i, c.path) {
		return fmt.Errorf("GET %s: wrong entity: %s", c.req.Path, c.buf.Bytes())
	}
	return nil
}

// query runs a filter and checks the rows that it must find, in order.
func (c *Client) query(table, filter string, first uint64, rows int) error {
	c.req = wire.Request{Table: true, Method: "GET", Path: "/" + table + "()", Plain: nometadata, Query: []wire.Field{{Name: "$filter", Value: filter}}}
	c.buf.Reset()
	resp, err := c.Table.Do(&c.req, &c.buf)
	if err = expect(resp, err, 200); err != nil {
		return err
	}
	c.ops++
	// One brace begins the answer and each row, and none is in a value. To look for names instead took the client most of its time.
	if n := bytes.Count(c.buf.Bytes(), []byte("{")) - 1; n != rows {
		return fmt.Errorf("%q finds %d rows instead of %d", filter, n, rows)
	}
	if c.ops%64 != 1 { // to decode every answer would cost the client more than the server
		return nil
	}
	var got struct{ Value []json.RawMessage }
	if err := json.Unmarshal(c.buf.Bytes(), &got); err != nil {
		return fmt.Errorf("%q: %w", filter, err)
	}
	for k, row := range got.Value {
		if i := first + uint64(k); !matches(row, i, i, c.path) {
			return fmt.Errorf("%q: wrong row %d: %s", filter, k, row)
		}
	}
	return nil
}

func queryClient(t *Target, c *Client) func() error {
	return func() error {
		pk := c.rng.Uint64N(uint64(t.entities() / partition))
		return c.query(tableRead, "PartitionKey eq 'p"+string(appendNumber(nil, pk))+"'", pk*partition, partition)
	}
}

// scanClient reads a whole table through a filter that lets some rows through.
func scanClient(hits int) func(*Target, *Client) func() error {
	filter := "Flag eq true and Number lt " + strconv.Itoa(hits)
	return func(_ *Target, c *Client) func() error {
		return func() error { return c.query(tableScan, filter, 0, hits) }
	}
}

// batchClient inserts runs of rows, each into one partition.
func batchClient(t *Target, c *Client) func() error {
	return func() error {
		first := t.next.Add(batchOps) - batchOps + 1
		c.batch(t, tableNew, first%partitions, first)
		c.req = wire.Request{Table: true, Method: "POST", Path: "/$batch", ContentType: "multipart/mixed; boundary=batch_b", Plain: nometadata, Body: c.buf.Bytes()}
		c.answer.Reset()
		resp, err := c.Table.Do(&c.req, &c.answer)
		if err = expect(resp, err, 202); err != nil {
			return err
		}
		if n := bytes.Count(c.answer.Bytes(), []byte("HTTP/1.1 204")); n != batchOps {
			return fmt.Errorf("%d of %d operations succeeded: %.600s", n, batchOps, c.answer.Bytes())
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		t.batches = append(t.batches, first)
		return nil
	}
}

// checkBatches reads a row of some of the turn's transactions back.
func checkBatches(ctx context.Context, t *Target, _ *Turn) error {
	made := t.batches
	t.batches = nil
	return parallel(ctx, t, min(samples, len(made)), func(c *Client, i uint64) error {
		rk := made[i] + i%batchOps
		if err := c.point(t, tableNew, made[i]%partitions, rk, rk); err != nil {
			return fmt.Errorf("read back: %w", err)
		}
		return nil
	})
}

// batch encodes an entity group transaction of inserts.
func (c *Client) batch(t *Target, table string, pk, first uint64) {
	c.buf.Reset()
	c.buf.WriteString("--batch_b\r\nContent-Type: multipart/mixed; boundary=changeset_c\r\n\r\n")
	for rk := first; rk < first+batchOps; rk++ {
		c.buf.WriteString("--changeset_c\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\nPOST http://" +
			t.Server.Table + "/" + wire.Emulator.Name + "/" + table +
			" HTTP/1.1\r\nAccept: application/json;odata=nometadata\r\nContent-Type: application/json\r\nPrefer: return-no-content\r\nDataServiceVersion: 3.0\r\n\r\n")
		c.path = entity(c.path[:0], pk, rk, rk)
		c.buf.Write(c.path)
		c.buf.WriteString("\r\n")
	}
	c.buf.WriteString("--changeset_c--\r\n--batch_b--\r\n")
}

func prepareTable(ctx context.Context, t *Target) error {
	if err := createTables(t, tableNew, tableRead, tableWrite, tableScan); err != nil {
		return err
	}
	for _, table := range []string{tableRead, tableWrite} {
		err := parallel(ctx, t, t.entities(), func(c *Client, i uint64) error { return c.insert(t, table, i/partition, i) })
		if err != nil {
			return fmt.Errorf("fill: %w", err)
		}
	}
	return parallel(ctx, t, partition, func(c *Client, i uint64) error { return c.insert(t, tableScan, i*4/partition, i) })
}

func createTables(t *Target, names ...string) error {
	c := newClient(t, 0, 0)
	defer c.close()
	for _, name := range names {
		resp, err := c.Table.Do(&wire.Request{Table: true, Method: "POST", Path: "/Tables", ContentType: jsonType, Plain: noEcho,
			Body: []byte(`{"TableName":"` + name + `"}`)}, nil)
		if err != nil || notOffered(resp) {
			return NotOffered{"the table service"}
		}
		if err = expect(resp, err, 204); err != nil {
			return fmt.Errorf("create table %s: %w", name, err)
		}
	}
	return nil
}

// notOffered tells a service that is not there from one that fails.
func notOffered(r *wire.Response) bool {
	return r.Status == 501 || r.Status == 405 || r.Code == "UnsupportedHttpVerb" || r.Code == "NotImplemented"
}
