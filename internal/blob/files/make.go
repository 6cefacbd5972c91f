package files

import (
	"context"
	"fmt"
	"io"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
)

// Content tells of what a blob is put together.
type Content struct {
	Size   int64
	Blocks []Block    // of a block blob, none if it was put in one; of an append blob, none if it does not matter
	Pages  [][2]int64 // of a page blob: first byte, and the one behind the last
	Sealed bool
}

// Block is a committed block, or one that was appended.
type Block struct {
	ID   []byte `json:"id"`
	Size int64  `json:"size"`
}

const (
	maxPages = 4 << 20 // bytes of a write of pages
	maxPut   = 256 << 20
)

// Make makes a blob as the requests would that are for its type, from src: its record has the properties, of which a stored MD5 need not
// be that of the content.
func Make(ctx context.Context, blobs *store.Service, n *store.Creation, c *Content, src io.ReadSeeker) error {
	m := &making{Service: blobs, ctx: ctx, n: n, c: c, src: src}
	switch n.Blob.Type {
	case record.PageBlob:
		return m.pages()
	case record.AppendBlob:
		return m.append()
	}
	return m.blocks()
}

type making struct {
	*store.Service
	ctx context.Context
	n   *store.Creation
	c   *Content
	src io.ReadSeeker
}

// take is an upload of the next bytes.
func (m *making) take(n int64) *store.Upload {
	return &store.Upload{Body: io.LimitReader(m.src, n), Size: n}
}

func (m *making) blocks() error {
	if len(m.c.Blocks) == 0 && m.c.Size <= maxPut {
		md5 := m.n.Blob.MD5
		if _, err := m.Put(m.ctx, m.n, m.take(m.c.Size)); err != nil || m.n.Blob.MD5 == md5 {
			return err
		}
		_, err := m.SetProperties(m.ctx, &m.n.Target, &m.n.Blob.HTTP, md5)
		return err
	}
	blocks := m.c.Blocks
	if len(blocks) == 0 { // it was put in one
		for left := m.c.Size; left > 0; left -= maxPut {
			blocks = append(blocks, Block{fmt.Appendf(nil, "%08d", len(blocks)), min(left, maxPut)})
		}
	}
	var refs []store.BlockRef
	for _, k := range blocks {
		refs = append(refs, store.BlockRef{ID: string(k.ID)})
	}
	twice := make(map[string]bool) // a block may be in the list more than once
	for _, k := range blocks {
		if twice[string(k.ID)] {
			if _, err := io.CopyN(io.Discard, m.src, k.Size); err != nil {
				return err
			}
			continue
		}
		twice[string(k.ID)] = true
		if _, err := m.StageBlock(m.ctx, &m.n.Target, string(k.ID), m.take(k.Size)); err != nil {
			return err
		}
	}
	return m.Commit(m.ctx, m.n, refs)
}

func (m *making) append() error {
	m.n.Blob.Size = 0
	if err := m.CreateEmpty(m.ctx, m.n); err != nil {
		return err
	}
	blocks := m.c.Blocks
	if len(blocks) == 0 {
		for left := m.c.Size; left > 0; left -= maxPut {
			blocks = append(blocks, Block{Size: min(left, maxPut)})
		}
	}
	q := &store.AppendRequest{Target: m.n.Target, Position: -1, MaxSize: -1}
	for _, k := range blocks {
		if _, _, err := m.Append(m.ctx, q, m.take(k.Size)); err != nil {
			return err
		}
	}
	if !m.c.Sealed {
		return nil
	}
	_, err := m.Seal(m.ctx, q)
	return err
}

func (m *making) pages() error {
	if err := m.CreateEmpty(m.ctx, m.n); err != nil {
		return err
	}
	q := &store.PageRequest{Target: m.n.Target, LE: -1, LT: -1, EQ: -1}
	for _, r := range m.c.Pages {
		if _, err := m.src.Seek(r[0], io.SeekStart); err != nil {
			return err
		}
		for at := r[0]; at < r[1]; at += maxPages {
			if _, _, err := m.WritePages(m.ctx, q, at, m.take(min(r[1]-at, maxPages))); err != nil {
				return err
			}
		}
	}
	return nil
}
