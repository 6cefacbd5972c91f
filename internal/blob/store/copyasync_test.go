package store

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// How many may run, of one account and of all.
func TestCrowded(t *testing.T) {
	s := &Service{copies: map[[16]byte]*runningCopy{}}
	for i := range maxCopies {
		require.Equal(t, i >= MaxAccountCopies, s.crowded("one"))
		require.False(t, s.crowded("another"))
		name := "one"
		if i >= MaxAccountCopies {
			name = fmt.Sprint(i)
		}
		s.copies[[16]byte{byte(i)}] = &runningCopy{account: name}
	}
	require.True(t, s.crowded("another"))
}
