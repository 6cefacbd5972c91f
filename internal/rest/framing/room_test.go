package framing

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The room of one answer is another's only once the next header is read, and any size is given.
func TestRoom(t *testing.T) {
	c := connect(&script{in: []byte(strings.Repeat(get+"\r\n", 2))}, DefaultLimits())
	require.NoError(t, header(c))
	first := c.Room(5)
	require.Len(t, first, 5)
	require.Len(t, c.Room(pooled), pooled)
	require.Same(t, &first[0], &c.Room(1)[0])
	require.Len(t, c.Room(pooled+1), pooled+1)
	copy(first, "hello")
	require.NoError(t, header(c))
	require.Nil(t, c.room, "given back when the answer is sent")
	require.Len(t, c.Room(3), 3)
}
