package work

import (
	"context"
	"encoding/base64"
	"fmt"
	"strconv"

	"github.com/blobd/blobd/bench/content"
	"github.com/blobd/blobd/bench/wire"
)

// Names of containers end in the size of their blobs: the ceilings know from it what to answer.
func getContainer(size int) string { return "get-" + strconv.Itoa(size) }
func putContainer(size int) string { return "put-" + strconv.Itoa(size) }

const (
	stagedBlocks = 8
	stagedBlock  = 8 << 20 // bytes
	samples      = 32      // blobs that are read back after a turn of writes
	deleted      = "delete-512"
	staged       = "staged"
)

// Small is the work on small blobs.
func Small() Group {
	many := []int{1, 8, 32, 128}
	return Group{Name: "small", Prepare: prepareSmall, Workloads: []Workload{
		put("put 4 KiB", 4<<10, many, 32, "commit", "network"),
		get("get 4 KiB", 4<<10, many, 32, "network"),
		{Name: "head", Clients: []int{1, 32}, Usual: 32, Ceilings: []string{"network"}, Client: headClient},
		put("put 64 KiB", 64<<10, []int{32}, 32, "file", "network"),
		get("get 64 KiB", 64<<10, []int{32}, 32, "network"),
		{Name: "mixed 70/30 4 KiB", Clients: []int{32}, Usual: 32, Bytes: 4 << 10, Ceilings: []string{"commit"}, Client: mixedClient},
		{Name: "delete", Clients: []int{32}, Usual: 32, Ceilings: []string{"commit"}, Before: makeDeletable, Client: deleteClient, After: checkDeleted},
	}}
}

// Large is the work on large blobs.
func Large() Group {
	return Group{Name: "large", Prepare: prepareLarge, Workloads: []Workload{
		put("put 1 MiB", 1<<20, []int{1, 8, 32}, 8, "file", "network"),
		get("get 1 MiB", 1<<20, []int{1, 8, 32}, 8, "network"),
		put("put 32 MiB", 32<<20, []int{1, 4}, 4, "file", "network"),
		get("get 32 MiB", 32<<20, []int{1, 4}, 4, "network"),
		{Name: "staged 64 MiB", Clients: []int{1, 4}, Usual: 4, Bytes: stagedBlocks * stagedBlock, Layouts: true,
			Ceilings: []string{"file-crc"}, Client: stagedClient, After: checkStaged},
	}}
}

func put(name string, size int, clients []int, usual int, ceilings ...string) Workload {
	container := putContainer(size)
	return Workload{Name: name, Clients: clients, Usual: usual, Bytes: size, Ceilings: ceilings, Layouts: size != 64<<10,
		Client: func(t *Target, c *Client) func() error {
			return func() error { return c.put(container, t.next.Add(1), size) }
		},
		After: func(ctx context.Context, t *Target, turn *Turn) error {
			made := turn.last - turn.first
			return parallel(ctx, t, int(min(samples, made)), func(c *Client, i uint64) error {
				err := c.get(container, turn.first+1+i*made/samples%made, size)
				if err != nil {
					return fmt.Errorf("read back: %w", err)
				}
				return nil
			})
		},
	}
}

func get(name string, size int, clients []int, usual int, ceilings ...string) Workload {
	container := getContainer(size)
	return Workload{Name: name, Clients: clients, Usual: usual, Bytes: size, Ceilings: ceilings, Layouts: size != 64<<10,
		Client: func(t *Target, c *Client) func() error {
			n := uint64(t.filled(size))
			return func() error { return c.get(container, c.rng.Uint64N(n), size) }
		}}
}

// filled is the number of blobs of a size that a server is given to read.
func (t *Target) filled(size int) int { return max(4, min(t.Fill.Small, (128<<20)/size)) }

var blockBlob = []wire.Field{{Name: "x-ms-blob-type", Value: "BlockBlob"}}

func (c *Client) put(container string, index uint64, size int) error {
	c.req = wire.Request{Method: "PUT", Path: c.item(container, index), Headers: blockBlob, Body: content.Slice(index, size)}
	resp, err := c.Blob.Do(&c.req, nil)
	return expect(resp, err, 201)
}

func (c *Client) get(container string, index uint64, size int) error {
	c.req = wire.Request{Method: "GET", Path: c.item(container, index)}
	c.check.Expect(content.Slice(index, size))
	resp, err := c.Blob.Do(&c.req, &c.check)
	if err = expect(resp, err, 200); err != nil {
		return err
	}
	return c.check.Close()
}

func headClient(t *Target, c *Client) func() error {
	const size = 4 << 10
	n := uint64(t.filled(size))
	return func() error {
		c.req = wire.Request{Method: "HEAD", Path: c.item(getContainer(size), c.rng.Uint64N(n))}
		resp, err := c.Blob.Do(&c.req, nil)
		if err = expect(resp, err, 200); err != nil {
			return err
		}
		if resp.Length != size {
			return fmt.Errorf("HEAD tells a length of %d instead of %d", resp.Length, size)
		}
		return nil
	}
}

func mixedClient(t *Target, c *Client) func() error {
	const size = 4 << 10
	n := uint64(t.filled(size))
	return func() error {
		if c.rng.IntN(10) < 7 {
			return c.get(getContainer(size), c.rng.Uint64N(n), size)
		}
		return c.put(putContainer(size), t.next.Add(1), size)
	}
}

func makeDeletable(ctx context.Context, t *Target, ops int64) error {
	first := t.next.Load()
	return parallel(ctx, t, int(ops), func(c *Client, i uint64) error { return c.put(deleted, first+1+i, 512) })
}

func deleteClient(t *Target, c *Client) func() error {
	return func() error {
		c.req = wire.Request{Method: "DELETE", Path: c.item(deleted, t.next.Add(1))}
		resp, err := c.Blob.Do(&c.req, nil)
		if t.Ceiling {
			return err
		}
		return expect(resp, err, 202)
	}
}

func checkDeleted(ctx context.Context, t *Target, turn *Turn) error {
	return parallel(ctx, t, int(min(samples, turn.last-turn.first)), func(c *Client, i uint64) error {
		resp, err := c.Blob.Do(&wire.Request{Method: "HEAD", Path: c.item(deleted, turn.first+1+i)}, nil)
		if err = expect(resp, err, 404); err != nil {
			return fmt.Errorf("after a delete: %w", err)
		}
		return nil
	})
}

// blockID is the id of block k: all of one length, as the protocol wants.
func blockID(k int) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "block-%06d", k))
}

func stagedClient(t *Target, c *Client) func() error {
	return func() error {
		index := t.next.Add(1)
		path := c.item(staged, index)
		list := []byte(`<?xml version="1.0" encoding="utf-8"?><BlockList>`)
		for k := range stagedBlocks {
			id := blockID(k)
			c.req = wire.Request{Method: "PUT", Path: path, Query: []wire.Field{{Name: "blockid", Value: id}, {Name: "comp", Value: "block"}},
				Body: content.Slice(index*stagedBlocks+uint64(k), stagedBlock)}
			resp, err := c.Blob.Do(&c.req, nil)
			if err = expect(resp, err, 201); err != nil {
				return err
			}
			list = append(append(append(list, "<Latest>"...), id...), "</Latest>"...)
		}
		c.req = wire.Request{Method: "PUT", Path: path, Query: []wire.Field{{Name: "comp", Value: "blocklist"}}, ContentType: "application/xml",
			Body: append(list, "</BlockList>"...)}
		resp, err := c.Blob.Do(&c.req, nil)
		return expect(resp, err, 201)
	}
}

// blocks checks a blob that is made of several items, one after the other.
type blocks struct {
	check content.Checker
	next  uint64
	left  int // of the present item, in bytes
	size  int
}

func (b *blocks) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		if b.left == 0 {
			b.check.Expect(content.Slice(b.next, b.size))
			b.next, b.left = b.next+1, b.size
		}
		n := min(b.left, len(p)-done)
		if _, err := b.check.Write(p[done : done+n]); err != nil {
			return done, err
		}
		done, b.left = done+n, b.left-n
	}
	return done, nil
}

func checkStaged(ctx context.Context, t *Target, turn *Turn) error {
	return parallel(ctx, t, int(min(2, turn.last-turn.first)), func(c *Client, i uint64) error {
		index := turn.first + 1 + i
		return c.readBlocks(c.item(staged, index), index*stagedBlocks, stagedBlock, stagedBlocks)
	})
}

// readBlocks reads a blob of n items back.
func (c *Client) readBlocks(path string, first uint64, size, n int) error {
	b := &blocks{next: first, size: size}
	resp, err := c.Blob.Do(&wire.Request{Method: "GET", Path: path}, b)
	if err = expect(resp, err, 200); err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if b.left != 0 || b.next != first+uint64(n) {
		return fmt.Errorf("read back %s: it ends after %d of %d blocks", path, b.next-first, n)
	}
	return nil
}

// create makes containers.
func create(t *Target, names ...string) error {
	c := newClient(t, 0, 0)
	defer c.close()
	for _, name := range names {
		resp, err := c.Blob.Do(&wire.Request{Method: "PUT", Path: "/" + name, Query: []wire.Field{{Name: "restype", Value: "container"}}}, nil)
		if err = expect(resp, err, 201); err != nil {
			return fmt.Errorf("create container %s: %w", name, err)
		}
	}
	return nil
}

func prepareSmall(ctx context.Context, t *Target) error {
	sizes := []int{4 << 10, 64 << 10}
	if err := create(t, deleted); err != nil {
		return err
	}
	return fillGets(ctx, t, sizes)
}

func prepareLarge(ctx context.Context, t *Target) error {
	if err := create(t, staged); err != nil {
		return err
	}
	return fillGets(ctx, t, []int{1 << 20, 32 << 20})
}

func fillGets(ctx context.Context, t *Target, sizes []int) error {
	for _, size := range sizes {
		if err := create(t, getContainer(size), putContainer(size)); err != nil {
			return err
		}
		err := parallel(ctx, t, t.filled(size), func(c *Client, i uint64) error { return c.put(getContainer(size), i, size) })
		if err != nil {
			return fmt.Errorf("fill: %w", err)
		}
	}
	return nil
}
