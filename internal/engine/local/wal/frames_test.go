package wal

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/goldentest"
	"github.com/blobd/blobd/internal/engine/siphash"
)

var testFrames = &Frames{secret: siphash.Key{15: 1}, since: 5}

func TestLogGolden(t *testing.T) {
	goldentest.Hex(t, "log", logOf(testFrames, 7, "first write", "second write"))
}

// TestALogCutAnywhere is what was written up to there.
func TestALogCutAnywhere(t *testing.T) {
	b := logOf(testFrames, 7, "one", "two", "three")
	for n := range len(b) + 1 {
		cut := append(bytes.Clone(b[:n]), make([]byte, 100)...)
		content, end, err := testFrames.content(cut, 7)
		require.NoError(t, err)
		assert.LessOrEqual(t, end, n)
		assert.True(t, strings.HasPrefix("onetwothree", string(content)))
		assert.GreaterOrEqual(t, len(content), max(0, n-4-3*frameHead))
	}
}

// TestADamagedLogIsRefused wherever the damage is, if a later write says that it was synced.
func TestADamagedLogIsRefused(t *testing.T) {
	b := logOf(testFrames, 7, "one", "two", "three")
	for at := range b {
		for bit := range 8 {
			bad := bytes.Clone(b)
			bad[at] ^= 1 << bit
			content, _, err := testFrames.content(bad, 7)
			if last := len(b) - frameHead - len("three"); at < last {
				require.ErrorIs(t, err, engine.ErrCorrupt, "byte %d", at)
			} else { // nothing speaks for the last write
				require.NoError(t, err)
				require.Equal(t, "onetwo", string(content))
			}
		}
	}
}

// TestFramesAreOfOnePlaceInOneLog: neither in what a client wrote nor in what a recycled log held before are any found.
func TestFramesAreOfOnePlaceInOneLog(t *testing.T) {
	other := *testFrames
	other.secret[0]++
	for name, tail := range map[string][]byte{
		"the log itself":    logOf(testFrames, 7, "one", strings.Repeat("two", 50), "three"),
		"a former log":      logOf(testFrames, 6, "one", strings.Repeat("two", 50), "three"),
		"another store's":   logOf(&other, 7, "one", strings.Repeat("two", 50), "three"),
		"the log, repeated": bytes.Repeat(logOf(testFrames, 7, "one", "two"), 20),
	} {
		// In a write that was cut off, and behind the end.
		whole := logOf(testFrames, 7, "one", "two")
		torn := logOf(testFrames, 7, "one", "two", string(tail))
		torn[len(whole)] ^= 1 // its frame did not come to the disk
		for _, b := range [][]byte{torn, append(bytes.Clone(whole), tail...)} {
			for shift := range 70 {
				moved := append(append(bytes.Clone(b[:len(whole)]), make([]byte, shift)...), b[len(whole):]...)
				content, end, err := testFrames.content(moved, 7)
				require.NoError(t, err, name)
				require.Equal(t, "onetwo", string(content), name)
				require.Equal(t, len(whole), end)
			}
		}
	}
}

func TestLogsOfVersion1HaveNoFrames(t *testing.T) {
	for name, want := range map[string]bool{"000004.log": false, "000005.log": true, "000005.sst": false, "MANIFEST-000009": false} {
		_, got := testFrames.framed(name)
		assert.Equal(t, want, got, name)
	}
}

func FuzzFrames(f *testing.F) {
	frames := &Frames{secret: siphash.Key{1}}
	f.Add([]byte{}, uint64(1))
	f.Add(logOf(frames, 7, "one", "two"), uint64(7))
	f.Fuzz(func(t *testing.T, b []byte, number uint64) {
		content, end, err := frames.content(bytes.Clone(b), number)
		if end < 0 || end > len(b) || len(content) > end || err != nil && !errors.Is(err, engine.ErrCorrupt) {
			t.Fatalf("%d bytes in %d of %d: %v", len(content), end, len(b), err)
		}
	})
}

// logOf returns a log of writes, each synced.
func logOf(frames *Frames, number uint64, parts ...string) (b []byte) {
	var head [frameHead]byte
	for _, p := range parts {
		frames.encode(&head, number, int64(len(b)), int64(len(b)), []byte(p))
		b = append(append(b, head[:]...), p...)
	}
	return b
}
