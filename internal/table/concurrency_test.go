package table

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/engine/local"
	"github.com/blobd/blobd/internal/engine/local/crashtest"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/table/entity"
	"github.com/blobd/blobd/internal/table/filter"
)

// TestETagsLoseNoUpdate has 64 clients count in 8 entities of one partition, each update on condition of the ETag it read.
func TestETagsLoseNoUpdate(t *testing.T) {
	const clients, each, entities = 64, 10, 8
	s := newService(t, enginetest.New(t))
	tb := s.mustCreate(t, "people")
	count := func(n int32) []entity.Property { return []entity.Property{{Name: "N", Value: entity.Int32Value(n)}} }
	for i := range entities {
		s.put(t, tb, "p", fmt.Sprint(i), count(0)...)
	}
	read := func(rk string) (n int32, stamp engine.Stamp, err error) {
		err = s.get(context.Background(), tb, "p", rk, func(_, _ []byte, row entity.Row) error {
			props := row.Properties()
			props.Next()
			n, stamp = int32(props.Value().Int()), row.Stamp()
			return nil
		})
		return n, stamp, err
	}
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for done := 0; done < each; {
				rk := fmt.Sprint((c + done) % entities)
				n, stamp, err := read(rk)
				if err == nil {
					_, err = s.write(context.Background(), tb, []change{{kind: merge, pk: "p", rk: rk, match: stamp, row: entity.AppendRow(nil, 0, count(n+1))}})
				}
				switch {
				case err == nil:
					done++
				case !errors.Is(err, protocol.ErrUpdateConditionNotSatisfied):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	sum := int32(0)
	for i := range entities {
		n, _, err := read(fmt.Sprint(i))
		require.NoError(t, err)
		sum += n
	}
	require.EqualValues(t, clients*each, sum)
}

// TestDeletionAndWriters deletes and makes a table again under writers: what a writer was told is done is there, or went with
// the table that it was done in; nothing of an old table appears in a new one.
func TestDeletionAndWriters(t *testing.T) {
	const writers, each, rounds = 8, 50, 10
	s := newService(t, enginetest.New(t))
	s.mustCreate(t, "people")
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				tb, err := s.find(context.Background(), "acct", "people")
				if err == nil {
					_, err = s.write(context.Background(), tb, []change{{kind: insertOrReplace, pk: fmt.Sprint(w), rk: fmt.Sprint(i),
						row: entity.AppendRow(nil, 0, []entity.Property{{Name: "G", Value: entity.Int64Value(int64(tb.generation))}})}})
				}
				if err != nil && !errors.Is(err, protocol.ErrTableNotFound) {
					t.Error(err)
				}
			}
		})
	}
	for range rounds {
		require.NoError(t, s.DeleteTable(context.Background(), "acct", "people"))
		require.NoError(t, s.CreateTable(context.Background(), "acct", "people"))
	}
	wg.Wait()
	tb, err := s.find(context.Background(), "acct", "people")
	require.NoError(t, err)
	s.sweeper.Wake()
	s.Close()
	require.NoError(t, s.sweepAll(context.Background()))
	require.NoError(t, s.store.View(context.Background(), nil, func(r engine.Reader) error {
		it := r.Scan(engine.SpaceEntity, nil, nil)
		defer it.Close()
		for it.Next() {
			require.True(t, strings.HasPrefix(string(it.Key()), string(tb.prefix())), "an entity of a deleted table is left")
		}
		return nil
	}))
}

// TestCrash cuts the power at every file operation while transactions run. After each cut a transaction is there wholly or not
// at all, and there if it was answered.
func TestCrash(t *testing.T) {
	const transactions, partitions, rowsEach = 12, 3, 5
	crashtest.Run(t, crashtest.Config[int32]{
		Store:  local.Options{Dirs: []string{"data"}, CacheSize: 1 << 20, MemTableSize: 256 << 10},
		Seed:   rand.Uint64(),
		Points: 300,
		Script: func(store *local.Store, j *crashtest.Journal[int32], _ *rand.Rand) error {
			s := New(Options{Store: store})
			defer s.Close()
			err := j.Do("table", 1, func() error { return s.CreateTable(context.Background(), "acct", "people") })
			if err != nil {
				return err
			}
			tb, err := s.find(context.Background(), "acct", "people")
			// Each transaction rewrites a partition, one row of it in parts.
			for i := int32(1); i <= transactions && err == nil; i++ {
				p := int(i) % partitions
				var changes []change
				for r := range rowsEach {
					props := []entity.Property{{Name: "V", Value: entity.Int32Value(i)}}
					if r == p && i%2 == 0 {
						props = append(props, entity.Property{Name: "Large", Value: large(i)})
					}
					changes = append(changes, change{kind: insertOrReplace, pk: fmt.Sprint(p), rk: fmt.Sprint(r), row: entity.AppendRow(nil, 0, props)})
				}
				err = j.Do(fmt.Sprint(p), i, func() error {
					_, err := s.write(context.Background(), tb, changes)
					return err
				})
			}
			return err
		},
		Check: func(store *local.Store, want map[string][]int32, _ int) error {
			s := New(Options{Store: store})
			defer s.Close()
			tb, err := s.find(context.Background(), "acct", "people")
			if errors.Is(err, protocol.ErrTableNotFound) && (want["table"] == nil || slices.Contains(want["table"], 0)) {
				return nil
			}
			for p := 0; p < partitions && err == nil; p++ {
				err = checkPartition(s, tb, fmt.Sprint(p), want[fmt.Sprint(p)], rowsEach)
			}
			return err
		},
	})
}

func large(i int32) entity.Value {
	return entity.StringValue(strings.Repeat(string(rune('a'+i%26)), 70_000))
}

// checkPartition tells whether a partition is as one of the transactions left it; want holds the numbers of those that may have
// been the last, 0 for none.
func checkPartition(s *Service, tb *table, pk string, want []int32, rowsEach int) error {
	if want == nil {
		want = []int32{0}
	}
	seen := map[int32]int{}
	f, err := filter.Parse("PartitionKey eq '" + pk + "'")
	if err != nil {
		return err
	}
	_, err = s.run(context.Background(), tb, &query{filter: f, top: maxPageRows, time: maxPageTime}, pageFunc(func(_, _ []byte, row entity.Row) error {
		v := int32(0)
		for props := row.Properties(); props.Next(); {
			switch value := props.Value(); string(props.Name()) {
			case "V":
				v = int32(value.Int())
				seen[v]++
			case "Large":
				if value != large(v) {
					return fmt.Errorf("partition %s: wrong parts in the entity of transaction %d", pk, v)
				}
			}
		}
		return nil
	}))
	if err != nil {
		return err
	}
	for _, w := range want {
		if w == 0 && len(seen) == 0 || w != 0 && len(seen) == 1 && seen[w] == rowsEach {
			return nil
		}
	}
	return fmt.Errorf("partition %s has rows %v of transactions, may have those of one of %v", pk, seen, want)
}

// pageFunc is a page that looks at each entity.
type pageFunc func(pk, rk []byte, row entity.Row) error

func (f pageFunc) add(pk, rk []byte, row entity.Row) (bool, error) { return false, f(pk, rk, row) }

// More tables are written to than stay in memory: no write is lost, and none comes into a table that was deleted or into its successor.
func TestTablesInMemoryAreBounded(t *testing.T) {
	s := newService(t, enginetest.New(t))
	s.most = 3
	ctx := context.Background()
	write := func(tb *table, rk string) error {
		_, err := s.write(ctx, tb, []change{{kind: insert, pk: "p", rk: rk, row: entity.AppendRow(nil, 0, nil)}})
		return err
	}
	var handles []*table
	for i := range 20 {
		name := fmt.Sprintf("table%d", i)
		require.NoError(t, s.CreateTable(ctx, "acct", name))
		tb, err := s.find(ctx, "acct", name)
		require.NoError(t, err)
		handles = append(handles, tb)
		require.LessOrEqual(t, len(s.tables), s.most)
	}
	for i, tb := range handles {
		require.NoError(t, write(tb, "a"), "a handle of before the table left the memory")
		require.ErrorIs(t, write(tb, "a"), protocol.ErrEntityAlreadyExists, i)
	}
	require.NoError(t, s.DeleteTable(ctx, "acct", "table0"))
	require.ErrorIs(t, write(handles[0], "b"), protocol.ErrTableNotFound)
	require.NoError(t, s.CreateTable(ctx, "acct", "table0"))
	require.ErrorIs(t, write(handles[0], "b"), protocol.ErrTableNotFound, "its successor is another table")

	// A table that is being written to stays, so that its deletion waits.
	tb, err := s.find(ctx, "acct", "table1")
	require.NoError(t, err)
	tb, err = s.enter(ctx, tb)
	require.NoError(t, err)
	for i := range handles {
		_, err := s.find(ctx, "acct", fmt.Sprintf("table%d", i))
		require.NoError(t, err)
	}
	again, err := s.find(ctx, "acct", "table1")
	require.NoError(t, err)
	require.Same(t, tb, again)
	tb.mu.RUnlock()
}
