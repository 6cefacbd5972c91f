package store

import (
	"bytes"
	"context"
	"strings"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/tagquery"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/view"
)

// Bounds of one page of a search.
const (
	maxHints      = 20_000 // hints looked at
	maxContainers = 5_000  // containers looked into
)

// finder is one page of Find Blobs by Tags.
type finder struct {
	r       engine.Reader
	q       *tagquery.Where
	account string
	only    string // the container searched, empty for all
	from    string // where to begin: container 00 key
	limit   int
	n       int
	hints   int
	next    string
	ctx     context.Context
	visit   func(container, name string, rec *record.Blob)
}

// FindRequest is a search for blobs by their tags.
type FindRequest struct {
	Account   string
	Container string // empty for all
	Where     *tagquery.Where
	From      string // where to begin: what the page before has returned
	Limit     int
}

// Find calls visit for the current blobs whose tags meet a clause, by container. It returns where to go on, empty at the end.
func (s *Service) Find(ctx context.Context, q *FindRequest, visit func(container, name string, rec *record.Blob)) (next string, err error) {
	f := finder{q: q.Where, account: q.Account, only: q.Container, from: q.From, limit: q.Limit, visit: visit, ctx: ctx}
	err = s.store.View(ctx, nil, func(v engine.Reader) error {
		f.r = v
		return f.run()
	})
	return f.next, err
}

// run searches the containers in the order of their names.
func (f *finder) run() error {
	at, key, _ := strings.Cut(f.from, "\x00")
	scope := append([]byte(f.account), 0)
	for _, t := range f.q.Terms {
		if t.Name == tagquery.ContainerName {
			if f.only != "" && f.only != t.Value {
				return nil
			}
			f.only = t.Value
		}
	}
	lower := append(append([]byte(nil), scope...), max(at, f.only)...)
	it := f.r.Scan(engine.SpaceContainer, lower, record.After(append([]byte(nil), scope...)))
	defer it.Close()
	for looked, ok := 0, it.Next(); ok; ok = it.SeekGE(append(append(scope[:len(scope):len(scope)], at...), 1)) { // behind deleted ones of the name
		name, life, _ := strings.Cut(string(it.Key()[len(scope):]), "\x00")
		if f.only != "" && name != f.only {
			break
		}
		begin := ""
		if name == at {
			begin = key
		}
		at = name
		if err := f.ctx.Err(); err != nil {
			return err
		}
		if life != "" { // a deleted one
			continue
		}
		if looked++; looked > maxContainers {
			f.next = name + "\x00"
			break
		}
		v, err := it.Value()
		if err != nil {
			return err
		}
		var c record.Container
		if err := c.Decode(view.String(v)); err != nil {
			return err
		}
		if err := f.container(name, c.Generation, begin); err != nil {
			return err
		}
		if f.next != "" {
			break
		}
	}
	return it.Close()
}

// bounds are the keys between which hints of the clause lie, after the partition: of the tag that is best bounded.
func (f *finder) bounds() (lower, upper []byte) {
	var best *tagquery.Node
	for _, t := range f.q.Terms {
		if t.Name != tagquery.ContainerName && (best == nil || t.Op == tagquery.EQ && best.Op != tagquery.EQ) {
			best = t
		}
	}
	prefix := append([]byte(best.Name), 0)
	lower, upper = prefix, record.After(append([]byte(nil), prefix...))
	for _, t := range f.q.Terms {
		if t.Name != best.Name {
			continue
		}
		first := append(append(append([]byte(nil), prefix...), t.Value...), 0)
		last := record.After(append([]byte(nil), first...))
		switch t.Op {
		case tagquery.EQ:
			lower, upper = higher(lower, first), lowerOf(upper, last)
		case tagquery.GE:
			lower = higher(lower, first)
		case tagquery.GT:
			lower = higher(lower, last)
		case tagquery.LT:
			upper = lowerOf(upper, first)
		case tagquery.LE:
			upper = lowerOf(upper, last)
		}
	}
	return lower, upper
}

func higher(a, b []byte) []byte {
	if bytes.Compare(a, b) < 0 {
		return b
	}
	return a
}

func lowerOf(a, b []byte) []byte {
	if bytes.Compare(a, b) > 0 {
		return b
	}
	return a
}

// container searches one container from a key on. Each hint is held to the blob: it must have that very tag, so that no blob
// comes twice, and meet the whole clause.
func (f *finder) container(name string, g record.Generation, from string) error {
	partition := record.AppendTagPartition(nil, f.account, g)
	lower, upper := f.bounds()
	lower = higher(lower, []byte(from))
	if bytes.Compare(lower, upper) >= 0 {
		return nil
	}
	full := func(k []byte) []byte { return append(partition[:len(partition):len(partition)], k...) }
	it := f.r.Scan(engine.SpaceBlobTag, full(lower), full(upper))
	defer it.Close()
	for it.Next() {
		key := it.Key()[len(partition):]
		if f.n == f.limit || f.hints == maxHints {
			f.next = name + "\x00" + string(key)
			break
		}
		if f.hints++; f.hints%ctxEvery == 0 && f.ctx.Err() != nil {
			return f.ctx.Err()
		}
		tag, blob, ok := record.ParseTagKey(key)
		if !ok {
			return record.ErrBlob
		}
		rec, err := getRecord(f.r, newPlace(nil, g, blob), record.Slot{})
		if err != nil {
			return err
		}
		if rec == nil {
			continue
		}
		if v, ok := tagquery.Value(rec.Tags, tag.Name); ok && v == tag.Value && f.q.Matches(name, rec.Tags) {
			f.n++
			f.visit(name, blob, rec)
		}
	}
	return it.Close()
}
