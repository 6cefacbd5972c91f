package record

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

func ref(b byte) (r engine.Ref) {
	for i := range r {
		r[i] = b
	}
	return r
}

func id(b byte) [16]byte { r := ref(b); return [16]byte(r[:16]) }

var sampleRecords = map[string]Blob{
	"minimal": {Type: BlockBlob, Changed: 0x8DB00B42101E88C, Created: 0x8DB00B42101E88C, HTTP: HTTPProperties{ContentType: DefaultContentType}},
	"inline": {Type: BlockBlob, Changed: 0x8DB00B42101E88D, Created: 0x8DB00B42101E88C, Size: 5, Content: Content{Kind: ContentInline},
		HTTP: HTTPProperties{ContentType: "text/plain"}, MD5: strings.Repeat("m", 16), CRC64: 0xAE8B14860A799888, HasCRC64: true},
	"no content type": {Type: AppendBlob, Changed: 1, Created: 2, Size: 300, Blocks: 3, Sealed: true,
		Content: Content{Kind: ContentList, ID: 7}},
	"everything": {Type: PageBlob, Changed: 3, Created: 4, Size: 8 << 40,
		HTTP:     HTTPProperties{"t", "e", "l", "d", "c"},
		Content:  Content{Kind: ContentChunks, Chunks: []engine.Chunk{{Ref: ref(1), Size: 8 << 20, CRC64: 5}, {Ref: ref(2), Size: 1, CRC64: 6}}},
		Metadata: []protocol.Pair{{Name: "CamelCase", Value: "Value"}, {Name: "b", Value: ""}}, Tags: []protocol.Pair{{Name: "k 1", Value: "v"}},
		Lease: lease.Lease{State: lease.Breaking, ID: lease.ID(id(3)), Duration: -1, Until: 9},
		Tier:  Tiering{TierArchive, 10, TierHot, true},
		Copy: &Copy{ID: id(4), Status: CopyFailed, Incremental: true, Source: "http://x/y", Progress: 1, Total: 2,
			Completed: 11, Description: "404", Snapshot: 12},
		Sequence: 1<<63 - 1, Version: 13, EncryptionScope: "scope", Deleted: SoftDelete{14, 15}},
}

// The stored bytes of a record are a promise to the disks out there: testdata/record.golden changes only by new lines.
func TestRecordGolden(t *testing.T) {
	golden := readGolden(t, "record.golden")
	for name, want := range sampleRecords {
		t.Run(name, func(t *testing.T) {
			stored := want.AppendTo(nil)
			require.Equal(t, golden[name], hex.EncodeToString(stored))
			var got Blob
			require.NoError(t, got.Decode(string(stored)))
			if len(got.Metadata) == 0 {
				got.Metadata = nil
			}
			require.Equal(t, want, normal(got))
		})
	}
}

func normal(r Blob) Blob {
	if len(r.Metadata) == 0 {
		r.Metadata = nil
	}
	if len(r.Tags) == 0 {
		r.Tags = nil
	}
	if len(r.Content.Chunks) == 0 {
		r.Content.Chunks = nil
	}
	return r
}

func TestRecordKeepsFieldsOfALaterFormat(t *testing.T) {
	r := sampleRecords["inline"]
	later := string(appendField(appendField(r.AppendTo(nil), fieldsKnown, "new"), fieldsKnown+9, ""))
	var got Blob
	require.NoError(t, got.Decode(later))
	require.Equal(t, int64(5), got.Size)
	require.Equal(t, later, string(got.AppendTo(nil)))
	got.Sealed = true
	require.NoError(t, got.Decode(string(got.AppendTo(nil))))
	require.True(t, got.Sealed)
	require.True(t, strings.HasSuffix(string(got.AppendTo(nil)), "new"+string(rune(fieldsKnown+9))+"\x00"))
}

func TestRecordRefusesWhatIsNotOne(t *testing.T) {
	good := func() []byte { r := sampleRecords["everything"]; return r.AppendTo(nil) }()
	var r Blob
	for n := range good {
		if err := r.Decode(string(good[:n])); err == nil {
			require.Contains(t, boundaries(good), n, "cut at %d", n)
		}
	}
	require.ErrorIs(t, r.Decode("\x02"+string(good[1:])), ErrBlob)
	require.ErrorIs(t, r.Decode("\x01\x09"+string(good[2:])), ErrBlob)
}

// boundaries lists the lengths at which a record is whole again with fewer fields.
func boundaries(stored []byte) (at []int) {
	d := decoder{v: string(stored)}
	d.next(18)
	d.uvarint()
	for {
		at = append(at, len(stored)-len(d.v))
		if !d.more() {
			return at
		}
		d.byte()
		d.text()
	}
}

func FuzzRecord(f *testing.F) {
	for _, r := range sampleRecords {
		f.Add(string(r.AppendTo(nil)))
	}
	f.Fuzz(func(t *testing.T, stored string) {
		var first, second Blob
		if first.Decode(stored) != nil {
			return
		}
		again := first.AppendTo(nil)
		require.NoError(t, second.Decode(string(again)))
		require.Equal(t, normal(first), normal(second))
	})
}

var sampleContainers = map[string]Container{
	"container minimal": {Generation: 1, Changed: 2},
	"container everything": {Generation: 0x8DB00B42101E88C, Changed: 3, Public: auth.PublicBlob, Metadata: []protocol.Pair{{Name: "A", Value: "b"}},
		Policies: []auth.Policy{{ID: "one", Start: "2024-01-01", Expiry: "2025-01-01", Permission: "r", HasPermission: true}, {ID: "two"}},
		Lease:    lease.Lease{State: lease.Leased, ID: lease.ID(id(3)), Duration: 15, Until: 9}, DefaultScope: "s", DenyScopeOverride: true,
		Deleted: SoftDelete{4, 5}},
}

func TestContainerRecordGolden(t *testing.T) {
	golden := readGolden(t, "record.golden")
	for name, want := range sampleContainers {
		t.Run(name, func(t *testing.T) {
			stored := want.AppendTo(nil)
			require.Equal(t, golden[name], hex.EncodeToString(stored))
			var got Container
			require.NoError(t, got.Decode(string(stored)))
			require.Equal(t, want, got)
			later := string(appendField(stored, fieldsContainerKnown, "new"))
			require.NoError(t, got.Decode(later))
			require.Equal(t, later, string(got.AppendTo(nil)))
		})
	}
}

func FuzzContainerRecord(f *testing.F) {
	for _, c := range sampleContainers {
		f.Add(string(c.AppendTo(nil)))
	}
	f.Fuzz(func(t *testing.T, stored string) {
		var first, second Container
		if first.Decode(stored) != nil {
			return
		}
		require.NoError(t, second.Decode(string(first.AppendTo(nil))))
		require.Equal(t, first, second)
	})
}

// readGolden reads "name: hex" lines.
func readGolden(t *testing.T, file string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	require.NoError(t, err)
	m := map[string]string{}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		m[name] = value
	}
	return m
}

func BenchmarkRecordDecode(b *testing.B) {
	r := sampleRecords["inline"]
	stored := string(r.AppendTo(nil))
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Decode(stored); err != nil {
			b.Fatal(err)
		}
	}
}
