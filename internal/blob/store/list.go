package store

import (
	"bytes"
	"context"
	"strings"

	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/view"
)

// Include is what a listing shows besides the blobs themselves.
type Include uint16

const (
	IncludeSnapshots Include = 1 << iota
	IncludeMetadata
	IncludeUncommitted
	IncludeCopy
	IncludeDeleted
	IncludeTags
	IncludeVersions
	IncludeDeletedWithVersions
	IncludeNothing // immutability and permissions: known, and nothing to show
)

// Bounds of the work of one page: of a listing, page ranges or a search. A page that has taken so much ends early, maybe with nothing in
// it, and tells where the next begins.
const (
	maxLooked = 20_000 // entries looked at that are not shown, or ranges
	ctxEvery  = 256    // entries between two looks whether the request is still wanted
)

// ListRequest is which blobs of a container are to be listed.
type ListRequest struct {
	Prefix, Delimiter string
	Marker, StartFrom string // where to begin: a page's marker, a name
	EndBefore         string // the first name that is no longer listed; empty for none
	Max               int
	Include           Include
	Now               engine.Stamp
	// Entry is used again from page to page; nil for a new one.
	Entry *Entry
}

// Entry is one blob of a listing. Its record is used again for the next.
type Entry struct {
	Blob         record.Blob
	Slot         record.Slot
	Uncommitted  bool
	VersionsOnly bool
}

// cursor walks one space. Its key is nil at the end.
type cursor struct {
	it        engine.Iterator
	key       []byte
	partition int // length of the partition in key
	name      []byte
}

// readKey reads the key that the iterator stands on if ok, or else that of the next entry that can be read.
func (c *cursor) readKey(ok bool) {
	for ; ok; ok = c.it.Next() {
		c.key = c.it.Key()
		if c.name, c.partition, ok = record.SplitKey(c.key); ok {
			return
		}
	}
	c.key = nil
}

// Listing takes the entries of a page. What it is given lives until it returns.
type Listing interface {
	// Blob takes a blob, a snapshot, a version or a name with uncommitted blocks only.
	Blob(name string, e *Entry)
	// Prefix takes the beginning that names have in common up to a delimiter.
	Prefix(name string)
	// Full tells that the page takes no more, though fewer entries came than were asked for: the next is where the next page begins.
	Full() bool
}

// List gives a page of a container's blobs to a listing. It returns the marker of the next page, nil at the end.
func (s *Service) List(ctx context.Context, c *record.Container, q *ListRequest, to Listing) (next []byte, err error) {
	generation := record.AppendGeneration(nil, c.Generation)
	err = s.store.View(ctx, generation, func(v engine.Reader) error {
		next, err = q.scan(ctx, v, generation, to, s.looked)
		return err
	})
	return next, err
}

// scan gives the entries of a page to a listing and returns the key of the next, nil at the end. It passes over so many entries that are
// not shown.
//
// The entries of a name lie in up to three spaces: its history comes first, ascending, and the blob itself last.
func (q *ListRequest) scan(ctx context.Context, v engine.Reader, generation []byte, to Listing, looked int) (next []byte, err error) {
	lower := record.AppendEscaped(append([]byte(nil), generation...), q.Prefix)
	upper := record.After(append([]byte(nil), lower...))
	if q.StartFrom != "" {
		if from := record.AppendEscaped(append([]byte(nil), generation...), q.StartFrom); bytes.Compare(from, lower) > 0 {
			lower = from
		}
	}
	if q.Marker != "" {
		if from := append(append([]byte(nil), generation...), q.Marker...); bytes.Compare(from, lower) > 0 {
			lower = from
		}
	}
	if q.EndBefore != "" {
		if end := record.AppendEscaped(append([]byte(nil), generation...), q.EndBefore); upper == nil || bytes.Compare(end, upper) < 0 {
			upper = end
		}
	}
	if upper != nil && bytes.Compare(lower, upper) >= 0 {
		return nil, nil
	}
	spaces := []engine.Space{engine.SpaceBlob}
	if q.Include&(IncludeSnapshots|IncludeDeleted|IncludeVersions|IncludeDeletedWithVersions) != 0 {
		spaces = append(spaces, engine.SpaceBlobHistory)
	}
	if q.Include&IncludeUncommitted != 0 {
		spaces = append(spaces, engine.SpaceUncommitted)
	}
	// A marker within a name's history must still find the blob itself, whose key is shorter.
	baseLower := lower
	if _, n, ok := record.SplitKey(lower); ok {
		baseLower = lower[:n]
	}
	cursors := make([]cursor, len(spaces))
	for i, space := range spaces {
		from := baseLower
		if space == engine.SpaceBlobHistory {
			from = lower
		}
		cursors[i].it = v.Scan(space, from, upper)
		defer cursors[i].it.Close()
		cursors[i].readKey(cursors[i].it.Next())
	}
	e := q.Entry
	if e == nil {
		e = &Entry{}
	}
	for count, hidden, steps := 0, 0, 0; ; steps++ {
		if steps%ctxEvery == ctxEvery-1 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		at := q.least(cursors)
		if at < 0 {
			break
		}
		c := &cursors[at]
		base := spaces[at] != engine.SpaceBlobHistory
		show, err := q.load(e, c, spaces[at], cursors)
		if err == nil && !show && q.Include&IncludeDeletedWithVersions != 0 && e.Slot.Kind == record.SlotVersion {
			show, err = q.versionsOnly(v, e, c, cursors)
		}
		if err != nil {
			return nil, err
		}
		if !show {
			if hidden++; hidden > looked { // it lies in the history
				next = append(next, c.key[8:]...)
				break
			}
			c.readKey(c.it.Next())
			continue
		}
		if count == q.Max || count > 0 && to.Full() {
			next = append(next, c.key[8:]...)
			if base && len(spaces) > 1 {
				next = append(next, 0xFF) // behind the history, which was shown
			}
			break
		}
		count++
		if q.Delimiter != "" {
			if i := strings.Index(view.String(c.name[len(q.Prefix):]), q.Delimiter); i >= 0 {
				common := string(c.name[:len(q.Prefix)+i+len(q.Delimiter)])
				to.Prefix(common)
				behind := record.After(record.AppendEscaped(append([]byte(nil), generation...), common))
				for i := range cursors {
					if c := &cursors[i]; c.key != nil && (behind == nil || bytes.Compare(c.key, behind) < 0) {
						c.readKey(behind != nil && c.it.SeekGE(behind))
					}
				}
				continue
			}
		}
		to.Blob(view.String(c.name), e)
		c.readKey(c.it.Next())
	}
	for i := range cursors {
		if err := cursors[i].it.Close(); err != nil {
			return nil, err
		}
	}
	return next, nil
}

// least returns the cursor whose entry comes next, -1 at the end.
func (q *ListRequest) least(cursors []cursor) int {
	if len(cursors) == 1 {
		if cursors[0].key == nil {
			return -1
		}
		return 0
	}
	best := -1
	for i := range cursors {
		c := &cursors[i]
		if c.key == nil {
			continue
		}
		if best < 0 {
			best = i
			continue
		}
		b := &cursors[best]
		switch d := bytes.Compare(c.key[:c.partition], b.key[:b.partition]); {
		case d < 0, d == 0 && len(c.key) > len(b.key):
			best = i
		}
	}
	return best
}

// load decodes the entry under a cursor and tells whether this listing shows it.
func (q *ListRequest) load(e *Entry, c *cursor, space engine.Space, cursors []cursor) (show bool, err error) {
	e.Slot, e.Uncommitted, e.VersionsOnly = record.Slot{}, space == engine.SpaceUncommitted, false
	if e.Uncommitted {
		e.Blob = record.Blob{Type: record.BlockBlob, HTTP: record.HTTPProperties{ContentType: record.DefaultContentType}}
		return true, nil
	}
	v, err := c.it.Value()
	if err != nil {
		return false, err
	}
	if err := e.Blob.Decode(view.String(v)); err != nil {
		return false, err
	}
	if space == engine.SpaceBlob {
		return true, nil
	}
	slot, ok := record.ParseSlot(c.key[c.partition:])
	if !ok {
		return false, record.ErrBlob
	}
	e.Slot = slot
	base := cursors[0].key != nil && bytes.Equal(cursors[0].key, c.key[:c.partition])
	return q.shows(&e.Blob, slot, base, e), nil
}

// shows tells whether a listing shows a blob of the history. base tells that the name has a current blob.
func (q *ListRequest) shows(rec *record.Blob, slot record.Slot, base bool, e *Entry) bool {
	if !q.alive(rec) {
		return false
	}
	switch slot.Kind {
	case record.SlotSnapshot:
		return q.Include&IncludeSnapshots != 0
	case record.SlotDeleted:
		if base {
			e.Slot.Kind = record.SlotSnapshot // what a later blob of the name has pushed aside
			return q.Include&IncludeSnapshots != 0
		}
		e.Slot = record.Slot{}
		return true
	}
	return q.Include&IncludeVersions != 0
}

// versionsOnly makes the version under the cursor the entry of a name that has no current blob, if it is the newest version of the
// name that there is to show. A listing of versions has no such entry: the versions tell.
func (q *ListRequest) versionsOnly(v engine.Reader, e *Entry, c *cursor, cursors []cursor) (bool, error) {
	if q.Include&IncludeVersions != 0 || cursors[0].key != nil && bytes.Equal(cursors[0].key, c.key[:c.partition]) || !q.alive(&e.Blob) {
		return false, nil
	}
	it := v.Scan(engine.SpaceBlobHistory, append(bytes.Clone(c.key), 0), record.After(bytes.Clone(c.key[:c.partition])))
	defer it.Close()
	for it.Next() {
		slot, ok := record.ParseSlot(it.Key()[c.partition:])
		if !ok || slot.Kind != record.SlotVersion {
			continue
		}
		var newer record.Blob
		text, err := it.Value()
		if err != nil {
			return false, err
		}
		if err := newer.Decode(view.String(text)); err != nil {
			return false, err
		}
		if q.alive(&newer) {
			return false, nil
		}
	}
	e.Slot, e.VersionsOnly = record.Slot{}, true
	e.Blob.Version, e.Blob.Lease = 0, lease.Lease{}
	return true, it.Close()
}

// alive tells that a blob of the history is not deleted, or that the listing shows what is.
func (q *ListRequest) alive(rec *record.Blob) bool {
	return rec.Deleted.At == 0 || q.Include&IncludeDeleted != 0 && rec.Deleted.Until > q.Now
}

// MaxPage is the most entries of a listing, and how many there are unless fewer are asked for.
const MaxPage = 5000
