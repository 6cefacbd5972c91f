package work

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"

	"github.com/blobd/blobd/bench/wire"
)

const (
	listed      = "listed"
	perPrefix   = 100 // names under one prefix
	listPage    = 5000
	listContent = 16 // bytes
)

// List is the work on containers with many names.
func List() Group {
	return Group{Name: "list", Prepare: prepareList, Workloads: []Workload{
		{Name: "list 5 000", Clients: []int{1, 8}, Usual: 8, Items: listPage, Client: listClient},
		{Name: "list with delimiter", Clients: []int{1, 8}, Usual: 8, Items: 1, Client: prefixClient},
	}}
}

func prepareList(ctx context.Context, t *Target) error {
	if err := create(t, listed); err != nil {
		return err
	}
	return parallel(ctx, t, t.Fill.Names, func(c *Client, i uint64) error { return c.putName(listed, i, listContent) })
}

// listName is name i of a container: "d00000012/n00000034", perPrefix names under each prefix.
func listName(out []byte, i uint64) []byte {
	out = appendNumber(append(out, 'd'), i/perPrefix)
	return appendNumber(append(out, "/n"...), i%perPrefix)
}

// page asks for one page of a listing; the answer is in c.buf.
func (c *Client) page(container string, fields ...wire.Field) error {
	c.req = wire.Request{Method: "GET", Path: "/" + container, Query: fields}
	c.buf.Reset()
	resp, err := c.Blob.Do(&c.req, &c.buf)
	return expect(resp, err, 200)
}

// between cuts what lies between two marks.
func between(b []byte, left, right string) (found, rest []byte, ok bool) {
	_, rest, ok = bytes.Cut(b, []byte(left))
	if !ok {
		return nil, nil, false
	}
	return bytes.Cut(rest, []byte(right))
}

func nextMarker(page []byte) string {
	m, _, _ := between(page, "<NextMarker>", "</NextMarker>")
	var s string
	_ = xml.Unmarshal([]byte("<m>"+string(m)+"</m>"), &s) // an odd marker fails at its use
	return s
}

// listClient walks the container page by page and begins again at its end. Every name of every page is checked.
func listClient(t *Target, c *Client) func() error {
	return walker(c, listed, uint64(t.Fill.Names))
}

func walker(c *Client, container string, names uint64) func() error {
	var marker string
	var at uint64 // the number of the next name
	var want []byte
	return func() error {
		fields := []wire.Field{{Name: "comp", Value: "list"}, {Name: "marker", Value: marker}, {Name: "restype", Value: "container"}}
		if marker == "" {
			fields = []wire.Field{fields[0], fields[2]}
		}
		if err := c.page(container, fields...); err != nil {
			return err
		}
		begin := at
		for rest := c.buf.Bytes(); ; at++ {
			name, more, ok := between(rest, "<Name>", "</Name>")
			if !ok {
				break
			}
			if want = listName(want[:0], at); !bytes.Equal(name, want) {
				return fmt.Errorf("the listing has %q where %q should be", name, want)
			}
			rest = more
		}
		if n := at - begin; n != min(listPage, names-begin) {
			return fmt.Errorf("a page of %d names after %d of %d", n, begin, names)
		}
		marker = nextMarker(c.buf.Bytes())
		if (marker == "") != (at == names) {
			return fmt.Errorf("the listing's marker is %q after %d of %d names", marker, at, names)
		}
		if marker == "" {
			at = 0
		}
		return nil
	}
}

// prefixClient lists the top level: every page has all the prefixes that fit.
func prefixClient(t *Target, c *Client) func() error {
	want := min(listPage, (t.Fill.Names+perPrefix-1)/perPrefix)
	return func() error { return c.prefixes(listed, want) }
}

func (c *Client) prefixes(container string, want int) error {
	err := c.page(container, wire.Field{Name: "comp", Value: "list"}, wire.Field{Name: "delimiter", Value: "/"}, wire.Field{Name: "restype", Value: "container"})
	if err != nil {
		return err
	}
	if n := bytes.Count(c.buf.Bytes(), []byte("<BlobPrefix>")); n != want {
		return fmt.Errorf("%d prefixes instead of %d", n, want)
	}
	if bytes.Contains(c.buf.Bytes(), []byte("<Blob>")) {
		return fmt.Errorf("a blob among the prefixes")
	}
	return nil
}
