package files

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/blob/tagquery"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/crc64"
	"github.com/blobd/blobd/internal/protocol"
)

type importing struct {
	Options
	ctx  context.Context
	root *os.Root
	rep  *Report
	made []string // containers
}

// Import makes the containers and blobs that Export has written, of which there may be none. Containers that are there are refused, before
// anything is made; where it fails later, the containers that it made are deleted.
func Import(ctx context.Context, o Options) (_ *Report, err error) {
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	x := &importing{Options: o, ctx: ctx, root: root, rep: &Report{}}
	plain := *o.Account // what puts a blob together makes no versions
	plain.Versioning = false
	x.Account = &plain
	entries, err := os.ReadDir(o.Dir)
	if err != nil {
		return nil, err
	}
	var lists []string
	for _, e := range entries {
		switch name := e.Name(); {
		case strings.HasSuffix(name, listEnd+".tmp"):
			return nil, fmt.Errorf("%s: the export did not come to its end: export again", name)
		case strings.HasSuffix(name, listEnd):
			lists = append(lists, name)
			at := o.on(strings.TrimSuffix(name, listEnd), "")
			if _, err := o.Blobs.Container(ctx, &at); !errors.Is(err, protocol.ErrContainerNotFound) {
				return nil, errors.Join(err, fmt.Errorf("the account has a container %s already: nothing is imported", at.Container))
			}
		}
	}
	for _, name := range lists {
		if err := x.container(name); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", name, err), x.undo())
		}
	}
	return x.rep, nil
}

// undo deletes what was made, so that a second try finds the account as the first did; also when the first ended because ctx did.
func (x *importing) undo() error {
	for _, name := range x.made {
		at := x.on(name, "")
		if err := x.Blobs.DeleteContainer(context.WithoutCancel(x.ctx), &at); err != nil && !errors.Is(err, protocol.ErrContainerNotFound) {
			return fmt.Errorf("container %s, which was begun, is not deleted: %w", name, err)
		}
	}
	return nil
}

func (x *importing) container(list string) (err error) {
	f, err := x.open(list)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	lines := json.NewDecoder(bufio.NewReader(f))
	var c container
	if err := lines.Decode(&c); err != nil {
		return fmt.Errorf("its first line: %w", err)
	}
	if c.Container != strings.TrimSuffix(list, listEnd) {
		return fmt.Errorf("it is of container %q", c.Container)
	}
	metadata, err := metadataOf(c.Metadata)
	if err != nil {
		return err
	}
	rec := &record.Container{Metadata: metadata, Policies: c.Policies, DefaultScope: c.DefaultScope, DenyScopeOverride: c.DenyOverride}
	switch c.Public {
	case "blob":
		rec.Public = auth.PublicBlob
	case "container":
		rec.Public = auth.PublicContainer
	}
	if err := x.Blobs.CreateContainer(x.ctx, x.Account.Name, c.Container, rec); err != nil {
		return err
	}
	x.made = append(x.made, c.Container)
	x.rep.Containers++
	for {
		var b blob
		if err := lines.Decode(&b); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		slot, version, err := b.slot()
		if err == nil {
			err = x.blob(c.Container, &b, slot, version)
		}
		if errors.Is(err, protocol.ErrUnauthorizedBlobOverwrite) || errors.Is(err, protocol.ErrBlobAlreadyExists) {
			err = errors.New("the list has it twice, or what is past of it behind what is current")
		}
		if err != nil {
			return fmt.Errorf("blob %q%s: %w", b.Name, words(slot), err)
		}
		x.rep.count(slot, b.Size)
	}
}

// open opens a regular file. Another kind, as a named pipe, could keep whoever opens it waiting for ever.
func (x *importing) open(name string) (*os.File, error) {
	info, err := x.root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	return x.root.Open(name)
}

// metadataOf holds what a line says to the rules of a request.
func metadataOf(l [][2]string) ([]protocol.Pair, error) {
	var m protocol.Metadata
	for _, p := range l {
		if err := m.Add(p[0], p[1]); err != nil {
			return nil, fmt.Errorf("metadata %q: %w", p[0], err)
		}
	}
	return m.Pairs, nil
}

// tagsOf does so with tags.
func tagsOf(l [][2]string) ([]protocol.Pair, error) {
	if len(l) == 0 {
		return nil, nil
	}
	var header []string
	for _, p := range l {
		header = append(header, url.QueryEscape(p[0])+"="+url.QueryEscape(p[1]))
	}
	tags, err := tagquery.ParseHeader(strings.Join(header, "&"))
	if err != nil {
		return nil, fmt.Errorf("tags: %w", err)
	}
	return tags, nil
}

// source is the file of a blob, summed up as it is read.
type source struct {
	*os.File
	sum  uint64
	read func(int64)
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.File.Read(p)
	s.sum = crc64.Update(s.sum, p[:n])
	s.read(int64(n))
	return n, err
}

// take is an upload of the next bytes of the file.
func (s *source) take(n int64) *store.Upload {
	return &store.Upload{Body: io.LimitReader(s, n), Size: n}
}

const (
	maxPages = 4 << 20 // bytes of a write of pages
	maxPut   = 256 << 20
)

func (x *importing) blob(container string, b *blob, slot record.Slot, version engine.Stamp) (err error) {
	if !fs.ValidPath(b.File) || !strings.HasPrefix(b.File, container+"/") {
		return fmt.Errorf("its file %q is not in the container's folder", b.File)
	}
	file, err := x.open(b.File)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if info, err := file.Stat(); err != nil || info.Size() != b.Size {
		return errors.Join(err, fmt.Errorf("%s has not the %d bytes that its line says", b.File, b.Size))
	}
	metadata, err := metadataOf(b.Metadata)
	if err != nil {
		return err
	}
	tags, err := tagsOf(b.Tags)
	if err != nil {
		return err
	}
	src := &source{File: file, read: x.Progress}
	at := x.on(container, b.Name)
	at.CreateOnly = true
	rec := &record.Blob{HTTP: b.HTTP, MD5: string(b.MD5), Metadata: metadata, Tags: tags}
	for _, t := range []record.Type{record.BlockBlob, record.PageBlob, record.AppendBlob} {
		if t.String() == b.Type {
			rec.Type = t
		}
	}
	if rec.Type == 0 {
		return fmt.Errorf("its type is %q", b.Type)
	}
	if b.Tier != "" {
		if rec.Tier.Tier, err = record.ParseTier(b.Tier, rec.Type, protocol.Newest); err != nil {
			return err
		}
		rec.Tier.Changed = at.Now
	}
	n := &store.Creation{Target: at, Blob: rec, Scope: store.Scope{Named: b.Scope}}
	switch rec.Type {
	case record.PageBlob:
		err = x.pages(n, b, src)
	case record.AppendBlob:
		err = x.append(n, b, src)
	default:
		err = x.blocks(n, b, src)
	}
	if err == nil && fmt.Sprintf("%016x", src.sum) != b.CRC64 {
		return fmt.Errorf("%s is not of the sum that its line says", b.File)
	}
	switch {
	case err != nil:
		return err
	case slot.Kind != record.SlotCurrent:
		return x.Blobs.Keep(x.ctx, &at, slot, version)
	case version != 0:
		return x.Blobs.SetVersion(x.ctx, &at, version)
	}
	return nil
}

func (x *importing) blocks(n *store.Creation, b *blob, src *source) error {
	if len(b.Blocks) == 0 && b.Size <= maxPut {
		md5 := n.Blob.MD5
		if _, err := x.Blobs.Put(x.ctx, n, src.take(b.Size)); err != nil || n.Blob.MD5 == md5 {
			return err
		}
		_, err := x.Blobs.SetProperties(x.ctx, &n.Target, &b.HTTP, md5)
		return err
	}
	blocks := b.Blocks
	if len(blocks) == 0 { // it was put in one
		for left := b.Size; left > 0; left -= maxPut {
			blocks = append(blocks, block{fmt.Appendf(nil, "%08d", len(blocks)), min(left, maxPut)})
		}
	}
	var refs []store.BlockRef
	for _, k := range blocks {
		refs = append(refs, store.BlockRef{ID: string(k.ID)})
	}
	twice := make(map[string]bool) // a block may be in the list more than once
	for _, k := range blocks {
		if twice[string(k.ID)] {
			if _, err := io.CopyN(io.Discard, src, k.Size); err != nil {
				return err
			}
			continue
		}
		twice[string(k.ID)] = true
		if _, err := x.Blobs.StageBlock(x.ctx, &n.Target, string(k.ID), src.take(k.Size)); err != nil {
			return err
		}
	}
	return x.Blobs.Commit(x.ctx, n, refs)
}

func (x *importing) append(n *store.Creation, b *blob, src *source) error {
	if err := x.Blobs.CreateEmpty(x.ctx, n); err != nil {
		return err
	}
	q := &store.AppendRequest{Target: n.Target, Position: -1, MaxSize: -1}
	for left := b.Size; left > 0; left -= min(left, maxPut) {
		if _, _, err := x.Blobs.Append(x.ctx, q, src.take(min(left, maxPut))); err != nil {
			return err
		}
	}
	if !b.Sealed {
		return nil
	}
	_, err := x.Blobs.Seal(x.ctx, q)
	return err
}

func (x *importing) pages(n *store.Creation, b *blob, src *source) error {
	n.Blob.Size, n.Blob.Sequence = b.Size, b.Sequence
	if err := x.Blobs.CreateEmpty(x.ctx, n); err != nil {
		return err
	}
	q := &store.PageRequest{Target: n.Target, LE: -1, LT: -1, EQ: -1}
	for _, r := range b.Pages {
		if _, err := src.Seek(r[0], io.SeekStart); err != nil {
			return err
		}
		for at := r[0]; at < r[1]; at += maxPages {
			if _, _, err := x.Blobs.WritePages(x.ctx, q, at, src.take(min(r[1]-at, maxPages))); err != nil {
				return err
			}
		}
	}
	return nil
}
