package blob

import (
	"strings"
	"testing"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// BenchmarkListEntry is one name of a page of List Blobs: its record decoded and written as XML.
func BenchmarkListEntry(b *testing.B) {
	r := record.Blob{Type: record.BlockBlob, Changed: 0x8DB00B42101E88D, Created: 0x8DB00B42101E88C, Size: 5, Content: record.Content{Kind: record.ContentInline},
		HTTP: record.HTTPProperties{ContentType: "text/plain"}, MD5: strings.Repeat("m", 16), CRC64: 0xAE8B14860A799888, HasCRC64: true}
	stored := string(r.AppendTo(nil))
	p := page{version: protocol.Newest, now: engine.Stamp(6e17)}
	b.ReportAllocs()
	for b.Loop() {
		if err := p.entry.Blob.Decode(stored); err != nil {
			b.Fatal(err)
		}
		p.b = p.b[:0]
		p.Blob("d00000012/n00000034", &p.entry)
	}
	b.SetBytes(int64(len(p.b)))
}
