package process

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/speedup"
)

// measures reads /metrics, the values of metrics without labels by their names and of blobd_part_on by the part's.
func (p *process) measures() map[string]float64 {
	p.t.Helper()
	resp, err := http.Get(p.Management + "/metrics")
	require.NoError(p.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(p.t, err)
	values := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		name = strings.TrimSuffix(strings.TrimPrefix(name, `blobd_part_on{part="`), `"}`)
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			values[name] = n
		}
	}
	return values
}

// Each part that is there for speed shows that it works, and that it does not where it is turned off; what is served is the same.
func TestPartsThatAreThereForSpeed(t *testing.T) {
	for _, without := range []bool{false, true} {
		args := anyPorts(t.TempDir())
		if without {
			args = append(args, "--without", "all")
		}
		p := launch(t, args...)
		c := p.client(&http.Client{Transport: &http.Transport{}})
		ctx := context.Background()
		_, err := c.CreateContainer(ctx, "docs", nil)
		require.NoError(t, err)
		content := strings.Repeat("abcd", 1000)
		for _, name := range []string{"a", "b"} {
			_, err = c.UploadBuffer(ctx, "docs", name, []byte(content), nil)
			require.NoError(t, err)
			for range 4 {
				got, err := c.DownloadStream(ctx, "docs", name, nil)
				require.NoError(t, err)
				b, err := io.ReadAll(got.Body)
				require.NoError(t, err)
				require.Equal(t, content, string(b))
			}
		}
		values := p.measures()
		for _, part := range speedup.All() {
			require.Equal(t, !without, values[part.String()] == 1, part)
		}
		for _, c := range speedup.Counters() {
			require.Contains(t, values, c.Name)
		}
		require.NotZero(t, values["blobd_log_syncs_total"])
		require.NotZero(t, values["blobd_md5_rounds_total"]+map[bool]float64{true: 1}[without])
		for _, name := range []string{"blobd_row_cache_hits_total", "blobd_row_cache_bytes", "blobd_bloom_filter_ready", "blobd_socket_raw_calls_total"} {
			require.Equal(t, without, values[name] == 0, name)
		}
		if without {
			require.Zero(t, values["blobd_log_async_writes_total"]+values["blobd_log_syncs_held_total"]+values["blobd_bloom_filter_absent_total"])
			require.Equal(t, 100.0, values["go_gc_gogc_percent"])
		}
		require.Contains(t, values, "blobd_build_profiled")
		require.Contains(t, values, "go_sched_gomaxprocs_threads")
		p.stop()
	}
}
