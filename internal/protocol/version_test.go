package protocol

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseVersion(t *testing.T) {
	for _, c := range []struct {
		text           string
		lenient, exact bool
	}{
		{"2009-09-19", true, true},
		{"2021-12-02", true, true},
		{string(Newest), true, true},
		{"2027-01-01", true, false},
		{"2031-12-31", true, false},
		{"2027-02-30", false, false},
		{"2021-12-03", false, false}, // within the known ones, but never published
		{"2008-10-27", false, false},
		{"2026-12-6", false, false},
		{"2027-01-01 ", false, false},
		{"20270101", false, false},
		{"latest", false, false},
		{"", false, false},
	} {
		v, ok := ParseVersion(c.text, false)
		require.Equal(t, c.lenient, ok, c.text)
		if ok {
			require.Equal(t, Version(c.text), v)
		}
		_, ok = ParseVersion(c.text, true)
		require.Equal(t, c.exact, ok, c.text)
	}
}

func TestKnownVersionsAreInOrder(t *testing.T) {
	all := KnownVersions()
	require.True(t, slices.IsSorted(all), "they are searched as a sorted list")
	require.Equal(t, Newest, all[len(all)-1])
}

func FuzzParseVersion(f *testing.F) {
	for _, v := range KnownVersions() {
		f.Add(string(v))
	}
	f.Add("2027-01-01")
	f.Add("9999-99-99")
	f.Add("2027-01-01T00:00:00Z")
	f.Fuzz(func(t *testing.T, text string) {
		v, ok := ParseVersion(text, false)
		_, strict := ParseVersion(text, true)
		require.False(t, strict && !ok)
		if !ok {
			return
		}
		// Versions compare as strings, so nothing but a date may pass.
		date, err := time.Parse(time.DateOnly, string(v))
		require.NoError(t, err)
		require.Equal(t, text, date.Format(time.DateOnly))
		require.Equal(t, strict, slices.Contains(KnownVersions(), v))
		require.True(t, strict || v > Newest)
	})
}
