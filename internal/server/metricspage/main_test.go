package main

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/framing"
	"github.com/blobd/blobd/internal/rest/resttest"
	"github.com/blobd/blobd/internal/server"
)

func TestPageIsFresh(t *testing.T) {
	got, err := os.ReadFile("../../../docs/metrics.md")
	require.NoError(t, err)
	require.Equal(t, page(), string(got), "make docs")
}

// answering is a service that answers everything alike.
type answering struct{}

func (answering) Serve(r *rest.Request) { r.ReplyBytes(200, "text/plain", []byte("ok")) }

// scrape serves a store, asks something of it, and returns what /metrics shows then.
func scrape(t *testing.T, store engine.Store, requests bool) map[string]*dto.MetricFamily {
	limits := framing.DefaultLimits()
	limits.Headers, limits.Bodies, limits.Quota = framing.NewBudget(1<<20), framing.NewBudget(1<<20), framing.NewQuota(10, 0)
	s, err := server.Listen(server.Options{BlobAddr: "127.0.0.1:0", ManagementAddr: "127.0.0.1:0", Limits: limits, AccountMetrics: 1, Log: zap.NewNop()})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	served := make(chan error, 1)
	ready := make(chan struct{})
	go func() {
		served <- s.Serve(ctx, server.Backend{Accounts: account.NewRegistry(resttest.Account()), Blob: answering{}, Store: store},
			func() error { close(ready); return nil })
	}()
	<-ready
	if requests {
		resp, err := http.Get("http://" + s.Addr('b').String() + "/acct/c/b")
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
	}
	resp, err := http.Get("http://" + s.ManagementAddr().String() + "/metrics")
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, 200, resp.StatusCode)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	require.NoError(t, err)
	cancel()
	require.NoError(t, <-served)
	return families
}

// TestPageIsTrue: a server shows what the page has, all of it and nothing else.
func TestPageIsTrue(t *testing.T) {
	fs := vfs.NewMem()
	store, err := local.Open(local.Options{FS: fs, Dirs: []string{"/a", "/b", "/c"}, OpTimeout: 1 << 40})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	c, err := store.Put(t.Context(), bytes.NewReader(make([]byte, 100<<10)), 100<<10)
	require.NoError(t, err)
	require.NoError(t, store.Update(t.Context(), []byte("p"), func(tx engine.Tx) error { tx.Retain(c.Ref); return nil }))
	store.Forget(c.Ref)
	require.NoError(t, store.Collect(t.Context()))
	families := scrape(t, store, true)

	row := regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)(?:\\{([a-z,]+)\\})?` \\| ([a-z]+) \\| (.*) \\|$")
	listed := map[string][]string{}
	for _, m := range row.FindAllStringSubmatch(page(), -1) {
		require.Nil(t, listed[m[1]], "%s is twice on the page", m[1])
		listed[m[1]] = m[2:]
	}
	for name, f := range families {
		if !strings.HasPrefix(name, "blobd_") {
			continue
		}
		m := listed[name]
		require.NotNil(t, m, "%s is not on the page", name)
		require.Equal(t, m[1], strings.ToLower(f.GetType().String()), name)
		require.Equal(t, m[2], f.GetHelp(), name)
		for _, sample := range f.GetMetric() {
			var labels []string
			for _, l := range sample.GetLabel() {
				labels = append(labels, l.GetName())
			}
			want := slices.DeleteFunc(strings.Split(m[0], ","), func(s string) bool { return s == "" })
			require.ElementsMatch(t, want, labels, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		if !strings.Contains(listed[name][2], "absent") && !slices.Contains([]string{"blobd_received_bytes_total"}, name) {
			require.NotNil(t, families[name], "no server shows %s, or only now and then: say in its help when it is absent", name)
		}
	}
	value := func(name string) (sum float64) {
		for _, m := range families[name].GetMetric() {
			sum += m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
		return sum
	}
	for _, name := range []string{"blobd_log_syncs_total", "blobd_log_sync_seconds", "blobd_log_sync_group_size", "blobd_disk_operation_seconds", "blobd_extents",
		"blobd_extent_bytes", "blobd_extent_live_bytes", "blobd_collections_total", "blobd_log_written_bytes_total", "blobd_lsm_memtables", "blobd_metadata_replicas"} {
		require.Positive(t, value(name), name)
	}
}

// missing is a store of which disks are not there, and nobody knows any more where they were.
type missing struct{ engine.Store }

func (missing) Health() engine.Health {
	return engine.Health{Disks: []engine.DiskHealth{{Path: "/a", OK: true}, {}, {}}}
}

func (missing) Collect(context.Context) error { return errors.New("no") }

// TestDisksThatAreMissing: what Prometheus is to alarm an operator of must not keep it from being read.
func TestDisksThatAreMissing(t *testing.T) {
	families := scrape(t, missing{}, false)
	bad := 0
	for _, m := range families["blobd_disk_ok"].GetMetric() {
		if m.GetGauge().GetValue() == 0 {
			bad++
		}
	}
	require.Equal(t, 2, bad)
}
