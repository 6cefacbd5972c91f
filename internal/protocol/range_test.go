package protocol

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseRange(t *testing.T) {
	for s, want := range map[string]Range{
		"bytes=0-0": {0, 0}, "bytes=5-9": {5, 9}, "bytes=5-": {5, -1}, "bytes=0-9223372036854775807": {0, 1<<63 - 1},
	} {
		got, ok := ParseRange(s)
		require.True(t, ok, s)
		require.Equal(t, want, got, s)
	}
	for _, s := range []string{"", "bytes", "bytes=", "bytes=-", "bytes=-5", "bytes=5", "bytes=9-5", "bytes=a-b", "bytes=+1-2", "bytes=1-+2", "bytes=1--2",
		"bytes=0-1,3-4", "items=0-1", "bytes = 0-1", "bytes=0-9223372036854775808", "bytes=١-٢"} {
		_, ok := ParseRange(s)
		require.False(t, ok, s)
	}
}

func TestRangeWithin(t *testing.T) {
	for _, c := range []struct {
		r              Range
		size           int64
		offset, length int64
		ok             bool
	}{
		{Range{0, 0}, 1, 0, 1, true}, {Range{0, -1}, 10, 0, 10, true}, {Range{5, 100}, 10, 5, 5, true}, {Range{9, 9}, 10, 9, 1, true},
		{Range{10, -1}, 10, 0, 0, false}, {Range{0, -1}, 0, 0, 0, false}, {Range{0, 4194303}, 0, 0, 0, false},
	} {
		offset, length, ok := c.r.Within(c.size)
		require.Equal(t, []any{c.offset, c.length, c.ok}, []any{offset, length, ok}, "%v of %d", c.r, c.size)
	}
	require.Equal(t, "bytes 5-9/10", string(AppendContentRange(nil, 5, 5, 10)))
}

func TestRequestRangePrefersItsOwnHeader(t *testing.T) {
	r, ok := RequestRange(headers{"range": "bytes=1-2", "x-ms-range": "bytes=3-4"})
	require.True(t, ok)
	require.Equal(t, Range{3, 4}, r)
	r, ok = RequestRange(headers{"range": "bytes=1-2"})
	require.True(t, ok)
	require.Equal(t, Range{1, 2}, r)
	_, ok = RequestRange(headers{})
	require.False(t, ok)
}

func FuzzParseRange(f *testing.F) {
	f.Add("bytes=0-1", int64(10))
	f.Add("bytes=5-", int64(0))
	f.Fuzz(func(t *testing.T, s string, size int64) {
		r, ok := ParseRange(s)
		if !ok {
			return
		}
		require.True(t, r.First >= 0 && (r.Last == -1 || r.Last >= r.First))
		if offset, length, ok := r.Within(size); ok {
			require.True(t, offset >= 0 && length > 0 && offset+length <= size)
		}
	})
}
