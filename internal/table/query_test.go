package table

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/table/entity"
	"github.com/blobd/blobd/internal/table/filter"
)

// fill makes a table with rows 0000 to n-1 in one partition.
func fill(t *testing.T, n int) (*Service, *table) {
	s := newService(t, enginetest.New(t))
	tb := s.mustCreate(t, "people")
	var changes []change
	for i := range n {
		changes = append(changes, change{kind: insert, pk: "p", rk: fmt.Sprintf("%04d", i), row: entity.AppendRow(nil, 0, nil)})
	}
	_, err := s.write(context.Background(), tb, changes)
	require.NoError(t, err)
	return s, tb
}

func TestPageEndsWithItsTime(t *testing.T) {
	s, tb := fill(t, 600)
	f, err := filter.Parse("A eq 1") // no row passes: the pages are empty and go on all the same
	require.NoError(t, err)
	q := query{filter: f, top: maxPageRows} // no time at all
	pages := 0
	for {
		next, err := s.run(context.Background(), tb, &q, new(collect))
		require.NoError(t, err)
		pages++
		if q.from = next; next == nil {
			break
		}
		pk, rk := splitPosition(next)
		require.Equal(t, "p", pk)
		require.Equal(t, fmt.Sprintf("%04d", pages*(clockEvery-1)), rk)
	}
	require.Equal(t, 3, pages)
}

func TestPageEndsWithItsRequest(t *testing.T) {
	s, tb := fill(t, 600)
	ctx, cancel := context.WithCancel(context.Background())
	rows := 0
	_, err := s.run(ctx, tb, &query{filter: &filter.Filter{}, top: maxPageRows, time: maxPageTime}, pageFunc(func(_, _ []byte, _ entity.Row) error {
		rows++
		cancel()
		return nil
	}))
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, rows, clockEvery+1)
}

func TestTokens(t *testing.T) {
	require.Equal(t, "1!8!U21pdGg-", token("Smith"))
	for _, s := range []string{"", "a", "ä\U0001F600", "???>>>", "1!8!U21pdGg-"} {
		back, err := parseToken("NextRowKey", token(s))
		require.NoError(t, err)
		require.Equal(t, s, back)
	}
	for _, bad := range []string{"1!4!", "1!4!abc", "1!4!ab=d", "1!4!_*-*", "1!-1!", "1!4!//8-"} {
		_, err := parseToken("NextRowKey", bad)
		require.ErrorIs(t, err, protocol.ErrInvalidQueryParameterValue, bad)
	}
}

// TestPlainTokens: a key in plain text is a position too.
func TestPlainTokens(t *testing.T) {
	for _, s := range []string{"x", "Smith", "1!", "1!x!abcd", "2!4!abcd"} {
		got, err := parseToken("NextRowKey", s)
		require.NoError(t, err)
		require.Equal(t, s, got)
	}
}

func TestRecord(t *testing.T) {
	r := record{name: "People", generation: 42}
	r.policies = append(r.policies, auth.Policy{ID: "x", Start: "2026-01-01", Permission: "r", HasPermission: true}, auth.Policy{ID: "y"})
	back, err := decodeRecord(r.encode())
	require.NoError(t, err)
	require.Equal(t, r, back)
	const golden = "\x01" + "\x00\x00\x00\x00\x00\x00\x00\x2a" + "\x06People" + "\x02" + "\x01x" + "\x0a2026-01-01" + "\x00" + "\x01" + "\x01r" + "\x01y" + "\x00\x00\x00\x00"
	require.Equal(t, golden, string(r.encode()))
	for i := range golden {
		_, err := decodeRecord([]byte(golden[:i]))
		require.Error(t, err)
	}
	_, err = decodeRecord([]byte("\x02" + golden[1:]))
	require.ErrorContains(t, err, "unknown version 2")
	require.Equal(t, "tacct\x00people\x00", string(tableKey("acct", "People")))
}
