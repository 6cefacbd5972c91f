package work

import (
	"context"
	"fmt"
	"strconv"

	"github.com/blobd/blobd/bench/content"
	"github.com/blobd/blobd/bench/wire"
)

const (
	paged       = "paged"
	appended    = "appended"
	pageBlob    = 64 << 20 // bytes
	pageWrite   = 4 << 10  // bytes
	pageCount   = pageBlob / pageWrite
	appendBlock = 4 << 10 // bytes
	appendMax   = 10000   // blocks in one append blob, then the next is begun
)

// Page is the work on page blobs and append blobs.
func Page() Group {
	return Group{Name: "page and append", Prepare: preparePage, Workloads: []Workload{
		{Name: "page write 4 KiB", Clients: []int{1, 8, 32}, Usual: 8, Bytes: pageWrite, Ceilings: []string{"commit"}, Client: pageWriteClient, After: checkPages},
		{Name: "page read 4 KiB", Clients: []int{1, 8, 32}, Usual: 8, Bytes: pageWrite, Ceilings: []string{"network"}, Client: pageReadClient},
		{Name: "append 4 KiB", Clients: []int{1, 8, 32}, Usual: 8, Bytes: appendBlock, Ceilings: []string{"commit"}, Client: appendClient, After: checkAppended},
	}}
}

func preparePage(_ context.Context, t *Target) error {
	if err := create(t, paged, appended); err != nil {
		return err
	}
	c := newClient(t, 0, 0)
	defer c.close()
	for _, err := range []error{c.createPage("/" + paged + "/probe"), c.createAppend("/" + appended + "/probe")} {
		if err != nil {
			return NotOffered{"page and append blobs"}
		}
	}
	return nil
}

func (c *Client) createPage(path string) error {
	c.req = wire.Request{Method: "PUT", Path: path,
		Headers: []wire.Field{{Name: "x-ms-blob-content-length", Value: strconv.Itoa(pageBlob)}, {Name: "x-ms-blob-type", Value: "PageBlob"}}}
	resp, err := c.Blob.Do(&c.req, nil)
	return expect(resp, err, 201)
}

func (c *Client) createAppend(path string) error {
	c.req = wire.Request{Method: "PUT", Path: path, Headers: []wire.Field{{Name: "x-ms-blob-type", Value: "AppendBlob"}}}
	resp, err := c.Blob.Do(&c.req, nil)
	return expect(resp, err, 201)
}

// pageBlob returns the page blob of a client, and how often each of its pages was written: 0 reads as zeros. The blob is made
// at its first use; pages are only ever touched by their client.
func (c *Client) pageBlob(t *Target) (path string, written []uint16, err error) {
	path = "/" + paged + "/p" + strconv.Itoa(c.Number)
	t.mu.Lock()
	defer t.mu.Unlock()
	written, ok := t.pages[path]
	if !ok {
		written = make([]uint16, pageCount)
		t.pages[path] = written
		err = c.createPage(path)
	}
	return path, written, err
}

// pageContent is what a page holds after its v-th write.
func pageContent(client, page int, v uint16) []byte {
	if v == 0 {
		return zeros[:]
	}
	return content.Slice(uint64(client)<<48|uint64(page)<<16|uint64(v), pageWrite)
}

var zeros [pageWrite]byte

func pageRange(page int) string {
	return fmt.Sprintf("bytes=%d-%d", page*pageWrite, (page+1)*pageWrite-1)
}

func pageWriteClient(t *Target, c *Client) func() error {
	return func() error {
		path, written, err := c.pageBlob(t)
		if err != nil {
			return err
		}
		page := c.rng.IntN(pageCount)
		written[page] = max(written[page]+1, 1)
		c.req = wire.Request{Method: "PUT", Path: path, Query: []wire.Field{{Name: "comp", Value: "page"}},
			Headers: []wire.Field{{Name: "x-ms-page-write", Value: "update"}, {Name: "x-ms-range", Value: pageRange(page)}},
			Body:    pageContent(c.Number, page, written[page])}
		resp, err := c.Blob.Do(&c.req, nil)
		return expect(resp, err, 201)
	}
}

func pageReadClient(t *Target, c *Client) func() error {
	return func() error { return c.readPage(t) }
}

// readPage reads a page at random.
func (c *Client) readPage(t *Target) error {
	path, written, err := c.pageBlob(t)
	if err != nil {
		return err
	}
	page := c.rng.IntN(pageCount)
	c.req = wire.Request{Method: "GET", Path: path, Headers: []wire.Field{{Name: "x-ms-range", Value: pageRange(page)}}}
	if t.Ceiling {
		_, err := c.Blob.Do(&c.req, nil)
		return err
	}
	c.check.Expect(pageContent(c.Number, page, written[page]))
	resp, err := c.Blob.Do(&c.req, &c.check)
	if err = expect(resp, err, 206); err != nil {
		return err
	}
	return c.check.Close()
}

func checkPages(ctx context.Context, t *Target, _ *Turn) error {
	return parallel(ctx, t, samples, func(c *Client, _ uint64) error {
		c.Number = 0
		return c.readPage(t)
	})
}

// appendBlob is an append blob of blocks first, first+1, … as far as it goes.
type appendBlob struct {
	path  string
	first uint64
	n     int
}

// appendClient appends to a blob of its own, and begins another when it is full.
func appendClient(t *Target, c *Client) func() error {
	b := &appendBlob{n: appendMax}
	return func() error {
		if b.n == appendMax {
			first := t.next.Add(appendMax) - appendMax + 1
			b = &appendBlob{path: c.item(appended, first), first: first}
			t.mu.Lock()
			t.appends = append(t.appends, b)
			t.mu.Unlock()
			if err := c.createAppend(b.path); err != nil {
				return err
			}
		}
		c.req = wire.Request{Method: "PUT", Path: b.path, Query: []wire.Field{{Name: "comp", Value: "appendblock"}},
			Body: content.Slice(b.first+uint64(b.n), appendBlock)}
		b.n++
		resp, err := c.Blob.Do(&c.req, nil)
		return expect(resp, err, 201)
	}
}

// checkAppended reads some of the turn's append blobs back whole.
func checkAppended(ctx context.Context, t *Target, _ *Turn) error {
	made := t.appends
	t.appends = nil
	return parallel(ctx, t, min(len(made), 4), func(c *Client, i uint64) error {
		return c.readBlocks(made[i].path, made[i].first, appendBlock, made[i].n)
	})
}
