package store

import (
	"context"
	"errors"
	"io"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/source"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/md5lanes"
	"github.com/blobd/blobd/internal/protocol"
)

// fetchRemote reads a source elsewhere into chunks of this server. progress, if set, is told the bytes so far, and may take the
// pieces over.
func (s *Service) fetchRemote(ctx context.Context, src *source.Remote, t *SourceTerms, progress func(f *fetched, done int64) error) (*fetched, error) {
	resp, err := s.remote.Get(ctx, src, t.ask())
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	f := &fetched{store: s.store, rec: source.Properties(resp), size: resp.ContentLength}
	if f.size <= engine.MaxInline && !t.listed {
		f.inline = make([]byte, f.size)
		if _, err := io.ReadFull(resp.Body, f.inline); err != nil {
			return nil, protocol.ErrCannotVerifyCopySource.Because(err)
		}
		f.Sums = sumBytes(f.inline, t.Want.HasMD5)
		return f, nil
	}
	body := io.Reader(resp.Body)
	var digest *md5lanes.Digest
	if t.Want.HasMD5 {
		digest = md5lanes.New(f.size)
		defer digest.Close()
		body = io.TeeReader(body, digest)
	}
	for done := int64(0); done < f.size; {
		c, err := s.store.Put(ctx, body, min(f.size-done, engine.MaxChunk))
		if err == nil {
			f.made = append(f.made, c.Ref)
			f.add(record.Piece{Chunk: c, First: t.listed && done == 0})
			done += c.Size
			if progress != nil {
				err = progress(f, done)
			}
		}
		if err != nil {
			f.done()
			if isStoreError(err) || ctx.Err() != nil {
				return nil, err
			}
			return nil, protocol.ErrCannotVerifyCopySource.Because(err)
		}
	}
	if t.Want.HasMD5 {
		f.MD5, f.HasMD5 = digest.Sum(), true
	}
	return f, nil
}

func isStoreError(err error) bool {
	for _, kind := range [...]error{engine.ErrNoSpace, engine.ErrUnavailable, engine.ErrClosed, engine.ErrCorrupt} {
		if errors.Is(err, kind) {
			return true
		}
	}
	var e *protocol.Error
	return errors.As(err, &e)
}
