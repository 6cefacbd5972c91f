package record

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
)

func TestPageRangeStored(t *testing.T) {
	for want, p := range map[string]PageRange{
		"0161626364": {From: 512, To: 516, Kind: PageInline, Bytes: []byte("abcd")},
		"02010200000000000000000000000000000000000000000000800880" + "20": {From: 512, To: 512 + 4096, Kind: PageChunk, Ref: engine.Ref{1, 2}, Offset: 1024},
		"0380808080808002": {From: 0, To: 8 << 40, Kind: PageHole},
	} {
		require.Equal(t, want, fmt.Sprintf("%x", p.AppendTo(nil)))
		var q PageRange
		require.NoError(t, q.Decode(p.From, p.AppendTo(nil)))
		require.Equal(t, p, q)
	}
}

func FuzzPageRange(f *testing.F) {
	f.Add([]byte{1, 2, 3})
	f.Add([]byte{3, 0x80, 0x20})
	f.Fuzz(func(t *testing.T, v []byte) {
		var p, q PageRange
		if p.Decode(512, v) == nil {
			require.NoError(t, q.Decode(512, p.AppendTo(nil)))
			require.Equal(t, p, q)
		}
	})
}
