package blob

import (
	"testing"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// BenchmarkListEntry is one name of a page of List Blobs: its record decoded and written as XML.
func BenchmarkListEntry(b *testing.B) {
	r := sampleRecords["inline"]
	stored := string(r.AppendTo(nil))
	e := entry{q: &listRequest{version: protocol.Newest, now: engine.Stamp(6e17)}}
	out := make([]byte, 0, 4<<10)
	b.ReportAllocs()
	for b.Loop() {
		if err := e.rec.Decode(stored); err != nil {
			b.Fatal(err)
		}
		out = e.appendTo(out[:0], "d00000012/n00000034")
	}
	b.SetBytes(int64(len(out)))
}
