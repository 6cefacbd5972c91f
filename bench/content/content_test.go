package content

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestItemsAreFixedAndDiffer(t *testing.T) {
	require.Equal(t, Slice(7, 64), Slice(7, 64))
	seen := map[string]uint64{}
	for i := uint64(0); i < 4096; i++ {
		k := string(Slice(i, 32))
		j, dup := seen[k]
		if dup && j/64 == i/64 {
			t.Fatalf("items %d and %d are equal", j, i)
		}
		seen[k] = i
	}
	require.Greater(t, len(seen), 4000)
	require.Len(t, Slice(1<<63, Max), Max)
}

func TestChecker(t *testing.T) {
	want := []byte("abcdef")
	for _, tc := range []struct {
		name   string
		pieces []string
		write  string // expected error of a write
		end    string // expected error of Close
	}{
		{"equal in pieces", []string{"ab", "", "cdef"}, "", ""},
		{"short", []string{"abc"}, "", "ended 3 bytes early"},
		{"long", []string{"abcdefg"}, "longer than it should be", ""},
		{"wrong", []string{"abc", "dxf"}, "wrong byte, 2 before the end", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var c Checker
			c.Expect(want)
			for _, p := range tc.pieces {
				if _, err := c.Write([]byte(p)); err != nil {
					require.ErrorContains(t, err, tc.write)
					require.NotEmpty(t, tc.write)
					return
				}
			}
			require.Empty(t, tc.write)
			if tc.end == "" {
				require.NoError(t, c.Close())
			} else {
				require.ErrorContains(t, c.Close(), tc.end)
			}
		})
	}
}

func TestSliceIsNotZero(t *testing.T) {
	require.False(t, bytes.Equal(Slice(0, 64), make([]byte, 64)))
}
