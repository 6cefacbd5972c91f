package mirror

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/goldentest"
)

func TestSidecarGolden(t *testing.T) {
	s := new(summer)
	for _, part := range [][]byte{make([]byte, 100), bytes.Repeat([]byte("blobd"), 4000)} {
		s.add(part)
	}
	b := s.encode()
	goldentest.Hex(t, "sidecar", b)
	got, err := decodeSums(b)
	require.NoError(t, err)
	assert.Equal(t, int64(20_100), got.size)
	for at := range b {
		bad := bytes.Clone(b)
		bad[at] ^= 2
		_, err := decodeSums(bad)
		assert.ErrorIs(t, err, engine.ErrCorrupt, "byte %d", at)
	}
}

func FuzzSidecar(f *testing.F) {
	f.Add(new(summer).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeSums(b)
		if err == nil && int64(len(s.raw)/8) != (s.size+sumBlock-1)/sumBlock {
			t.Fatalf("%d sums for %d bytes", len(s.raw)/8, s.size)
		}
		if err != nil && errors.Is(err, engine.ErrNotFound) {
			t.Fatal(err)
		}
	})
}
