package protocol

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheckContainerName(t *testing.T) {
	for _, good := range []string{"abc", "a1b", "a-b", "a-b-c", "000", "$root", "$web", "$logs", strings.Repeat("a", 63)} {
		require.NoError(t, CheckContainerName(good), good)
	}
	for _, bad := range []string{"Abc", "a_b", "-ab", "ab-", "a--b", "a.b", "a b", "$rooT", "é23", "a\x00b"} {
		require.ErrorIs(t, CheckContainerName(bad), ErrInvalidResourceName, bad)
	}
	for _, length := range []string{"", "a", "ab", strings.Repeat("a", 64)} {
		require.ErrorIs(t, CheckContainerName(length), ErrOutOfRangeInput, length)
	}
}

func TestCheckBlobName(t *testing.T) {
	for _, good := range []string{"a", "/", "a//../b%2Fc", "b.", "é+ ", "\U0001F600", strings.Repeat("é", 1024), "\x00", "\uFFFF"} {
		require.NoError(t, CheckBlobName(good), good)
	}
	require.ErrorIs(t, CheckBlobName(""), ErrOutOfRangeInput)
	require.ErrorIs(t, CheckBlobName(strings.Repeat("x", 1025)), ErrOutOfRangeInput)
	require.ErrorIs(t, CheckBlobName("a\xff"), ErrInvalidUri)
}

func TestMetadata(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []Pair
		want error
	}{
		{"case is kept", []Pair{{"CamelCase", " a b "}, {"_x1", ""}}, nil},
		{"empty name", []Pair{{"", "v"}}, ErrEmptyMetadataKey},
		{"a digit first", []Pair{{"1a", "v"}}, ErrInvalidMetadata},
		{"a dash", []Pair{{"a-b", "v"}}, ErrInvalidMetadata},
		{"not ASCII", []Pair{{"a", "é"}}, ErrInvalidMetadata},
		{"twice", []Pair{{"a", "1"}, {"A", "2"}}, ErrInvalidMetadata},
		{"at the limit", []Pair{{"a", strings.Repeat("x", 8191)}}, nil},
		{"over the limit", []Pair{{"a", strings.Repeat("x", 8192)}}, ErrMetadataTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m Metadata
			var err error
			for _, p := range c.in {
				if err = m.Add(p.Name, p.Value); err != nil {
					break
				}
			}
			if c.want == nil {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, c.want)
			}
		})
	}
	var m Metadata
	require.NoError(t, m.Add("CamelCase", " a b "))
	require.Equal(t, []Pair{{"CamelCase", "a b"}}, m.Pairs)
}

func FuzzNames(f *testing.F) {
	f.Add("abc", "a//b")
	f.Add("$root", "\x00")
	f.Fuzz(func(t *testing.T, a, b string) {
		if CheckContainerName(a) == nil {
			require.NotContains(t, a, "\x00")
			require.LessOrEqual(t, len(a), 63)
		}
		if CheckBlobName(b) == nil {
			require.LessOrEqual(t, len([]rune(b)), MaxBlobName)
		}
		var m Metadata
		if m.Add(a, b) == nil {
			require.NotContains(t, m.Pairs[0].Value, "\n")
		}
	})
}
