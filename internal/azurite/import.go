package azurite

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/files"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/table"
)

// Options of Import.
type Options struct {
	Blobs    *store.Service
	Tables   *table.Service
	Lookup   func(name string) *account.Account // nil if there is none
	Dir      string
	From     string // account in the folder; empty if there is one only
	To       string // account to import into; empty for one of the same name
	DryRun   bool   // look, and make nothing
	Progress func(bytes int64)
}

// Report counts what was imported, or would be, and names what was not.
type Report struct {
	From       string   `json:"from"`
	To         string   `json:"to"`
	Containers int64    `json:"containers"`
	Blobs      int64    `json:"blobs"`
	Snapshots  int64    `json:"snapshots"`
	Bytes      int64    `json:"bytes"`
	Tables     int64    `json:"tables"`
	Entities   int64    `json:"entities"`
	Blocks     int64    `json:"uncommitted"` // uncommitted blocks, which are left out
	Failed     int64    `json:"failed"`      // what could not be imported
	Failures   []string `json:"failures,omitempty"`
}

// maxFailures is how many failures are named.
const maxFailures = 1000

type importing struct {
	Options
	ctx     context.Context
	f       *folder
	account *account.Account
	rep     *Report

	containers []container
	blobs      map[[2]string][]*blob // by container and name
	tables     []tableRecord

	madeContainers, madeTables []string
}

// Import makes what an account in a folder of Azurite has in an account. Containers and tables that are there are refused, before anything is
// made; where it fails later, those that it made are deleted. What an operation refuses by itself, and content that is not in the folder,
// is left out and told.
func Import(ctx context.Context, o Options) (_ *Report, err error) {
	f, err := openFolder(o.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.root.Close()) }()
	x := &importing{Options: o, ctx: ctx, f: f, rep: &Report{}, blobs: make(map[[2]string][]*blob)}
	if err := x.chooseAccount(); err != nil {
		return nil, err
	}
	if err := x.look(); err != nil {
		return nil, err
	}
	if err := x.refuse(); err != nil {
		return nil, err
	}
	if err := x.make(); err != nil {
		return nil, errors.Join(err, x.undo())
	}
	return x.rep, nil
}

// chooseAccount finds the account that is meant in the folder, and the one of ours.
func (x *importing) chooseAccount() error {
	there := make(map[string]bool)
	note := func(collection string, text json.RawMessage) error {
		var name struct{ AccountName, Account string }
		switch collection {
		case containersCollection, tablesCollection:
			if err := json.Unmarshal(text, &name); err != nil {
				return err
			}
			there[cmp.Or(name.AccountName, name.Account)] = true
		}
		return nil
	}
	if err := errors.Join(x.f.each(blobFile, note), x.f.each(tableFile, note)); err != nil {
		return err
	}
	all := slices.Sorted(maps.Keys(there))
	switch {
	case len(all) == 0:
		return fmt.Errorf("%s holds neither containers nor tables", x.Dir)
	case x.From == "" && len(all) > 1:
		return fmt.Errorf("%s holds the accounts %s: say which one (--from)", x.Dir, strings.Join(all, ", "))
	case x.From == "":
		x.From = all[0]
	case !there[x.From]:
		return fmt.Errorf("%s holds nothing of an account %s, but of %s", x.Dir, x.From, strings.Join(all, ", "))
	}
	x.To = cmp.Or(x.To, x.From)
	if x.account = x.Lookup(x.To); x.account == nil {
		return fmt.Errorf("there is no account %s: name another (--to), or serve it", x.To)
	}
	plain := *x.account // what puts a blob together makes no versions
	plain.Versioning = false
	x.account = &plain
	x.rep.From, x.rep.To = x.From, x.To
	return nil
}

// look reads what there is, but for the entities.
func (x *importing) look() error {
	err := x.f.each(blobFile, func(collection string, text json.RawMessage) error {
		switch collection {
		case containersCollection:
			var c container
			if err := json.Unmarshal(text, &c); err != nil {
				return err
			}
			if c.Account == x.From {
				x.containers = append(x.containers, c)
			}
		case blobsCollection:
			var b blob
			if err := json.Unmarshal(text, &b); err != nil {
				return err
			}
			if b.Account == x.From && b.Committed && !b.Deleted {
				at := [2]string{b.Container, b.Name}
				x.blobs[at] = append(x.blobs[at], &b)
			}
		case blocksCollection:
			var b block
			if err := json.Unmarshal(text, &b); err != nil {
				return err
			}
			if b.Account == x.From {
				x.rep.Blocks++
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return x.f.each(tableFile, func(collection string, text json.RawMessage) error {
		var t tableRecord
		if collection != tablesCollection {
			return nil
		}
		if err := json.Unmarshal(text, &t); err != nil {
			return err
		}
		if t.Account == x.From {
			x.tables = append(x.tables, t)
		}
		return nil
	})
}

// refuse looks whether anything is in the way.
func (x *importing) refuse() error {
	for _, c := range x.containers {
		at := x.on(c.Name, "")
		if _, err := x.Blobs.Container(x.ctx, &at); err == nil {
			return fmt.Errorf("the account %s has a container %s: delete it, or import into another account", x.To, c.Name)
		} else if !errors.Is(err, protocol.ErrContainerNotFound) {
			return err
		}
	}
	for _, t := range x.tables {
		if _, err := x.Tables.Policies(x.ctx, x.To, t.Name); err == nil {
			return fmt.Errorf("the account %s has a table %s: delete it, or import into another account", x.To, t.Name)
		} else if !errors.Is(err, protocol.ErrTableNotFound) {
			return err
		}
	}
	return nil
}

func (x *importing) on(container, name string) store.Target {
	return store.Target{Account: x.account, Container: container, Name: name, Version: protocol.Newest, Now: record.StampOf(time.Now())}
}

// failed notes what an operation refuses, and content that is not there. It returns every other error.
func (x *importing) failed(what string, err error) error {
	if !errors.Is(err, errContent) && !refusal(err) || x.ctx.Err() != nil {
		return err
	}
	x.rep.Failed++
	if len(x.rep.Failures) < maxFailures {
		x.rep.Failures = append(x.rep.Failures, fmt.Sprintf("%s: %v", what, err))
	}
	return nil
}

// refusal tells that an operation does not take what it is given.
func refusal(err error) bool {
	var refused *protocol.Error
	return errors.As(err, &refused) && refused.Status < 500
}

// errContent: the folder does not have what a record says.
var errContent = errors.New("it cannot be read from the folder")

func (x *importing) make() error {
	for _, c := range x.containers {
		err := x.container(&c)
		if err != nil {
			err = x.failed("container "+c.Name, err)
		} else {
			x.rep.Containers++
		}
		if err != nil {
			return fmt.Errorf("container %s: %w", c.Name, err)
		}
	}
	made := make(map[string]bool)
	for _, name := range x.madeContainers {
		made[name] = true
	}
	names := slices.SortedFunc(maps.Keys(x.blobs), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	for _, at := range names {
		if !made[at[0]] {
			continue // its container has failed
		}
		if err := x.name(x.blobs[at]); err != nil {
			return fmt.Errorf("blob %s/%s: %w", at[0], at[1], err)
		}
	}
	return x.makeTables()
}

// undo deletes what was made, also when it was ctx that ended it.
func (x *importing) undo() error {
	if x.DryRun {
		return nil
	}
	ctx := context.WithoutCancel(x.ctx)
	for _, name := range x.madeContainers {
		at := x.on(name, "")
		if err := x.Blobs.DeleteContainer(ctx, &at); err != nil && !errors.Is(err, protocol.ErrContainerNotFound) {
			return fmt.Errorf("container %s, which was begun, is not deleted: %w", name, err)
		}
	}
	for _, name := range x.madeTables {
		if err := x.Tables.DeleteTable(ctx, x.To, name); err != nil && !errors.Is(err, protocol.ErrTableNotFound) {
			return fmt.Errorf("table %s, which was begun, is not deleted: %w", name, err)
		}
	}
	return nil
}

func policies(list []policy) (all []auth.Policy) {
	for _, p := range list {
		a := auth.Policy{ID: p.ID, Start: p.Access.Start, Expiry: p.Access.Expiry}
		if p.Access.Permission != nil {
			a.Permission, a.HasPermission = *p.Access.Permission, true
		}
		all = append(all, a)
	}
	return all
}

func pairs(m map[string]string) (l [][2]string) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		l = append(l, [2]string{name, m[name]})
	}
	return l
}

func (x *importing) container(c *container) error {
	metadata, err := files.MetadataOf(pairs(c.Metadata))
	if err != nil {
		return err
	}
	rec := &record.Container{Metadata: metadata, Policies: policies(c.Policies)}
	switch c.Properties.Public {
	case "blob":
		rec.Public = auth.PublicBlob
	case "container":
		rec.Public = auth.PublicContainer
	}
	if !x.DryRun {
		if err := x.Blobs.CreateContainer(x.ctx, x.To, c.Name, rec); err != nil {
			return err
		}
	}
	x.madeContainers = append(x.madeContainers, c.Name)
	return nil
}

// name makes the states of a blob, the oldest first: each is made the current one, and those that are snapshots are then kept as such.
func (x *importing) name(states []*blob) error {
	slices.SortFunc(states, func(a, b *blob) int {
		if a.Snapshot == "" || b.Snapshot == "" {
			return strings.Compare(b.Snapshot, a.Snapshot)
		}
		return strings.Compare(a.Snapshot, b.Snapshot)
	})
	current := states[len(states)-1]
	_, _, _, lacking := x.prepare(current)
	if current.Snapshot != "" {
		lacking = fmt.Errorf("%w: the blob that it is a snapshot of is not there", errContent)
	}
	for _, b := range states {
		what := "blob " + b.Container + "/" + b.Name
		if b.Snapshot != "" {
			what += ", snapshot of " + b.Snapshot
		}
		err := lacking // no snapshot is without its blob
		if err == nil {
			err = x.state(b)
		}
		if err == nil {
			if b.Snapshot != "" {
				x.rep.Snapshots++
			} else {
				x.rep.Blobs++
			}
			continue
		}
		if b == current && lacking == nil {
			return err
		}
		if err := x.failed(what, err); err != nil {
			return err
		}
	}
	return nil
}

// prepare tells what is to be made of a blob.
func (x *importing) prepare(b *blob) (*record.Blob, *files.Content, []span, error) {
	rec, err := x.record(b)
	if err != nil {
		return nil, nil, nil, err
	}
	c, spans, err := x.content(b, rec.Type)
	return rec, c, spans, err
}

func (x *importing) state(b *blob) (err error) {
	rec, c, spans, err := x.prepare(b)
	if err != nil {
		return err
	}
	var slot record.Slot
	if b.Snapshot != "" {
		id, ok := protocol.ParseSnapshotID(b.Snapshot)
		if !ok {
			return fmt.Errorf("%w: its id is that of no snapshot", errContent)
		}
		slot = record.Slot{Stamp: id, Kind: record.SlotSnapshot}
	}
	x.rep.Bytes += c.Size
	if x.DryRun {
		return nil
	}
	at := x.on(b.Container, b.Name)
	at.CreateOnly = true
	src := &reader{f: x.f, spans: spans, progress: x.Progress}
	defer func() { err = errors.Join(err, src.Close()) }()
	err = files.Make(x.ctx, x.Blobs, &store.Creation{Target: at, Blob: rec}, c, src)
	if err == nil && b.Snapshot != "" {
		err = x.Blobs.Keep(x.ctx, &at, slot, 0)
	}
	return err
}

// record is what there is of a blob besides its content.
func (x *importing) record(b *blob) (*record.Blob, error) {
	metadata, err := files.MetadataOf(pairs(b.Metadata))
	if err != nil {
		return nil, err
	}
	var tags [][2]string
	for _, t := range b.Tags.Set {
		tags = append(tags, [2]string{t.Key, t.Value})
	}
	p := &b.Properties
	rec := &record.Blob{Metadata: metadata, MD5: string(p.MD5), Size: p.Size, Sequence: p.Sequence, HTTP: record.HTTPProperties{ContentType: p.ContentType,
		ContentEncoding: p.Encoding, ContentLanguage: p.Language, ContentDisposition: p.Disposition, CacheControl: p.CacheControl}}
	if rec.Tags, err = files.TagsOf(tags); err != nil {
		return nil, err
	}
	for _, t := range []record.Type{record.BlockBlob, record.PageBlob, record.AppendBlob} {
		if t.String() == p.Type {
			rec.Type = t
		}
	}
	if rec.Type == 0 {
		return nil, fmt.Errorf("%w: its type is %q", errContent, p.Type)
	}
	if p.Tier != "" && !p.TierInferred {
		if rec.Tier.Tier, err = record.ParseTier(p.Tier, rec.Type, protocol.Newest); err != nil {
			return nil, err
		}
		rec.Tier.Changed = record.StampOf(time.Now())
	}
	return rec, nil
}

// content tells how a blob is put together, and where its bytes are.
func (x *importing) content(b *blob, kind record.Type) (*files.Content, []span, error) {
	c := &files.Content{Size: b.Properties.Size, Sealed: b.Properties.Sealed}
	var spans []span
	var wrong error
	add := func(from, size int64, p *piece) {
		switch {
		case p == nil && size == 0:
			return
		case p == nil || p.Count < size:
			wrong = errors.Join(wrong, fmt.Errorf("%d bytes from %d on are nowhere", size, from))
			return
		}
		s := span{from, *p}
		s.Count = size
		wrong = errors.Join(wrong, x.f.whole(&s.piece))
		spans = append(spans, s)
	}
	if kind == record.PageBlob {
		for _, r := range b.Pages {
			add(r.Start, r.End+1-r.Start, r.Content)
			c.Pages = append(c.Pages, [2]int64{r.Start, r.End + 1})
		}
	} else {
		at := int64(0)
		for _, k := range b.Blocks {
			add(at, k.Size, k.Content)
			at += k.Size
		}
		if len(b.Blocks) == 0 {
			add(0, c.Size, b.Content)
			at = c.Size
		} else {
			c.Blocks = blocks(b.Blocks)
		}
		if at != c.Size {
			wrong = errors.Join(wrong, fmt.Errorf("its blocks are of %d bytes together, and it of %d", at, c.Size))
		}
	}
	if wrong != nil {
		return nil, nil, fmt.Errorf("%w: %w", errContent, wrong)
	}
	return c, spans, nil
}

// blocks are a list's blocks with their ids, or with others where theirs could not be put again: where they are of several lengths, or two
// blocks have the same.
func blocks(list []block) (all []files.Block) {
	places := make(map[string]*piece)
	for _, k := range list {
		id, err := base64.StdEncoding.DecodeString(k.Name)
		before := places[k.Name]
		if err != nil || len(id) == 0 || len(all) > 0 && len(id) != len(all[0].ID) || before != nil && (k.Content == nil || *before != *k.Content) {
			break
		}
		places[k.Name] = k.Content
		all = append(all, files.Block{ID: id, Size: k.Size})
	}
	if len(all) == len(list) {
		return all
	}
	all = all[:0]
	for i, k := range list {
		all = append(all, files.Block{ID: fmt.Appendf(nil, "%08d", i), Size: k.Size})
	}
	return all
}

func (x *importing) makeTables() error {
	for _, t := range x.tables {
		err := x.table(&t)
		if err != nil {
			err = x.failed("table "+t.Name, err)
		} else {
			x.rep.Tables++
		}
		if err != nil {
			return fmt.Errorf("table %s: %w", t.Name, err)
		}
	}
	collections := make(map[string]string) // table of each
	for _, name := range x.madeTables {
		collections[x.From+"$"+name] = name
	}
	var waiting []entity
	into := ""
	flush := func() error {
		all := waiting
		waiting = waiting[:0]
		return x.entities(into, all)
	}
	err := x.f.each(tableFile, func(collection string, text json.RawMessage) error {
		name, ok := collections[collection]
		if !ok {
			return nil
		}
		if name != into || len(waiting) == maxWaiting {
			if err := flush(); err != nil {
				return err
			}
			into = name
		}
		var e entity
		if err := json.Unmarshal(text, &e); err != nil {
			return err
		}
		waiting = append(waiting, e)
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}

// maxWaiting is how many entities are inserted together at most.
const maxWaiting = 1000

// entities inserts entities into a table: those of a partition together, and where one is refused, one by one.
func (x *importing) entities(table string, all []entity) error {
	if x.DryRun {
		x.rep.Entities += int64(len(all))
		return nil
	}
	slices.SortStableFunc(all, func(a, b entity) int { return strings.Compare(a.PartitionKey, b.PartitionKey) })
	for together := true; len(all) > 0; together = false {
		part := all
		if !together {
			part = all[:1]
		}
		read := 0
		n, err := x.Tables.InsertLines(x.ctx, x.To, table, func() ([]byte, error) {
			if read == len(part) {
				return nil, nil
			}
			read++
			return part[read-1].line()
		})
		x.rep.Entities += n
		all = all[n:]
		if err != nil && !together {
			err = x.failed(fmt.Sprintf("entity %q, %q of table %s", part[0].PartitionKey, part[0].RowKey, table), err)
			all = all[1:]
		} else if err != nil && refusal(err) {
			err = nil // which one it was is seen when they come one by one
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// line is an entity with its keys, as a client would send it.
func (e *entity) line() ([]byte, error) {
	all := make(map[string]any, len(e.Properties)+2)
	for name, value := range e.Properties {
		all[name] = value
		if string(e.Properties[name+"@odata.type"]) == `"Edm.Guid"` {
			var b byteList // the text in base64, where it is not the text itself
			if err := json.Unmarshal(value, &b); err == nil && len(b) == len("00000000-0000-0000-0000-000000000000") {
				all[name] = string(b)
			}
		}
	}
	all["PartitionKey"], all["RowKey"] = e.PartitionKey, e.RowKey
	return json.Marshal(all)
}

func (x *importing) table(t *tableRecord) error {
	if x.DryRun {
		x.madeTables = append(x.madeTables, t.Name)
		return nil
	}
	if err := x.Tables.CreateTable(x.ctx, x.To, t.Name); err != nil {
		return err
	}
	x.madeTables = append(x.madeTables, t.Name)
	if len(t.Policies) == 0 {
		return nil
	}
	return x.Tables.SetPolicies(x.ctx, x.To, t.Name, policies(t.Policies))
}
