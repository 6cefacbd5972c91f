package table

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/table/entity"
	"github.com/blobd/blobd/internal/table/filter"
)

// Bounds of a page (REST page "Query timeout and pagination"). A page may be short: a continuation tells where the rest begins.
const (
	maxPageRows     = 1000
	maxPageTime     = 5 * time.Second
	maxPageBytes    = 4 << 20
	maxTablesLooked = 50_000 // tables that a page looks at
	clockEvery      = 256    // rows between two looks at the clock
)

// get calls fn with an entity. pk and rk are as in its key; row is whole and lives until fn returns.
func (s *Service) get(ctx context.Context, t *table, pk, rk string, fn func(pk, rk []byte, row entity.Row) error) error {
	key := entity.AppendPartition(make([]byte, 0, 96), t.generation, pk)
	n := len(key)
	key = entity.AppendKeyString(key, rk)
	err := s.store.View(ctx, key[:n:n], func(r engine.Reader) error {
		b, err := r.Get(engine.SpaceEntity, key)
		if err != nil {
			return err
		}
		row, err := whole(r, key, b)
		if err != nil {
			return err
		}
		pk, rk, _ := entity.SplitKey(key)
		return fn(pk, rk, row)
	})
	if errors.Is(err, engine.ErrNotFound) {
		return protocol.ErrResourceNotFound
	}
	return err
}

// whole makes a row of what stands at key.
func whole(r engine.Reader, key, entry []byte) (entity.Row, error) {
	row := entity.Row(entry)
	if err := row.Check(); err != nil {
		return nil, err
	}
	if n, err := row.Parts(); err != nil || n == 0 {
		return row, err
	}
	return row.Join(nil, func(i int) ([]byte, error) {
		return readPart(r, entity.AppendPartKey(bytes.Clone(key), i))
	})
}

// query is a question for one page of entities.
type query struct {
	filter *filter.Filter
	top    int            // rows at most
	time   time.Duration  // what the page may take
	from   []byte         // key to begin with, after the table's prefix; nil for the first
	bounds []filter.Range // further ranges that entities must lie in, as a SAS has them
}

// page is what a query sees of its page while it is made.
type page interface {
	// add takes an entity; row is whole and lives until add returns. full tells that there is room for no more.
	add(pk, rk []byte, row entity.Row) (full bool, err error)
}

// run fills a page and returns the key, after the table's prefix, where the next begins; nil if there is none.
func (s *Service) run(ctx context.Context, t *table, q *query, p page) (next []byte, err error) {
	ranges, exact := q.filter.Plan()
	for _, b := range q.bounds {
		ranges = filter.Clip(ranges, b)
	}
	if q.from != nil {
		ranges = filter.Clip(ranges, filter.Range{Lower: q.from})
	}
	if len(ranges) == 0 {
		return nil, nil
	}
	prefix := t.prefix()
	sc := scan{q: q, p: p, prefix: prefix, ranges: ranges, deadline: time.Now().Add(q.time), ctx: ctx, exact: exact}
	err = s.store.View(ctx, scope(prefix, ranges), func(r engine.Reader) error {
		sc.reader = r
		return sc.run()
	})
	return sc.next, err
}

// scope is the one partition that all ranges lie in, or the table.
func scope(prefix []byte, ranges []filter.Range) []byte {
	first := ranges[0].Lower
	i := bytes.IndexByte(first, 0)
	if i < 0 {
		return prefix
	}
	end := append(bytes.Clone(first[:i]), 1)
	last := ranges[len(ranges)-1].Upper
	if last == nil || bytes.Compare(last, end) > 0 {
		return prefix
	}
	return append(bytes.Clone(prefix), first[:i+1]...)
}

// scan walks the ranges of a query in one snapshot.
type scan struct {
	ctx      context.Context
	q        *query
	p        page
	prefix   []byte
	ranges   []filter.Range
	exact    bool
	deadline time.Time

	reader engine.Reader
	key    []byte // at hand
	rows   int    // looked at
	taken  int
	full   bool
	next   []byte
}

func (sc *scan) run() (err error) {
	last := engine.PrefixEnd(sc.prefix)
	if upper := sc.ranges[len(sc.ranges)-1].Upper; upper != nil {
		last = append(bytes.Clone(sc.prefix), upper...)
	}
	first := append(bytes.Clone(sc.prefix), sc.ranges[0].Lower...)
	it := sc.reader.Scan(engine.SpaceEntity, first, last)
	defer func() {
		if closeErr := it.Close(); err == nil {
			err = closeErr
		}
	}()
	var matcher *filter.Matcher
	if !sc.exact {
		matcher = sc.q.filter.Matcher(func(row entity.Row) (entity.Row, error) { return whole(sc.reader, sc.key, row) })
	}
	n := len(sc.prefix)
	ok := it.Next()
	for i := 0; ok; {
		key := it.Key()
		switch {
		case i < len(sc.ranges)-1 && bytes.Compare(key[n:], sc.ranges[i].Upper) >= 0: // the last range ends with the scan
			i++
			if bytes.Compare(key[n:], sc.ranges[i].Lower) < 0 {
				ok = it.SeekGE(append(sc.prefix[:n:n], sc.ranges[i].Lower...))
			}
			continue
		case sc.full || sc.expired():
			sc.next = bytes.Clone(key[n:])
			return sc.ctx.Err()
		}
		sc.key = key
		value, err := it.Value()
		if err != nil {
			return err
		}
		if err := sc.visit(matcher, value); err != nil {
			return err
		}
		ok = it.Next()
	}
	return nil
}

// expired tells that the page has taken long enough. The first rows are always looked at, so every page gets on.
func (sc *scan) expired() bool {
	sc.rows++
	if sc.rows%clockEvery != 0 {
		return false
	}
	if sc.ctx.Err() != nil {
		return true
	}
	return time.Now().After(sc.deadline)
}

func (sc *scan) visit(m *filter.Matcher, value []byte) error {
	row := entity.Row(value)
	if err := row.Check(); err != nil {
		return err
	}
	pk, rk, ok := entity.SplitKey(sc.key)
	if !ok {
		return entity.ErrRow
	}
	if m != nil {
		if ok, err := m.Match(pk, rk, row); err != nil || !ok {
			return err
		}
	}
	row, err := whole(sc.reader, sc.key, row)
	if err != nil {
		return err
	}
	full, err := sc.p.add(pk, rk, row)
	sc.taken++
	sc.full = full || sc.taken >= sc.q.top
	return err
}

// Continuation tokens are, as in Azure, "1!", the length of what follows and the text in base64 with "-" for "=". They are
// positions: whether anything is there does not matter.
func token(s string) string {
	text := base64.StdEncoding.EncodeToString([]byte(s))
	text = strings.NewReplacer("=", "-", "/", "*", "+", "_").Replace(text)
	return "1!" + strconv.Itoa(len(text)) + "!" + text
}

func parseToken(name, token string) (string, error) {
	rest, ok := strings.CutPrefix(token, "1!")
	length, text, cut := strings.Cut(rest, "!")
	n, err := strconv.Atoi(length)
	if !ok || !cut || err != nil {
		return token, nil // a key in plain text, as some clients make them up
	}
	if n != len(text) {
		return "", protocol.InvalidQuery(name, token, "")
	}
	b, err := base64.StdEncoding.DecodeString(strings.NewReplacer("-", "=", "*", "/", "_", "+").Replace(text))
	if err != nil || !utf8.Valid(b) {
		return "", protocol.InvalidQuery(name, token, "")
	}
	return string(b), nil
}

// position is the key, after the table's prefix, that continuation tokens name.
func position(pk, rk string) []byte {
	return entity.AppendKeyString(append(entity.AppendKeyString(nil, pk), 0), rk)
}

// splitPosition is the inverse of position.
func splitPosition(p []byte) (pk, rk string) {
	i := bytes.IndexByte(p, 0)
	return string(entity.AppendDecoded(nil, p[:i])), string(entity.AppendDecoded(nil, p[i+1:]))
}

// listTables calls fn with the names of an account's tables that the filter takes, in order of their lower-case names, from
// one on; fn returns false to stop before a table, whose name is returned for the continuation.
func (s *Service) listTables(ctx context.Context, account string, f *filter.Filter, from string, fn func(name string) bool) (next string, err error) {
	prefix := accountPrefix(account)
	err = s.store.View(ctx, prefix, func(r engine.Reader) (err error) {
		it := r.Scan(engine.SpaceTable, append(bytes.Clone(prefix), strings.ToLower(from)...), engine.PrefixEnd(prefix))
		defer func() {
			if closeErr := it.Close(); err == nil {
				err = closeErr
			}
		}()
		for rows := 1; it.Next(); rows++ {
			if rows%clockEvery == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			b, err := it.Value()
			if err != nil {
				return err
			}
			rec, err := decodeRecord(b)
			if err != nil {
				return err
			}
			if rows > maxTablesLooked {
				next = rec.name
				return nil
			}
			if f.MatchName(rec.name) && !fn(rec.name) {
				next = rec.name
				return nil
			}
		}
		return nil
	})
	return next, err
}
