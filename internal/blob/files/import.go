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
	entries, err := os.ReadDir(o.Dir) // first, as it waits for nobody at a named pipe
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	x := &importing{Options: o, ctx: ctx, root: root, rep: &Report{}}
	plain := *o.Account // what puts a blob together makes no versions
	plain.Versioning = false
	x.Account = &plain
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
	metadata, err := MetadataOf(c.Metadata)
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

// MetadataOf holds what a line says to the rules of a request.
func MetadataOf(l [][2]string) ([]protocol.Pair, error) {
	var m protocol.Metadata
	for _, p := range l {
		if err := m.Add(p[0], p[1]); err != nil {
			return nil, fmt.Errorf("metadata %q: %w", p[0], err)
		}
	}
	return m.Pairs, nil
}

// TagsOf does so with tags.
func TagsOf(l [][2]string) ([]protocol.Pair, error) {
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
	metadata, err := MetadataOf(b.Metadata)
	if err != nil {
		return err
	}
	tags, err := TagsOf(b.Tags)
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
	rec.Size, rec.Sequence = b.Size, b.Sequence
	n := &store.Creation{Target: at, Blob: rec, Scope: store.Scope{Named: b.Scope}}
	err = Make(x.ctx, x.Blobs, n, &Content{Size: b.Size, Blocks: b.Blocks, Pages: b.Pages, Sealed: b.Sealed}, src)
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
