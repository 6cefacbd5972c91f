package store

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// swapped is a store in which every chunk is the last one that was put of its size, as if files had come to lie in each other's place.
type swapped struct {
	engine.Store
	last map[int64]engine.Ref
}

func (s *swapped) Put(ctx context.Context, r io.Reader, size int64) (engine.Chunk, error) {
	c, err := s.Store.Put(ctx, r, size)
	s.last[size] = c.Ref
	return c, err
}

func (s *swapped) OpenWhole(ctx context.Context, c engine.Chunk) (io.ReadCloser, error) {
	c.Ref = s.last[c.Size]
	return s.Store.OpenWhole(ctx, c)
}

// TestContentIsHeldToTheSumInItsRecord: of every kind of content that has sums, another chunk of the same length is an error, and so is a
// copy of it.
func TestContentIsHeldToTheSumInItsRecord(t *testing.T) {
	r := newRig(t, 0)
	require.NoError(t, r.Close())
	s := &swapped{r.store, map[int64]engine.Ref{}}
	r.Service = New(Options{Store: s})
	const size = 100_000
	text := func(c string, n int) string { return strings.Repeat(c, n) }
	r.put("put", text("a", size))
	r.put("long", text("b", engine.MaxChunk+size)) // two chunks, of which the second is misplaced
	r.create("appended", record.AppendBlob, 0)
	for range record.MaxDirect + 2 { // more than a record names by itself
		r.append("appended", text("c", size))
	}
	r.put("last", text("z", size))
	for _, name := range []string{"put", "long", "appended"} {
		q := ReadRequest{Target: r.on(name)}
		read := func() ([]byte, error) {
			rd, err := r.Open(context.Background(), &q)
			if err != nil {
				return nil, err
			}
			b, err := io.ReadAll(rd.Stream())
			return b, errors.Join(err, rd.Stream().Close())
		}
		b, err := read()
		require.ErrorIs(t, err, engine.ErrCorrupt, name)
		require.NotContains(t, string(b), "z", name)
		q.Ranged, q.Range = true, protocol.Range{First: 5, Last: 10}
		_, err = read()
		require.NoError(t, err, "%s: a part of a chunk has no sum", name)
	}
	require.Equal(t, text("z", size), r.read("last", 0))
}
