package record

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// Every Ref of every kind of entry is visited where it lies, and nothing else changes when it is replaced.
func TestRefsAreVisitedWhereTheyLie(t *testing.T) {
	ref := func(n byte) (r engine.Ref) {
		for i := range r {
			r[i] = n
		}
		return r
	}
	chunk := func(n byte) engine.Chunk { return engine.Chunk{Ref: ref(n), Size: int64(n) * 300, CRC64: 7} }
	partition := AppendPartition(nil, 1, "a\x00b")
	page := func(to byte) []byte {
		b := []byte{ListVersion}
		for _, p := range []Piece{{Chunk: chunk(1), First: true, Block: "block"}, {Chunk: chunk(2)}} {
			for i := range p.Ref {
				p.Ref[i] += to
			}
			b = AppendPiece(b, &p)
		}
		return b
	}
	same := func(c engine.Chunk, to byte) engine.Chunk { c.Ref = ref(c.Ref[0] + to); return c }
	for _, tt := range []struct {
		name  string
		space engine.Space
		key   []byte
		value func(to byte) []byte
		sizes []int64
	}{
		{"blob", engine.SpaceBlob, partition, func(to byte) []byte {
			return (&Blob{Type: BlockBlob, Size: 5, Metadata: []protocol.Pair{{Name: "n", Value: "v"}}, MD5: "0123456789abcdef",
				Content: Content{Kind: ContentChunks, Chunks: []engine.Chunk{same(chunk(1), to), same(chunk(2), to)}}}).AppendTo(nil)
		}, []int64{300, 600}},
		{"snapshot", engine.SpaceBlobHistory, AppendSlot(bytes.Clone(partition), Slot{5, SlotSnapshot}), func(to byte) []byte {
			return (&Blob{Type: AppendBlob, Content: Content{Kind: ContentChunks, Chunks: []engine.Chunk{same(chunk(3), to)}}}).AppendTo(nil)
		}, []int64{900}},
		{"inline blob", engine.SpaceBlob, partition, func(byte) []byte {
			return (&Blob{Type: BlockBlob, Size: 5, Content: Content{Kind: ContentInline}}).AppendTo(nil)
		}, nil},
		{"list", engine.SpaceBlock, AppendContentKey(nil, partition, KeyContentPage, 9), page, []int64{300, 600}},
		{"uncommitted block", engine.SpaceBlock, append(PendingPrefix(partition, 9), "id"...), func(to byte) []byte {
			return AppendBlockChunks(nil, []engine.Chunk{same(chunk(1), to), same(chunk(4), to)})
		}, []int64{300, 1200}},
		{"pages", engine.SpacePage, AppendContentKey(nil, partition, KeyPageRange, 9), func(to byte) []byte {
			return (&PageRange{From: 0, To: 1024, Kind: PageChunk, Ref: ref(5 + to), Offset: 512}).AppendTo(nil)
		}, []int64{1536}},
		{"inline pages", engine.SpacePage, AppendContentKey(nil, partition, KeyPageRange, 9), func(byte) []byte {
			return (&PageRange{From: 0, To: 512, Kind: PageInline, Bytes: make([]byte, 512)}).AppendTo(nil)
		}, nil},
		{"entity", engine.SpaceEntity, partition, func(byte) []byte { return bytes.Repeat([]byte{1}, 100) }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := tt.value(0)
			var sizes []int64
			require.NoError(t, EachRef(tt.space, tt.key, v, func(r []byte, size int64) error {
				sizes = append(sizes, size)
				for i := range r {
					r[i] += 100
				}
				return nil
			}))
			require.Equal(t, tt.sizes, sizes)
			if tt.sizes != nil {
				require.Equal(t, tt.value(100), v)
			}
			if tt.sizes != nil { // what is malformed is no entry without Refs
				require.Error(t, EachRef(tt.space, tt.key, v[:len(v)-9], func([]byte, int64) error { return nil }))
			}
		})
	}
}
