package protocol

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/replay"
)

func TestETag(t *testing.T) {
	require.Equal(t, `"0x8DB00B42101E88C"`, ETag(0x8DB00B42101E88C))
	require.Equal(t, `"0x0"`, ETag(0))
	for tag, want := range map[string]bool{
		`"0x8DB00B42101E88C"`: true, `0x8DB00B42101E88C`: true,
		`"0x8DB00B42101E88D"`: false, `0x8db00b42101e88c`: false, `"`: false, ``: false, `garbage`: false, `*`: false,
	} {
		require.Equal(t, want, IsETag(tag, 0x8DB00B42101E88C), tag)
	}
}

// The hand-made formats agree with package time over all years that a stamp can name in four digits.
func TestDatesAgreeWithTime(t *testing.T) {
	seed := replay.Seed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	end := engine.StampOf(time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC))
	stamps := []engine.Stamp{0, 1, end, engine.StampOf(time.Date(2024, 2, 29, 23, 59, 59, 999999900, time.UTC)), engine.StampOf(time.Date(2000, 3, 1, 0, 0, 0, 0, time.UTC))}
	for range 5000 {
		stamps = append(stamps, engine.Stamp(rng.Uint64N(uint64(end))))
	}
	for _, s := range stamps {
		require.Equal(t, s.Time().Format("Mon, 02 Jan 2006 15:04:05 GMT"), Date(s))
		id := SnapshotID(s)
		require.Equal(t, s.Time().Format("2006-01-02T15:04:05.0000000Z"), id)
		back, ok := ParseSnapshotID(id)
		require.True(t, ok)
		require.Equal(t, s, back)
	}
}

func TestParseSnapshotID(t *testing.T) {
	for id, want := range map[string]string{
		"2023-01-27T22:27:19.7049036Z":  "2023-01-27T22:27:19.7049036Z",
		"2023-01-27T22:27:19.7Z":        "2023-01-27T22:27:19.7000000Z",
		"2023-01-27T22:27:19Z":          "2023-01-27T22:27:19.0000000Z",
		"2023-01-27T22:27:19.70490361Z": "", "2023-01-27T22:27:19.7049036": "", "2023-13-27T22:27:19.7049036Z": "",
		"": "", "garbage": "", "2023-01-27": "", "0000-01-01T00:00:00.0000000Z": "",
	} {
		s, ok := ParseSnapshotID(id)
		require.Equal(t, want != "", ok, id)
		if ok {
			require.Equal(t, want, SnapshotID(s))
		}
	}
}

func TestParseDate(t *testing.T) {
	want := time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC)
	for _, s := range []string{"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"} {
		got, ok := ParseDate(s)
		require.True(t, ok, s)
		require.Equal(t, want, got, s)
	}
	for _, s := range []string{"", "now", "1994-11-06T08:49:37Z", "Sun, 06 Nov 1994 08:49:37 PST"} {
		_, ok := ParseDate(s)
		require.False(t, ok, s)
	}
}

func FuzzParseSnapshotID(f *testing.F) {
	f.Add("2023-01-27T22:27:19.7049036Z")
	f.Add("2023-01-27T22:27:19Z")
	f.Add("2023-01-27T22:27:19,5Z")
	f.Fuzz(func(t *testing.T, id string) {
		if s, ok := ParseSnapshotID(id); ok {
			again, ok := ParseSnapshotID(SnapshotID(s))
			require.True(t, ok)
			require.Equal(t, s, again)
		}
	})
}

func FuzzParseDate(f *testing.F) {
	f.Add("Sun, 06 Nov 1994 08:49:37 GMT")
	f.Fuzz(func(t *testing.T, s string) {
		if d, ok := ParseDate(s); ok && d.Year() > 0 {
			require.Equal(t, d.Format("Mon, 02 Jan 2006 15:04:05 GMT"), Date(engine.StampOf(d)))
		}
	})
}

func BenchmarkAppendDate(b *testing.B) {
	var buf [32]byte
	s := engine.StampOf(time.Now())
	b.ReportAllocs()
	for b.Loop() {
		AppendDate(buf[:0], s)
	}
}

func ExampleSnapshotID() {
	fmt.Println(SnapshotID(engine.StampOf(time.Date(2023, 1, 27, 22, 27, 19, 704903600, time.UTC))))
	// Output: 2023-01-27T22:27:19.7049036Z
}
