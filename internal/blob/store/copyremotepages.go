package store

import (
	"context"
	"io"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/source"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// Bounds of reading the pages of a source elsewhere.
const (
	// pullRun is the most that one request asks for, and pullGap how many bytes between two ranges are better read than asked for
	// apart: a request costs more than they do.
	pullRun = 4 << 20
	pullGap = 64 << 10
)

// pullPages reads a page blob: its written ranges, by Get Page Ranges with continuation, and only these. Everything is asked on
// the condition that the source still has the ETag with which the copy began.
func (s *Service) pullPages(ctx context.Context, p *place, job *pull, l *laying) (*fetched, error) {
	if err := l.begin(ctx, s, p, record.ContentPages); err != nil {
		return nil, err
	}
	x := pagePull{svc: s, job: job, lay: l, progress: s.progress(ctx, p, job)}
	defer func() { s.store.Forget(x.made...) }()
	end := int64(0) // of the ranges so far
	for marker, first := "", true; first || marker != ""; first = false {
		ranges, next, err := s.remote.PageRanges(ctx, &job.Remote, job.total, marker)
		if err != nil {
			return nil, err
		}
		// A list that goes on has to get on: each page of it has ranges, behind those before.
		if next != "" && len(ranges) == 0 || len(ranges) > 0 && ranges[0].From < end {
			return nil, source.BadPages("the page list does not end")
		}
		if len(ranges) > 0 {
			end = ranges[len(ranges)-1].To
		}
		for len(ranges) > 0 {
			n := 1
			for n < len(ranges) && ranges[n].From-ranges[n-1].To <= pullGap && ranges[n].To-ranges[0].From <= pullRun {
				n++
			}
			if err := x.run(ctx, ranges[:n]); err != nil {
				return nil, err
			}
			ranges = ranges[n:]
		}
		marker = next
	}
	if err := x.flush(ctx); err != nil {
		return nil, err
	}
	return &fetched{store: s.store, size: job.total}, nil
}

// pagePull lays ranges as they come, some in each transaction.
type pagePull struct {
	svc      *Service
	job      *pull
	lay      *laying
	progress func(done int64) error
	ranges   []record.PageRange
	inline   int // bytes
	made     []engine.Ref
}

// run reads ranges that lie close together, or one that is long.
func (x *pagePull) run(ctx context.Context, ranges []source.Range) error {
	from, to := ranges[0].From, ranges[len(ranges)-1].To
	terms := source.Ask{Limit: to - from, Ranged: true, Range: protocol.Range{First: from, Last: to - 1}}
	resp, err := x.svc.remote.Get(ctx, &x.job.Remote, &terms)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.ContentLength != to-from {
		return source.BadPages("a range has another length than was asked for")
	}
	for at := from; len(ranges) > 0; ranges = ranges[1:] {
		r := ranges[0]
		if _, err := io.CopyN(io.Discard, resp.Body, r.From-at); err != nil {
			return x.broken(ctx, err)
		}
		for at = r.From; at < r.To; {
			u := record.PageRange{From: at, To: min(r.To, at+engine.MaxChunk)}
			if err := x.read(ctx, resp.Body, &u); err != nil {
				return x.broken(ctx, err)
			}
			at = u.To
			if x.ranges = append(x.ranges, u); len(x.ranges) == copyRanges || x.inline > copyInline {
				if err := x.flush(ctx); err != nil {
					return err
				}
			}
			if err := x.progress(at); err != nil {
				return err
			}
		}
	}
	return nil
}

// read takes the bytes of a range in.
func (x *pagePull) read(ctx context.Context, body io.Reader, u *record.PageRange) error {
	if size := u.To - u.From; size <= record.MaxInlinePages {
		u.Kind, u.Bytes = record.PageInline, make([]byte, size)
		x.inline += int(size)
		_, err := io.ReadFull(body, u.Bytes)
		return err
	}
	c, err := x.svc.store.Put(ctx, body, u.To-u.From)
	if err != nil {
		return err
	}
	u.Kind, u.Ref = record.PageChunk, c.Ref
	x.made = append(x.made, c.Ref)
	return nil
}

// broken turns an error of reading into the copy's: the store's own are passed on, any other is the source's.
func (x *pagePull) broken(ctx context.Context, err error) error {
	if isStoreError(err) || ctx.Err() != nil {
		return err
	}
	return protocol.ErrCannotVerifyCopySource.Because(err)
}

func (x *pagePull) flush(ctx context.Context) error {
	if len(x.ranges) == 0 {
		return nil
	}
	if err := x.lay.pages(ctx, x.ranges); err != nil {
		return err
	}
	x.svc.store.Forget(x.made...)
	x.ranges, x.made, x.inline = x.ranges[:0], x.made[:0], 0
	return nil
}
