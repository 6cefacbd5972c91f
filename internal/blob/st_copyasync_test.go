package blob

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// How many may run, of one account and of all.
func TestCrowded(t *testing.T) {
	s := &core{copies: map[[16]byte]*runningCopy{}}
	for i := range maxCopies {
		require.Equal(t, i >= maxAccountCopies, s.crowded("one"))
		require.False(t, s.crowded("another"))
		name := "one"
		if i >= maxAccountCopies {
			name = fmt.Sprint(i)
		}
		s.copies[[16]byte{byte(i)}] = &runningCopy{account: name}
	}
	require.True(t, s.crowded("another"))
}
