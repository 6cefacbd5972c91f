package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/server"
)

func TestScrubInWords(t *testing.T) {
	now := time.Unix(2e9, 0).UTC()
	then := now.Add(-49 * time.Hour)
	var b bytes.Buffer
	require.NoError(t, printScrub(&b, server.Scrub{State: "running", Rate: 16 << 20, Pass: 3, Read: 3 << 40, Total: 4 << 40, Found: 2, Healed: 1, Lost: 1,
		Finished: &then, DamagedAll: 1, Damaged: []server.Damage{{What: "chunk 17", Names: []string{"media/docs/a.txt"}}}}, now))
	require.Equal(t, `running; at most 16 MiB a second
pass 3:  75 % of about 4 TiB, 2 found, 1 healed, 1 lost
last full pass: 2033-05-16T02:33:20Z, 49h0m0s ago
damaged for good: 1
  chunk 17
    media/docs/a.txt
`, b.String())
	require.Equal(t, "["+strings.Repeat("#", 30)+strings.Repeat(".", 10)+"] pass 3:  75 % of about 4 TiB, 2 found, 1 healed, 1 lost",
		progress(server.Scrub{Pass: 3, Read: 3 << 40, Total: 4 << 40, Found: 2, Healed: 1, Lost: 1}, true))
}
