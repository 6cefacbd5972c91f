package protocol

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWordsWithoutCase(t *testing.T) {
	for s, want := range map[string][2]bool{"true": {true, true}, "True": {true, true}, "TRUE": {true, true}, "false": {false, true}, "False": {false, true}, "": {}, "1": {}, "yes": {}} {
		value, ok := ParseFlag(s)
		require.Equal(t, want, [2]bool{value, ok}, s)
	}
	require.Equal(t, "committed", Word("Committed"))
}
