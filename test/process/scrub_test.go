package process

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestScrubCommands steer the scrub of a running server, and a pause lasts over a restart.
func TestScrubCommands(t *testing.T) {
	data := t.TempDir()
	p := launch(t, anyPorts(data, "--scrub-rate", "0")...)
	scrub := func(p *process, args ...string) string {
		t.Helper()
		args = append(append([]string{"scrub"}, args...), "--management-addr", strings.TrimPrefix(p.Management, "http://"))
		code, out, words := refuse(t, nil, args...)
		require.Zero(t, code, words)
		return out
	}
	require.Contains(t, scrub(p), "off; nothing is read unless it is asked for")
	require.Equal(t, "paused\n", scrub(p, "pause"))
	p.stop()
	p = launch(t, anyPorts(data)...)
	require.Contains(t, scrub(p, "status"), "paused; at most 16 MiB a second")
	scrub(p, "start")
	require.Eventually(t, func() bool { return strings.Contains(scrub(p, "status"), "last full pass: ") }, 20*time.Second, 20*time.Millisecond)
	require.Contains(t, scrub(p, "status"), "nothing is known to be damaged for good")
	require.Contains(t, scrub(p, "status", "--json"), `"state":"waiting"`)
	require.Contains(t, scrub(p, "status", "--watch"), "pass 1: 100 %")
	code, _, words := refuse(t, nil, "scrub", "start", "--management-addr", strings.TrimPrefix(p.Blob, "http://"))
	require.Equal(t, 1, code, words)
}
