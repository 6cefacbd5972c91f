package table

import (
	"bytes"
	"context"
	"fmt"

	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/table/entity"
	"github.com/blobd/blobd/internal/table/filter"
	"github.com/blobd/blobd/internal/table/odata"
)

// Lines calls fn with each entity of a table, in the order of the keys: JSON with the types of its properties, as a query with minimal
// metadata answers, on one line. An entity that changes meanwhile is as it was before or after.
func (s *Service) Lines(ctx context.Context, account, name string, fn func(line []byte) error) error {
	t, err := s.find(ctx, account, name)
	if err != nil {
		return err
	}
	p := linesPage{writer: odata.Writer{Format: odata.Minimal, Account: account, Table: t.name}}
	q := query{filter: &filter.Filter{}, top: maxPageRows, time: maxPageTime}
	for {
		p.out, p.ends = p.out[:0], p.ends[:0]
		if q.from, err = s.run(ctx, t, &q, &p); err != nil {
			return err
		}
		for from := 0; len(p.ends) > 0; p.ends = p.ends[1:] {
			if err := fn(p.out[from:p.ends[0]:p.ends[0]]); err != nil {
				return err
			}
			from = p.ends[0]
		}
		if q.from == nil {
			break
		}
	}
	if now, err := s.find(ctx, account, name); err != nil || now.generation == t.generation {
		return err
	}
	return protocol.ErrTableNotFound
}

// linesPage takes a page of entities as JSON, one behind the other.
type linesPage struct {
	writer odata.Writer
	out    []byte
	ends   []int
}

func (p *linesPage) add(pk, rk []byte, row entity.Row) (bool, error) {
	out, err := p.writer.AppendEntity(p.out, pk, rk, row, false)
	if err != nil {
		return false, err
	}
	p.out, p.ends = out, append(p.ends, len(out))
	return len(out) >= maxPageBytes, nil
}

// maxLoad is how many bytes of rows InsertLines writes together at most, but for a longer one.
const maxLoad = 1 << 20

// InsertLines inserts entities, each of which next returns as Lines has them, nil at the end, into a table. They are held to the rules of a
// request. Those of one PartitionKey that follow each other are written together.
func (s *Service) InsertLines(ctx context.Context, account, name string, next func() ([]byte, error)) (n int64, err error) {
	t, err := s.find(ctx, account, name)
	if err != nil {
		return 0, err
	}
	var d odata.Decoder
	var group []change
	var size int
	keys := make(map[string]bool) // RowKeys of the group
	flush := func() error {
		if len(group) == 0 {
			return nil
		}
		_, err := s.write(ctx, t, group)
		n += int64(len(group))
		group, size = group[:0], 0
		clear(keys)
		return err
	}
	for {
		line, err := next()
		if err != nil {
			return n, err
		}
		if line == nil {
			return n, flush()
		}
		if err := d.JSON(bytes.Clone(line)); err != nil {
			return n, fmt.Errorf("entity %d: %w", n+int64(len(group)), err)
		}
		e := &d.Entity
		if !e.HasPartitionKey || !e.HasRowKey {
			return n, fmt.Errorf("entity %d: %w", n+int64(len(group)), protocol.ErrPropertiesNeedValue)
		}
		ch := change{kind: insert, pk: string([]byte(e.PartitionKey)), rk: string([]byte(e.RowKey)), row: entity.AppendRow(nil, 0, e.Properties)}
		err = entity.CheckKey("PartitionKey", ch.pk)
		if err == nil {
			err = entity.CheckKey("RowKey", ch.rk)
		}
		if err == nil {
			err = entity.CheckRow(ch.pk, ch.rk, ch.row)
		}
		if err != nil {
			return n, fmt.Errorf("entity %q, %q: %w", ch.pk, ch.rk, err)
		}
		if len(group) > 0 && (group[0].pk != ch.pk || keys[ch.rk] || len(group) == maxChanges || size+len(ch.row) > maxLoad) {
			if err := flush(); err != nil {
				return n, err
			}
		}
		group, size, keys[ch.rk] = append(group, ch), size+len(ch.row), true
	}
}
