// Package files copies the blobs of an account to plain files and back: of each container a folder with a file for each blob, snapshot and
// version, and beside it container.jsonl, whose first line is the container and each other one a blob, what is past of it before what is
// current.
//
// Left out are uncommitted blocks, which are counted, what is soft-deleted, and leases. Snapshots and versions keep their ids; ETags and
// times of the last change are new where blobs are imported.
package files

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/crc64"
	"github.com/blobd/blobd/internal/protocol"
)

const listEnd = ".jsonl"

// Report counts what was copied, and names what was not.
type Report struct {
	Containers int64    `json:"containers"`
	Blobs      int64    `json:"blobs"`       // current ones
	History    int64    `json:"history"`     // snapshots and versions
	Bytes      int64    `json:"bytes"`       // of all of them
	Blocks     int64    `json:"uncommitted"` // names with uncommitted blocks only, left out
	Failed     int64    `json:"failed"`      // blobs that could not be copied
	Failures   []string `json:"failures,omitempty"`
}

// Options of Export and Import.
type Options struct {
	Blobs    *store.Service
	Account  *account.Account
	Dir      string
	Progress func(bytes int64)
}

// container is the first line of a list.
type container struct {
	Container    string        `json:"container"`
	Public       string        `json:"public,omitempty"` // blob or container
	Metadata     [][2]string   `json:"metadata,omitempty"`
	Policies     []auth.Policy `json:"policies,omitempty"`
	DefaultScope string        `json:"defaultEncryptionScope,omitempty"`
	DenyOverride bool          `json:"denyEncryptionScopeOverride,omitempty"`
}

// blob is a line of a list.
type blob struct {
	Name     string                `json:"name"`
	Snapshot string                `json:"snapshot,omitempty"`         // id, of a snapshot
	Version  string                `json:"versionId,omitempty"`        // of a version, of a blob that is the current one, or of what a snapshot was taken of
	Current  bool                  `json:"isCurrentVersion,omitempty"` // it is that
	File     string                `json:"file"`
	Type     string                `json:"type"`
	Size     int64                 `json:"size"`
	CRC64    string                `json:"crc64"` // of the file's content; of a page blob that of its pages
	Changed  time.Time             `json:"lastModified"`
	HTTP     record.HTTPProperties `json:"http"`
	MD5      []byte                `json:"md5,omitempty"`
	Metadata [][2]string           `json:"metadata,omitempty"`
	Tags     [][2]string           `json:"tags,omitempty"`
	Tier     string                `json:"tier,omitempty"`
	Scope    string                `json:"encryptionScope,omitempty"`
	Blocks   []Block               `json:"blocks,omitempty"`
	Pages    [][2]int64            `json:"pages,omitempty"` // first byte, and the one behind the last
	Sequence int64                 `json:"sequence,omitempty"`
	Sealed   bool                  `json:"sealed,omitempty"`
}

// slot is where a blob of the list was, and which version; an error if there can be no such one.
func (b *blob) slot() (slot record.Slot, version engine.Stamp, err error) {
	parse := func(id string) (stamp engine.Stamp) {
		ok := id == ""
		if !ok {
			stamp, ok = protocol.ParseSnapshotID(id)
		}
		if !ok {
			err = fmt.Errorf("%q is the id of no snapshot or version", id)
		}
		return stamp
	}
	snapshot, version := parse(b.Snapshot), parse(b.Version)
	switch {
	case b.Current && (b.Snapshot != "" || b.Version == ""):
		err = errors.New("it is not the current version of anything")
	case b.Snapshot != "":
		slot = record.Slot{Stamp: snapshot, Kind: record.SlotSnapshot}
	case b.Version != "" && !b.Current:
		slot = record.Slot{Stamp: version, Kind: record.SlotVersion}
	}
	return slot, version, err
}

// selector selects what is in a slot.
func selector(slot record.Slot) (s store.Selector) {
	switch slot.Kind {
	case record.SlotSnapshot:
		s.Snapshot = slot.Stamp
	case record.SlotVersion:
		s.Version = slot.Stamp
	}
	return s
}

func pairs(p []protocol.Pair) (l [][2]string) {
	for _, p := range p {
		l = append(l, [2]string{strings.Clone(p.Name), strings.Clone(p.Value)})
	}
	return l
}

func (o *Options) on(container, name string) store.Target {
	return store.Target{Account: o.Account, Container: container, Name: name, Version: protocol.Newest, Now: record.StampOf(time.Now())}
}

type export struct {
	Options
	ctx  context.Context
	root *os.Root
	rep  *Report
}

// Export copies an account to a directory, which is empty or made. A blob that changes meanwhile is copied as it was before or after.
func Export(ctx context.Context, o Options) (_ *Report, err error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	there, err := os.ReadDir(o.Dir)
	if err != nil {
		return nil, err
	}
	if len(there) > 0 {
		return nil, fmt.Errorf("%s is not empty (it holds %q): name an empty directory", o.Dir, there[0].Name())
	}
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	x := &export{Options: o, ctx: ctx, root: root, rep: &Report{}}
	for from := ""; ; {
		type found struct {
			name string
			c    container
			rec  record.Container
		}
		var page []found
		next, err := o.Blobs.Containers(ctx, &store.ContainersQuery{Account: o.Account.Name, From: from, Limit: 100, Now: record.StampOf(time.Now())}, func(name string, c *record.Container) bool {
			f := found{name: strings.Clone(name), rec: *c}
			f.c = container{Container: f.name, Metadata: pairs(c.Metadata), DefaultScope: strings.Clone(c.DefaultScope), DenyOverride: c.DenyScopeOverride}
			switch c.Public {
			case auth.PublicBlob:
				f.c.Public = "blob"
			case auth.PublicContainer:
				f.c.Public = "container"
			}
			for _, p := range c.Policies {
				f.c.Policies = append(f.c.Policies, auth.Policy{ID: strings.Clone(p.ID), Start: strings.Clone(p.Start), Expiry: strings.Clone(p.Expiry),
					Permission: strings.Clone(p.Permission), HasPermission: p.HasPermission})
			}
			page = append(page, f)
			return false
		})
		if err != nil {
			return nil, err
		}
		for _, f := range page {
			if err := x.container(f.c, &f.rec); err != nil {
				return nil, fmt.Errorf("container %s: %w", f.name, err)
			}
		}
		if from = next; from == "" {
			return x.rep, nil
		}
	}
}

// container copies one container. Its list gets its name when all is in it.
func (x *export) container(c container, rec *record.Container) error {
	if err := x.root.Mkdir(c.Container, 0o700); err != nil {
		return err
	}
	list, err := x.root.Create(c.Container + listEnd + ".tmp")
	if err != nil {
		return err
	}
	w := bufio.NewWriter(list)
	lines := json.NewEncoder(w)
	err = lines.Encode(c)
	for marker := ""; err == nil; {
		var page names
		var next []byte
		next, err = x.Blobs.List(x.ctx, rec, &store.ListRequest{Marker: marker, Max: 1000, Now: record.StampOf(time.Now()),
			Include: store.IncludeSnapshots | store.IncludeVersions | store.IncludeUncommitted}, &page)
		x.rep.Blocks += page.uncommitted
		for _, e := range page.entries {
			if err != nil {
				break
			}
			var b *blob
			if b, err = x.blob(c.Container, e.name, e.slot); err == nil && b != nil {
				err = lines.Encode(b)
			}
		}
		if marker = string(next); marker == "" {
			break
		}
	}
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = list.Sync()
	}
	if err = errors.Join(err, list.Close()); err != nil {
		return err
	}
	x.rep.Containers++
	return x.root.Rename(c.Container+listEnd+".tmp", c.Container+listEnd)
}

// names takes the names of a page of a listing, and what of each.
type names struct {
	entries     []entry
	uncommitted int64
}

type entry struct {
	name string
	slot record.Slot
}

// Blob implements store.Listing.
func (n *names) Blob(name string, e *store.Entry) {
	if e.Uncommitted {
		n.uncommitted++
		return
	}
	n.entries = append(n.entries, entry{strings.Clone(name), e.Slot})
}

// Prefix implements store.Listing.
func (n *names) Prefix(string) {}

// Full implements store.Listing.
func (n *names) Full() bool { return false }

// errChanged: a blob changed while it was looked at.
var errChanged = errors.New("it changes all the time")

// blob copies a blob, nil if that cannot be done or it is gone.
func (x *export) blob(container, name string, slot record.Slot) (b *blob, err error) {
	for range 10 {
		if b, err = x.tryBlob(container, name, slot); !errors.Is(err, errChanged) {
			break
		}
	}
	if errors.Is(err, protocol.ErrBlobNotFound) {
		return nil, nil
	}
	var refused *protocol.Error
	if errors.As(err, &refused) || errors.Is(err, errChanged) || errors.Is(err, errContent) {
		x.rep.Failed++
		if len(x.rep.Failures) < 1000 {
			x.rep.Failures = append(x.rep.Failures, fmt.Sprintf("%s/%s%s: %v", container, name, words(slot), err))
		}
		return nil, nil
	}
	if err == nil {
		x.rep.count(slot, b.Size)
	}
	return b, err
}

func (r *Report) count(slot record.Slot, size int64) {
	if slot.Kind == record.SlotCurrent {
		r.Blobs++
	} else {
		r.History++
	}
	r.Bytes += size
}

// words tells what of a blob is meant.
func words(slot record.Slot) string {
	switch slot.Kind {
	case record.SlotSnapshot:
		return " snapshot " + protocol.SnapshotID(slot.Stamp)
	case record.SlotVersion:
		return " version " + protocol.SnapshotID(slot.Stamp)
	}
	return ""
}

// errContent: content cannot be read.
var errContent = errors.New("its content cannot be read")

func (x *export) tryBlob(container, name string, slot record.Slot) (_ *blob, err error) {
	at, which := x.on(container, name), selector(slot)
	rd, err := x.Blobs.Open(x.ctx, &store.ReadRequest{Target: at, Slot: which})
	if err != nil {
		return nil, err
	}
	defer func() {
		if rd.Body != nil {
			_ = rd.Body.Close() // it was read only
		}
	}()
	rec := rd.Blob
	tier, inferred := rec.Tier.Effective(rec.Type)
	b := &blob{Name: name, Type: rec.Type.String(), Size: rec.Size, Changed: rec.Changed.Time(), HTTP: rec.HTTP, MD5: []byte(rec.MD5), Metadata: pairs(rec.Metadata), Tags: pairs(rec.Tags),
		Scope: rec.EncryptionScope, Sequence: rec.Sequence, Sealed: rec.Sealed}
	if !inferred {
		b.Tier = tier.String()
	}
	if rec.Version != 0 {
		b.Version, b.Current = protocol.SnapshotID(rec.Version), slot.Kind == record.SlotCurrent
	}
	if slot.Kind == record.SlotSnapshot {
		b.Snapshot = protocol.SnapshotID(slot.Stamp)
	}
	switch rec.Type {
	case record.PageBlob:
		after, _, err := x.Blobs.PageRanges(x.ctx, &store.PageQuery{Target: at, Slot: which, Limit: math.MaxInt}, func(from, to int64, _ bool) { b.Pages = append(b.Pages, [2]int64{from, to}) })
		if err != nil {
			return nil, err
		}
		if after.Changed != rec.Changed {
			return nil, errChanged
		}
	case record.BlockBlob:
		list, err := x.Blobs.BlockList(x.ctx, &at, which, true, false)
		if err != nil {
			return nil, err
		}
		if list.Blob == nil || list.Blob.Changed != rec.Changed {
			return nil, errChanged
		}
		for _, k := range list.Committed {
			b.Blocks = append(b.Blocks, Block{[]byte(k.ID), k.Size})
		}
	}
	f, file, err := create(x.root, container, place(name, slot))
	if err != nil {
		return nil, err
	}
	b.File = file
	sum := uint64(0)
	if rec.Type == record.PageBlob {
		sum, err = x.pages(f, at, which, b)
	} else {
		sum, err = x.stream(f, rd)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, errors.Join(err, x.root.Remove(file))
	}
	b.CRC64 = fmt.Sprintf("%016x", sum)
	return b, nil
}

// stream copies what is to be read, and sums it up.
func (x *export) stream(to io.Writer, rd *store.Reading) (sum uint64, err error) {
	if rd.Body == nil {
		_, err = to.Write(rd.Inline)
		return crc64.Sum(rd.Inline), err
	}
	buf := make([]byte, 1<<20)
	for {
		n, rerr := rd.Body.Read(buf)
		sum = crc64.Update(sum, buf[:n])
		if _, err := to.Write(buf[:n]); err != nil {
			return 0, err
		}
		x.Progress(int64(n))
		if errors.Is(rerr, io.EOF) {
			return sum, nil
		}
		if rerr != nil {
			return 0, errors.Join(x.ctx.Err(), fmt.Errorf("%w: %w", errContent, rerr))
		}
	}
}

// pages copies the written pages of a blob; the rest of the file is a hole.
func (x *export) pages(f *os.File, at store.Target, which store.Selector, b *blob) (sum uint64, err error) {
	if err := f.Truncate(b.Size); err != nil {
		return 0, err
	}
	for _, r := range b.Pages {
		rd, err := x.Blobs.Open(x.ctx, &store.ReadRequest{Target: at, Slot: which, Ranged: true, Range: protocol.Range{First: r[0], Last: r[1] - 1}})
		if err != nil {
			return 0, err
		}
		if !rd.Blob.Changed.Time().Equal(b.Changed) {
			err = errChanged
		}
		var part uint64
		if err == nil {
			part, err = x.stream(io.NewOffsetWriter(f, r[0]), rd)
		}
		if rd.Body != nil {
			err = errors.Join(err, rd.Body.Close())
		}
		if err != nil {
			return 0, err
		}
		sum = crc64.Combine(sum, part, r[1]-r[0])
	}
	return sum, nil
}
