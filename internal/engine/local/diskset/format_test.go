package diskset

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/goldentest"
	"github.com/blobd/blobd/internal/engine/siphash"
)

func testFormat() *format {
	f := &format{version: formatVersion, started: 5, promised: 8, left: 4, leftEpoch: 3, words: [maxWords]uint64{0xabc, 0xdef}, run: 0x123, runs: [maxRuns]uint64{8<<48 | 0x123, 6<<48 | 0x45}, index: 1, k: 2, m: 1, epoch: 7, members: 0b11}
	for i := range f.store {
		f.store[i] = byte(i)
	}
	for i := range 3 {
		for j := range f.disks[i] {
			f.disks[i][j] = byte(16*(i+1) + j)
		}
	}
	f.disk = f.disks[1]
	f.extent, f.log = 5, 12
	copy(f.secret[:], "sixteen secrets!")
	return f
}

// undump is the reverse of hex.Dump.
func undump(t testing.TB, dump []byte) (b []byte) {
	t.Helper()
	for line := range strings.Lines(string(dump)) {
		words := strings.Fields(strings.Split(line, "|")[0])
		if len(words) == 0 {
			continue
		}
		part, err := hex.DecodeString(strings.Join(words[1:], ""))
		require.NoError(t, err)
		b = append(b, part...)
	}
	return b
}

func TestFormatFileGolden(t *testing.T) {
	b := testFormat().encode()
	goldentest.Hex(t, "format", b)
	f, whole, err := decodeFormat(b)
	require.NoError(t, err)
	assert.True(t, whole)
	assert.Equal(t, testFormat(), f)
}

// TestFormatFileOfTheFirstVersion: it is read as it is, and written as it was until a start has found all else good.
func TestFormatFileOfTheFirstVersion(t *testing.T) {
	want := testFormat()
	want.version, want.extent, want.log, want.secret = 1, 0, 0, siphash.Key{}
	want.started, want.promised, want.left, want.leftEpoch, want.words, want.run, want.runs = 0, 0, 0, 0, [maxWords]uint64{}, 0, [maxRuns]uint64{}
	b := want.encode()
	goldentest.Hex(t, "format-v1", b)
	f, whole, err := decodeFormat(b)
	require.NoError(t, err)
	assert.True(t, whole)
	assert.Equal(t, want, f)
}

func TestFormatFileIsReadFromEitherCopy(t *testing.T) {
	good := testFormat().encode()
	for at := range formatRecord {
		for _, copyAt := range []int{0, formatCopyAt} {
			b := bytes.Clone(good)
			b[copyAt+at] ^= 4
			f, whole, err := decodeFormat(b)
			require.NoError(t, err)
			assert.False(t, whole, "it is to be written again")
			assert.Equal(t, testFormat(), f)
			b[formatCopyAt-copyAt+at] ^= 4
			_, _, err = decodeFormat(b)
			assert.ErrorIs(t, err, engine.ErrCorrupt)
		}
	}
	for at := formatRecord; at < formatCopyAt; at++ {
		b := bytes.Clone(good)
		b[at] ^= 4
		_, whole, err := decodeFormat(b)
		require.NoError(t, err)
		assert.False(t, whole)
	}
	for n := range len(good) {
		f, _, err := decodeFormat(good[:n])
		if n < formatRecord {
			assert.ErrorIs(t, err, engine.ErrCorrupt)
		} else if assert.NoError(t, err) {
			assert.Equal(t, testFormat(), f)
		}
	}
}

func FuzzFormatFile(f *testing.F) {
	f.Add(testFormat().encode())
	f.Add([]byte(formatMagic))
	dump, err := os.ReadFile(filepath.Join("testdata", "format-v1.hex"))
	require.NoError(f, err)
	f.Add(undump(f, dump))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, whole, err := decodeFormat(b)
		if err != nil {
			if !errors.Is(err, engine.ErrCorrupt) && !errors.Is(err, errFormatVersion) {
				t.Fatalf("an error without a kind: %v", err)
			}
			return
		}
		enc := got.encode()
		if whole != bytes.Equal(enc, b) {
			t.Fatalf("whole is %v of %x", whole, b)
		}
		again, whole, err := decodeFormat(enc)
		if err != nil || !whole || *again != *got {
			t.Fatalf("%+v is read back as %+v: %v", got, again, err)
		}
	})
}
