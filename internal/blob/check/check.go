// Package check holds a store against itself, from both ends: what the records of blobs refer to has its owners counted, its length and
// its sum, and what is owned is referred to. It changes nothing.
package check

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/crc64"
	"github.com/blobd/blobd/internal/usage"
)

// Store is an engine that shows who owns chunks, and whether they are there.
type Store interface {
	engine.Store
	// Audit runs fn on one snapshot of everything: what is kept, and how many owners each chunk has.
	Audit(ctx context.Context, fn func(r engine.Reader, owners func(visit func(ref engine.Ref, n int64) error) error) error) error
	// Lacking returns what tells, without reading it, that too little of a chunk is on the disks (sure), or may be.
	Lacking() func(ref engine.Ref) (lacks, sure bool)
}

// Kinds of finding.
const (
	BadRecord  = "record"  // cannot be decoded
	BadOwners  = "owners"  // a chunk is counted more or less often than it is referred to
	BadContent = "content" // content is not there, or not of the length or sum that its record says
	BadIndex   = "index"   // a blob's tags are not in the index
	BadUsage   = "usage"   // a container or table is counted as holding more or less than it does
	Damaged    = "damage"  // a scrub found it damaged, with nothing left to rebuild it from
)

// Finding is something that is not as it should be.
type Finding struct {
	Kind   string `json:"kind"`
	Where  string `json:"where"` // the blob, or the chunk
	Detail string `json:"detail"`
	// Loses: something is lost or may get lost. Otherwise room is wasted, or an answer incomplete.
	Loses bool `json:"loses"`
}

// Report is what a check counted and found.
type Report struct {
	Containers int64 `json:"containers"`
	Blobs      int64 `json:"blobs"`    // current ones
	History    int64 `json:"history"`  // snapshots, versions, soft-deleted blobs
	Chunks     int64 `json:"chunks"`   // with owners
	Bytes      int64 `json:"bytes"`    // of them
	Read       int64 `json:"read"`     // bytes of content that were read and compared
	Found      int64 `json:"found"`    // findings in all
	Deep       bool  `json:"deep"`     // all content was read
	Complete   bool  `json:"complete"` // the check came to its end

	Findings []Finding `json:"findings"` // the first of them
}

// maxFindings are told of one by one.
const maxFindings = 1000

// Options of Check.
type Options struct {
	Deep bool // read all content too
	// Usage counts what is held by the services, for comparison with what was counted as it was written; none: it is not compared.
	Usage []usage.Source
}

// chunk is what is known of a chunk from the records.
type chunk struct {
	refs  int64
	size  int64 // 0: only parts of it are referred to
	sum   uint64
	where place      // one of those that refer to it
	parts [][2]int64 // offset and length of those that page blobs refer to; but for a deep check the first only
	lacks bool       // something of it may not be on the disks
}

// place is where a record lies.
type place struct {
	generation record.Generation
	name       string
	slot       record.Slot
}

type checker struct {
	ctx        context.Context
	r          engine.Reader
	rep        *Report
	containers map[record.Generation][2]string // account and name
	chunks     map[engine.Ref]*chunk
	only       map[engine.Ref]bool // if it is not nil, chunks but for these are passed by
}

// Check goes over a store.
func Check(ctx context.Context, s Store, o Options) (*Report, error) {
	rep := &Report{Findings: []Finding{}, Deep: o.Deep}
	c := &checker{ctx: ctx, rep: rep, chunks: make(map[engine.Ref]*chunk)}
	err := s.Audit(ctx, func(r engine.Reader, owners func(func(engine.Ref, int64) error) error) error {
		c.r = r
		if err := c.references(); err != nil {
			return err
		}
		counted := make(map[engine.Ref]bool)
		lacking := s.Lacking()
		if err := owners(func(ref engine.Ref, n int64) error {
			rep.Chunks++
			counted[ref] = true
			c.compare(ref, n)
			if k := c.chunks[ref]; k != nil {
				k.lacks, _ = lacking(ref)
			}
			return nil
		}); err != nil {
			return err
		}
		if len(o.Usage) > 0 {
			if err := usage.Compare(r, c.usage, o.Usage...); err != nil {
				c.found(BadUsage, "what accounts use", false, "it cannot be counted: %v", err)
			}
		}
		for ref, k := range c.chunks {
			if !counted[ref] {
				c.found(BadOwners, c.words(k.where), true, "chunk %x, which is referred to %d times, has no owner: it may be freed", ref[:], k.refs)
			}
		}
		return nil
	})
	if err == nil {
		err = c.read(s)
	}
	if err == nil {
		c.damage(s.Health().Scrub)
	}
	rep.Complete = err == nil
	if err != nil {
		return rep, fmt.Errorf("check: %w", err)
	}
	return rep, nil
}

// compare holds the owners that are counted of a chunk against those that there are.
func (c *checker) compare(ref engine.Ref, n int64) {
	k := c.chunks[ref]
	switch {
	case k == nil:
		c.found(BadOwners, fmt.Sprintf("chunk %x", ref[:]), false, "%d owners are counted, and nothing refers to it: its room is never freed", n)
	case k.refs < n:
		c.found(BadOwners, c.words(k.where), false, "chunk %x has %d owners counted, %d refer to it: its room is never freed", ref[:], n, k.refs)
	case k.refs > n:
		c.found(BadOwners, c.words(k.where), true, "chunk %x has %d owners counted, %d refer to it: it may be freed too early", ref[:], n, k.refs)
	}
	if k != nil {
		c.rep.Bytes += k.size
	}
}

func (c *checker) found(kind, where string, loses bool, format string, args ...any) {
	c.rep.Found++
	if len(c.rep.Findings) < maxFindings {
		c.rep.Findings = append(c.rep.Findings, Finding{Kind: kind, Where: where, Detail: fmt.Sprintf(format, args...), Loses: loses})
	}
}

// usage tells of a place whose counter is wrong.
func (c *checker) usage(p usage.Place, counted, found engine.Amount) {
	where := p.Account + "/" + c.containers[record.Generation(p.Generation)][1]
	if p.Service == usage.Tables {
		where = fmt.Sprintf("%s/(table %x)", p.Account, p.Generation)
	}
	c.found(BadUsage, where, false, "%d bytes in %d objects are counted, %d in %d are there", counted.Bytes, counted.Objects, found.Bytes, found.Objects)
}

// words names a place as people do.
func (c *checker) words(p place) string {
	con, ok := c.containers[p.generation]
	text := con[0] + "/" + con[1] + "/" + p.name
	if !ok {
		text = fmt.Sprintf("(deleted container %x)/%s", uint64(p.generation), p.name)
	}
	switch p.slot.Kind {
	case record.SlotSnapshot:
		return text + " snapshot " + p.slot.Stamp.Time().UTC().Format("2006-01-02T15:04:05.0000000Z")
	case record.SlotVersion:
		return text + " version " + p.slot.Stamp.Time().UTC().Format("2006-01-02T15:04:05.0000000Z")
	case record.SlotDeleted:
		return text + " (soft-deleted)"
	}
	return text
}

// scan visits the entries of a space.
func (c *checker) scan(space engine.Space, visit func(key, value []byte) error) error {
	it := c.r.Scan(space, nil, nil)
	var err error
	for err == nil && it.Next() {
		if err = c.ctx.Err(); err != nil {
			break
		}
		var v []byte
		if v, err = it.Value(); err == nil {
			err = visit(it.Key(), v)
		}
	}
	return errors.Join(err, it.Close())
}

// get returns a copy of a value. What Get of the reader hands out it would keep until the end of the check.
func (c *checker) get(space engine.Space, key []byte) (v []byte, err error) {
	err = engine.ErrNotFound
	if gerr := c.r.GetEach(space, [][]byte{key}, func(_ int, value []byte) error {
		v, err = bytes.Clone(value), nil
		return nil
	}); gerr != nil {
		return nil, gerr
	}
	return v, err
}

// split finds out of which blob a key is.
func (c *checker) split(space engine.Space, key []byte) (p place, rest []byte, ok bool) {
	name, n, ok := record.SplitKey(key)
	if !ok {
		c.found(BadRecord, fmt.Sprintf("key %x of space %x", key, byte(space)), false, "the key is malformed")
		return p, nil, false
	}
	return place{generation: record.Generation(binary.BigEndian.Uint64(key)), name: string(name)}, key[n:], true
}

func (c *checker) refer(p place, ref engine.Ref, size int64, sum uint64) {
	if c.only != nil && !c.only[ref] {
		return
	}
	k := c.chunks[ref]
	if k == nil {
		k = &chunk{where: p}
		c.chunks[ref] = k
	}
	k.refs++
	if size == 0 {
		return
	}
	if k.size != 0 && (k.size != size || k.sum != sum) {
		c.found(BadContent, c.words(p), true, "chunk %x has another length or sum here than at %s", ref[:], c.words(k.where))
	}
	k.size, k.sum = size, sum
}

// references goes over all records.
func (c *checker) references() error {
	c.containers = make(map[record.Generation][2]string)
	if err := c.scan(engine.SpaceContainer, func(key, v []byte) error {
		account, rest, _ := bytes.Cut(key, []byte{0})
		name, _, _ := bytes.Cut(rest, []byte{0})
		var con record.Container
		if err := con.Decode(string(v)); err != nil {
			c.found(BadRecord, string(account)+"/"+string(name), true, "the record of the container: %v", err)
			return nil
		}
		c.rep.Containers++
		c.containers[con.Generation] = [2]string{string(account), string(name)}
		return nil
	}); err != nil {
		return err
	}
	for _, space := range []engine.Space{engine.SpaceBlob, engine.SpaceBlobHistory} {
		if err := c.scan(space, func(key, v []byte) error { return c.blob(space, key, v) }); err != nil {
			return err
		}
	}
	if err := c.scan(engine.SpaceBlock, c.block); err != nil {
		return err
	}
	return c.scan(engine.SpacePage, c.page)
}

// blob looks at a blob's record, and at what it needs.
func (c *checker) blob(space engine.Space, key, v []byte) error {
	p, rest, ok := c.split(space, key)
	if !ok {
		return nil
	}
	if space == engine.SpaceBlobHistory {
		if p.slot, ok = record.ParseSlot(rest); !ok {
			c.found(BadRecord, c.words(p), false, "key %x of the history is malformed", key)
			return nil
		}
		c.rep.History++
	} else {
		c.rep.Blobs++
	}
	var rec record.Blob
	if err := rec.Decode(string(v)); err != nil {
		c.found(BadRecord, c.words(p), true, "its record: %v", err)
		return nil
	}
	if space == engine.SpaceBlob {
		if err := c.tags(p, &rec); err != nil {
			return err
		}
	}
	partition := key[:len(key)-len(rest)]
	size := int64(0)
	switch rec.Content.Kind {
	case record.ContentInline:
		v, err := c.get(engine.SpaceBlobData, record.AppendSlot(bytes.Clone(partition), p.slot))
		if err != nil && !errors.Is(err, engine.ErrNotFound) {
			return err
		}
		size = int64(len(v))
		if rec.HasCRC64 && err == nil && crc64.Sum(v) != rec.CRC64 {
			c.found(BadContent, c.words(p), true, "its content is not of its sum")
		}
	case record.ContentChunks:
		for _, k := range rec.Content.Chunks {
			c.refer(p, k.Ref, k.Size, k.CRC64)
			size += k.Size
		}
	case record.ContentList:
		var err error
		if size, err = c.list(record.AppendContentKey(nil, partition, record.KeyContentPage, rec.Content.ID)); err != nil {
			return err
		}
	case record.ContentPages:
		return c.pageMap(p, partition, rec.Content.ID)
	default:
		size = rec.Size // a page blob without pages, or nothing
		if rec.Type != record.PageBlob && rec.Size != 0 {
			size = 0
		}
	}
	if size != rec.Size {
		c.found(BadContent, c.words(p), true, "its content has %d bytes, its record says %d", size, rec.Size)
	}
	return nil
}

// tags looks whether the index has a blob's tags.
func (c *checker) tags(p place, rec *record.Blob) error {
	con, ok := c.containers[p.generation]
	if !ok {
		return nil // its container is deleted, and the blob goes
	}
	partition := record.AppendTagPartition(nil, con[0], p.generation)
	for _, tag := range rec.Tags {
		if _, err := c.get(engine.SpaceBlobTag, record.AppendTagKey(nil, partition, tag, p.name)); errors.Is(err, engine.ErrNotFound) {
			c.found(BadIndex, c.words(p), false, "its tag %q is not in the index: Find Blobs by Tags does not find it", tag.Name)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// list returns the length of a chunk list.
func (c *checker) list(prefix []byte) (size int64, err error) {
	it := c.r.Scan(engine.SpaceBlock, prefix, record.After(bytes.Clone(prefix)))
	for err == nil && it.Next() {
		var v []byte
		if v, err = it.Value(); err != nil {
			break
		}
		if off := int64(binary.BigEndian.Uint64(it.Key()[len(prefix):])); off != size {
			break // a page is missing: the length will not fit
		}
		// What is malformed the scan of all pages tells.
		_ = record.VisitPage(string(v), func(k *record.Piece) bool { size += k.Size; return true })
	}
	return size, errors.Join(err, it.Close())
}

// pageMap looks whether the layers of a page map are named.
func (c *checker) pageMap(p place, partition []byte, id engine.Stamp) error {
	v, err := c.get(engine.SpacePage, record.AppendContentKey(nil, partition, record.KeyPageMap, id))
	if errors.Is(err, engine.ErrNotFound) {
		c.found(BadContent, c.words(p), true, "its page map is not there")
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := record.DecodeLayers(v); err != nil {
		c.found(BadContent, c.words(p), true, "its page map: %v", err)
	}
	return nil
}

// block looks at a page of a chunk list, or at an uncommitted block.
func (c *checker) block(key, v []byte) error {
	p, rest, ok := c.split(engine.SpaceBlock, key)
	switch {
	case !ok || len(rest) == 0:
		return nil
	case rest[0] == record.KeyContentPage:
		if err := record.VisitPage(string(v), func(k *record.Piece) bool {
			c.refer(p, k.Ref, k.Size, k.CRC64)
			return true
		}); err != nil {
			c.found(BadRecord, c.words(p), true, "a page of its chunk list: %v", err)
		}
	case rest[0] == record.KeyPendingBlock:
		chunks, _, err := record.DecodeBlockChunks(string(v))
		if err != nil {
			c.found(BadRecord, c.words(p), true, "an uncommitted block: %v", err)
		}
		for _, k := range chunks {
			c.refer(p, k.Ref, k.Size, k.CRC64)
		}
	}
	return nil
}

// page looks at a range of pages.
func (c *checker) page(key, v []byte) error {
	p, rest, ok := c.split(engine.SpacePage, key)
	if !ok || len(rest) != 17 || rest[0] != record.KeyPageRange {
		return nil
	}
	var r record.PageRange
	if err := r.Decode(int64(binary.BigEndian.Uint64(rest[9:])), v); err != nil {
		c.found(BadRecord, c.words(p), true, "a range of its pages: %v", err)
	} else if r.Kind == record.PageChunk {
		c.refer(p, r.Ref, 0, 0)
		if k := c.chunks[r.Ref]; k != nil && (c.rep.Deep || k.parts == nil) {
			k.parts = append(k.parts, [2]int64{r.Offset, r.To - r.From})
		}
	}
	return nil
}

// read reads every chunk that is referred to, or those of which something may not be there.
func (c *checker) read(s Store) error {
	buf := make([]byte, 1<<20)
	for ref, k := range c.chunks {
		if !c.rep.Deep && !k.lacks {
			continue
		}
		parts := k.parts
		if k.size > 0 {
			parts = [][2]int64{{0, k.size}}
		}
		whole := true
		for _, part := range parts {
			sum, n, err := readChunk(c.ctx, s, ref, part[0], part[1], buf)
			c.rep.Read += n
			switch {
			case c.ctx.Err() != nil:
				return c.ctx.Err()
			case errors.Is(err, engine.ErrReleased): // deleted meanwhile
				whole = false
				continue
			case err != nil:
				c.found(BadContent, c.words(k.where), true, "chunk %x cannot be read: %v", ref[:], err)
			case k.size > 0 && sum != k.sum:
				c.found(BadContent, c.words(k.where), true, "chunk %x is not of the sum that its record says", ref[:])
			default:
				continue
			}
			whole = false
		}
		if !whole || !k.lacks {
			continue
		}
		// A server reads on from files that it has open and that are deleted.
		if _, sure := s.Lacking()(ref); sure {
			c.found(BadContent, c.words(k.where), true, "chunk %x is read from files that are gone from the disks, or too short: it is lost when the server ends", ref[:])
		}
	}
	return nil
}

// damage tells what a scrub has found already.
func (c *checker) damage(scrub engine.Scrub) {
	for _, d := range scrub.Damaged {
		where := d.What
		if len(d.Names) > 0 {
			where = d.Names[0]
		}
		c.found(Damaged, where, true, "a scrub found %s damaged, and nothing is left to rebuild it from", d.What)
	}
	c.rep.Found += int64(scrub.DamagedAll - len(scrub.Damaged))
}

func readChunk(ctx context.Context, s Store, ref engine.Ref, offset, length int64, buf []byte) (sum uint64, n int64, err error) {
	r, err := s.Open(ctx, ref, offset, length)
	if err != nil {
		return 0, 0, err
	}
	for {
		m, err := r.Read(buf)
		sum = crc64.Update(sum, buf[:m])
		n += int64(m)
		if errors.Is(err, io.EOF) {
			return sum, n, r.Close()
		}
		if err != nil {
			return sum, n, errors.Join(err, r.Close())
		}
	}
}

// Names tells what is kept in chunks. It reads all records, and holds no more in memory than the containers' names, about 200 bytes for
// each, and what it was asked for.
func Names(ctx context.Context, s Store, refs []engine.Ref) (map[engine.Ref][]string, error) {
	names := make(map[engine.Ref][]string, len(refs))
	c := &checker{ctx: ctx, rep: &Report{}, chunks: make(map[engine.Ref]*chunk), only: make(map[engine.Ref]bool, len(refs))}
	for _, ref := range refs {
		c.only[ref] = true
	}
	err := s.Audit(ctx, func(r engine.Reader, _ func(func(engine.Ref, int64) error) error) error {
		c.r = r
		return c.references()
	})
	for _, ref := range refs {
		if k := c.chunks[ref]; k != nil {
			names[ref] = append(names[ref], c.words(k.where))
		}
	}
	return names, err
}
