package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/tagquery"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/replay"
)

// TestTagRace: whoever wins, the blob is found by the tags that it has in the end and by no others.
func TestTagRace(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, 0)
	seed := replay.Seed(t)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(w)))
			for range 40 {
				tags := []protocol.Pair{{Name: "k", Value: fmt.Sprint(rnd.IntN(3))}}
				at := r.on("b")
				var err error
				switch rnd.IntN(4) {
				case 0:
					n := r.new("b", record.BlockBlob)
					n.Blob.Tags = tags
					_, err = r.Put(ctx, n, uploadOf("x"))
				case 1:
					_, err = r.Delete(ctx, &DeleteRequest{Target: at})
				default:
					err = r.SetTags(ctx, &at, Selector{}, tags)
				}
				if err != nil && !errors.Is(err, protocol.ErrBlobNotFound) {
					t.Error(err)
				}
			}
		})
	}
	stop, swept := make(chan struct{}), make(chan error)
	go func() {
		for {
			if err := r.SweepTags(ctx); err != nil {
				swept <- err
				return
			}
			select {
			case <-stop:
				swept <- nil
				return
			default:
			}
		}
	}()
	wg.Wait()
	close(stop)
	require.NoError(t, <-swept)
	r.put("b", "x")
	at := r.on("b")
	require.NoError(t, r.SetTags(ctx, &at, Selector{}, []protocol.Pair{{Name: "k", Value: "1"}}))
	for _, value := range []string{"0", "1", "2"} {
		where, err := tagquery.ParseWhere("k='"+value+"'", tagquery.Find)
		require.NoError(t, err)
		found := 0
		_, err = r.Find(ctx, &FindRequest{Account: "acct", Where: where, Limit: 10}, func(string, string, *record.Blob) { found++ })
		require.NoError(t, err)
		require.Equal(t, value == "1", found == 1, value)
	}
}
