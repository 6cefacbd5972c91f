package extent

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/crc64"
	"github.com/blobd/blobd/internal/engine/local/goldentest"
)

// squeeze leaves out lines equal to the one before, as hexdump does.
func squeeze(dump string) string {
	var out strings.Builder
	last := ""
	for line := range strings.Lines(dump) {
		switch body := line[8:]; {
		case body != last:
			out.WriteString(line)
			last = body
		case !strings.HasSuffix(out.String(), "*\n"):
			out.WriteString("*\n")
		}
	}
	return out.String()
}

// TestGoldenBytes holds the format to docs/format.md: whole column files, and references.
func TestGoldenBytes(t *testing.T) {
	for _, w := range []struct{ k, m int }{{1, 0}, {2, 1}} {
		fs := vfs.NewMem()
		opts := options(w.k, w.m, disksOn(fs, w.k+w.m))
		// 0, 1, 2 … so that the payloads can be seen in the dump.
		count := func(n int) []byte {
			b := make([]byte, n)
			for i := range b {
				b[i] = byte(i)
			}
			return b
		}
		s := open(t, opts)
		refs := append([]byte(nil), refBytes(put(t, s, count(48)))...)
		refs = append(refs, refBytes(put(t, s, count(65536*w.k+100)))...)
		require.NoError(t, s.Seal(1))
		s.work.idle()
		require.NoError(t, s.Close())
		name := fmt.Sprintf("%d+%d", w.k, w.m)
		goldentest.Text(t, name+".refs"+".hex", squeeze(hex.Dump(refs)))
		for c, path := range columnPaths(t, opts.Disks, 1, w.k+w.m) {
			b := content(t, fs, path)
			goldentest.Text(t, fmt.Sprintf("%s.column%d", name, c)+".hex", squeeze(hex.Dump(elide(b))))
		}
	}
}

// seal makes the sum of a file header good.
func seal(h []byte) { binary.BigEndian.PutUint64(h[headerSum:], crc64.Sum(h[:headerSum])) }

// putHeadSum makes the tag and the sum of a frame header good.
func putHeadSum(b []byte, tag uint64) {
	binary.BigEndian.PutUint64(b[16:], tag)
	binary.BigEndian.PutUint64(b[frameSum:], headSum(b[:headSize(int(b[6]), int(b[7]))]))
}

func refBytes(r engine.Ref) []byte { return r[:] }

// elide cuts long payloads down to their first and last 32 bytes.
func elide(b []byte) []byte {
	var out []byte
	for at := 0; at < len(b); {
		f, err := decodeFrame(b[at:], tagAt(b[min(at+5, len(b)-1)], at))
		if err != nil || f.length <= 256 {
			n := min(rowAlign, len(b)-at)
			out = append(out, b[at:at+n]...)
			at += n
			continue
		}
		head := headSize(int(f.k), int(f.m))
		out = append(out, b[at:at+head+32]...)
		out = append(out, b[at+head+int(f.length)-32:at+head+int(f.length)]...)
		at += head + int(f.length)
	}
	return out
}

func TestAnUnknownVersionIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	opts := options(1, 0, disksOn(fs, 1))
	sealedStore(t, opts, []int64{10})
	path := columnPaths(t, opts.Disks, 1, 1)[0]
	h := content(t, fs, path)[:headerSize]
	h[11] = formatVersion + 1
	seal(h)
	overwrite(t, fs, path, 0, h)
	_, err := Open(opts)
	require.ErrorIs(t, err, errVersion)
	require.ErrorContains(t, err, path)
}

func TestAnotherWidthIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	sealedStore(t, options(2, 1, disksOn(fs, 3)), []int64{10})
	_, err := Open(options(1, 1, disksOn(fs, 3)))
	require.ErrorContains(t, err, "2+1")
}

func TestBadOptions(t *testing.T) {
	fs := vfs.NewMem()
	for name, opts := range map[string]Options{
		"no data column":   options(0, 1, disksOn(fs, 1)),
		"too few disks":    options(2, 1, disksOn(fs, 2)),
		"too many columns": options(30, 3, disksOn(fs, 33)),
		"a huge extent":    {K: 1, Disks: disksOn(fs, 1), ExtentSize: maxExtentSize + 1},
	} {
		_, err := Open(opts)
		require.Error(t, err, name)
	}
}

// TestBadReferences: a reference that no Put made is an error, never a panic or other bytes.
func TestBadReferences(t *testing.T) {
	for _, w := range widths {
		s := open(t, options(w.k, w.m, disksOn(vfs.NewMem(), w.k+w.m)))
		small, large := put(t, s, pattern(1, 5000)), put(t, s, pattern(2, 300_000))
		for _, ref := range []engine.Ref{small, large} {
			for i := range ref {
				for bit := range 8 {
					bad := ref
					bad[i] ^= 1 << bit
					got, err := read(s, bad, 0, Size(bad))
					require.Error(t, err, "byte %d, bit %d: %d bytes", i, bit, len(got))
				}
			}
		}
		_, err := read(s, engine.Ref{}, 0, 0)
		require.ErrorIs(t, err, engine.ErrCorrupt)
		for _, r := range [][2]int64{{-1, 1}, {0, -1}, {0, 5001}, {5001, 0}, {4999, 2}, {1, 1<<63 - 1}} {
			_, err := s.Open(context.Background(), small, r[0], r[1])
			require.Error(t, err, "%v", r)
		}
		_, err = s.Put(context.Background(), bytes.NewReader(nil), 0)
		require.ErrorIs(t, err, engine.ErrTooLarge)
		_, err = s.Put(context.Background(), bytes.NewReader(nil), engine.MaxChunk+1)
		require.ErrorIs(t, err, engine.ErrTooLarge)
	}
}

func TestParityOfOneColumnIsAMirror(t *testing.T) {
	fs := vfs.NewMem()
	opts := options(1, 1, disksOn(fs, 2))
	sealedStore(t, opts, []int64{1000})
	var payloads [2][]byte
	for c, path := range columnPaths(t, opts.Disks, 1, 2) {
		b := content(t, fs, path)[headerSize:]
		f, err := decodeFrame(b, tagAt(byte(c), headerSize))
		require.NoError(t, err)
		payloads[c] = f.payload(b)
	}
	require.Equal(t, pattern(0, 1000), payloads[0])
	require.Equal(t, payloads[0], payloads[1])
}

func TestColumnNames(t *testing.T) {
	id, c, ok := parseColumnName(columnName(0xabc, 31))
	require.True(t, ok)
	require.Equal(t, uint64(0xabc), id)
	require.Equal(t, 31, c)
	for _, name := range []string{"", ".", "0000000000000abc", "0000000000000abc.", "0000000000000abc.1", "0000000000000abc.32",
		"0000000000000ABC.01", "000000000000abc.01", "0000000000000000.00", "ffffffffffffffff.00", "0000000000000abc.+1", "0000000000000abc.01x"} {
		_, _, ok := parseColumnName(name)
		require.False(t, ok, name)
	}
}

// FuzzFrame: whatever lies on a disk, the decoder refuses it or returns numbers within bounds, and what it accepts encodes to
// the same bytes.
func FuzzFrame(f *testing.F) {
	for _, w := range widths {
		fs := vfs.NewMem()
		opts := options(w.k, w.m, disksOn(fs, w.k+w.m))
		sealedStore(f, opts, []int64{40, 100_000})
		for _, path := range columnPaths(f, opts.Disks, 1, w.k+w.m) {
			b := content(f, fs, path)[headerSize:]
			f.Add(b[:min(len(b), 300)])
		}
	}
	f.Add([]byte(magicFrame))
	f.Fuzz(func(t *testing.T, b []byte) {
		tag := uint64(7)
		// As it is, and with the sum made good, so that the fuzzer gets past it.
		for range 2 {
			if fr, err := decodeFrame(b, tag); err == nil {
				head := headSize(int(fr.k), int(fr.m))
				require.LessOrEqual(t, head, len(b))
				require.LessOrEqual(t, fr.length, fr.rowLength)
				require.LessOrEqual(t, fr.rowLength, uint32(blockSize))
				require.Less(t, fr.column, fr.k+fr.m)
				if p := fr.payload(b); p != nil {
					require.Len(t, p, int(fr.length))
				}
				for c := range len(fr.table) / cellSize {
					require.LessOrEqual(t, fr.cell(c).length, fr.rowLength)
				}
				again := make([]byte, head)
				fr.encode(again, tag)
				back, err := decodeFrame(again, tag)
				require.NoError(t, err)
				require.Equal(t, fr, back)
			}
			b = bytes.Clone(b)
			if len(b) < frameFixed || !validWidth(b[6], b[7]) || len(b) < headSize(int(b[6]), int(b[7])) {
				return
			}
			copy(b, magicFrame)
			putHeadSum(b, tag)
		}
	})
}

// FuzzColumnEnds: headers, footers and references, as they may lie on a disk or in the key space.
func FuzzColumnEnds(f *testing.F) {
	f.Add(fileHeader{store: storeID, extent: 1, k: 4, m: 2, column: 5, version: 1}.encode())
	f.Add(footer{extent: 7, column: 1, length: 8192, data: 77}.encode(&secret))
	ref := makeRef(place{3, headerSize, shape{size: 1000}})
	f.Add(ref[:])
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := decodeFileHeader(b); err == nil {
			require.True(t, bytes.Equal(b[:64], h.encode()[:64]))
		}
		if ft, ok := decodeFooter(b, &secret); ok {
			require.True(t, bytes.Equal(b[16:72], ft.encode(&secret)[16:72]))
		}
		if len(b) == len(engine.Ref{}) {
			if p, err := parseRef(engine.Ref(b)); err == nil {
				require.Equal(t, engine.Ref(b), makeRef(p))
			}
		}
	})
}
