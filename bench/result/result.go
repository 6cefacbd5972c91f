// Package result is what a run of the bench found: the JSON file, the table, the picture, the comparison of two runs.
package result

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/blobd/blobd/bench/fleet"
	"github.com/blobd/blobd/bench/work"
)

// Run is one run of the bench.
type Run struct {
	Started time.Time     `json:"started"`
	Took    string        `json:"took"`
	Commit  string        `json:"commit"`
	Quick   bool          `json:"quick,omitempty"`
	Machine fleet.Machine `json:"machine"`
	// Versions of what was measured, by server.
	Versions map[string]string `json:"versions"`
	Limits   string            `json:"limits"`
	Cells    []Cell            `json:"cells"`
	Scale    []Scale           `json:"scale,omitempty"`
	Notes    []string          `json:"notes,omitempty"`
	Failures []string          `json:"failures,omitempty"`
}

// Cell is one server's figures for one workload at one number of clients, over all its turns.
type Cell struct {
	Group     string           `json:"group"`
	Workload  string           `json:"workload"`
	Clients   int              `json:"clients"`
	Server    string           `json:"server"`
	Turns     int              `json:"turns"`
	Ops       int64            `json:"ops"`
	Seconds   float64          `json:"seconds"`
	OpsPerS   float64          `json:"ops_per_s"`
	MBPerS    float64          `json:"mb_per_s,omitempty"` // 10^6 bytes of content
	ItemsPerS float64          `json:"items_per_s,omitempty"`
	P50       float64          `json:"p50_us"`
	P99       float64          `json:"p99_us"`
	P999      float64          `json:"p999_us"`
	CPU       float64          `json:"cpu_us_per_op"`
	ClientCPU float64          `json:"client_cpu_us_per_op"`
	Others    float64          `json:"others_cores"` // cores that neighbours kept busy meanwhile
	PeakRSS   float64          `json:"peak_rss_mb"`
	Written   float64          `json:"written_bytes_per_content_byte,omitempty"`
	Errors    int64            `json:"errors"`
	Ratios    map[string]Ratio `json:"ratios,omitempty"` // to each reference
	Spread    float64          `json:"spread"`           // of ops/s between turns: (max-min)/mean
	Ceilings  []string         `json:"ceilings,omitempty"`
	rates     []float64
	latency   work.Histogram
	sum       totals
}

type totals struct {
	bytes, items, written        int64
	elapsed, cpu, client, others time.Duration
}

// Ratio compares a cell with a reference in the same run.
type Ratio struct {
	Ops float64 `json:"ops"` // how many times its operations per second
	CPU float64 `json:"cpu"` // how many times less server CPU per operation
}

// Scale is a look at a store while it grows.
type Scale struct {
	Kind         string  `json:"kind"` // blobs, entities
	Server       string  `json:"server"`
	Items        int     `json:"items"`
	OpsPerS      float64 `json:"ops_per_s"` // since the look before
	P50          float64 `json:"p50_us"`
	P99          float64 `json:"p99_us"`
	CPU          float64 `json:"server_cpu_us"`
	GetP50       float64 `json:"get_p50_us,omitempty"`
	GetP99       float64 `json:"get_p99_us,omitempty"`
	RSS          float64 `json:"rss_mb"`
	PeakRSS      float64 `json:"peak_rss_mb,omitempty"`
	DiskPerByte  float64 `json:"disk_bytes_per_content_byte"`
	WritePerByte float64 `json:"written_bytes_per_content_byte"`
	StopMS       float64 `json:"stop_ms,omitempty"`
	StartMS      float64 `json:"start_ms,omitempty"`
	RestartRSS   float64 `json:"rss_after_restart_mb,omitempty"`
	ListP50      float64 `json:"list_page_p50_us,omitempty"`
	SmallP50     float64 `json:"list_page_of_20000_p50_us,omitempty"`
	PrefixP50    float64 `json:"prefix_page_p50_us,omitempty"`
}

// Add puts one more turn into the cell.
func (c *Cell) Add(t *work.Turn) {
	c.Turns++
	c.Ops += t.Ops
	c.Errors += t.Errors
	c.latency.Merge(t.Latency)
	c.sum.bytes += t.Bytes
	c.sum.items += t.Items
	c.sum.written += t.Written
	c.sum.elapsed += t.Elapsed
	c.sum.cpu += t.CPU
	c.sum.client += t.ClientCPU
	c.sum.others += t.OtherCPU
	c.PeakRSS = max(c.PeakRSS, float64(t.PeakRSS)/1e6)
	if s := t.Elapsed.Seconds(); s > 0 {
		c.rates = append(c.rates, float64(t.Ops)/s)
	}
	c.finish()
}

func (c *Cell) finish() {
	c.Seconds = c.sum.elapsed.Seconds()
	c.P50, c.P99, c.P999 = micros(c.latency.Quantile(.5)), micros(c.latency.Quantile(.99)), micros(c.latency.Quantile(.999))
	if c.Ops == 0 || c.Seconds == 0 {
		return
	}
	n := float64(c.Ops)
	c.OpsPerS = n / c.Seconds
	c.MBPerS = float64(c.sum.bytes) / c.Seconds / 1e6
	c.ItemsPerS = float64(c.sum.items) / c.Seconds
	c.CPU, c.ClientCPU = micros(c.sum.cpu)/n, micros(c.sum.client)/n
	c.Others = c.sum.others.Seconds() / c.Seconds
	if c.sum.bytes > 0 {
		c.Written = float64(c.sum.written) / float64(c.sum.bytes)
	}
	low, high := c.rates[0], c.rates[0]
	for _, r := range c.rates {
		low, high = min(low, r), max(high, r)
	}
	c.Spread = (high - low) / c.OpsPerS
}

func micros(d time.Duration) float64 { return float64(d) / 1e3 }

// Compare sets every cell of blobd against the references of the same workload and number of clients.
func (r *Run) Compare() {
	for i := range r.Cells {
		c := &r.Cells[i]
		if !c.reference() {
			c.Ratios = map[string]Ratio{}
			for j := range r.Cells {
				if ref := &r.Cells[j]; ref.same(c) && ref.reference() && ref.Ops > 0 && c.Ops > 0 {
					c.Ratios[ref.Server] = Ratio{Ops: c.OpsPerS / ref.OpsPerS, CPU: ref.CPU / c.CPU}
				}
			}
		}
	}
}

func (c *Cell) same(o *Cell) bool { return c.Workload == o.Workload && c.Clients == o.Clients }

func (c *Cell) reference() bool { return c.Server == "azurite" || isCeiling(c.Server) }

func isCeiling(server string) bool { return len(server) > 8 && server[:8] == "ceiling-" }

// Save writes the run as JSON.
func (r *Run) Save(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// Load reads a run.
func Load(path string) (*Run, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &Run{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// heading is the first line of the table.
const heading = "%-26s %4s  %-18s %9s %9s %8s %8s %8s %9s %8s %7s %6s  %s\n"

// Heading prints the table's first lines.
func Heading(w io.Writer) {
	fmt.Fprintf(w, heading, "workload", "cl", "server", "ops/s", "MB/s", "p50 us", "p99 us", "p99.9", "CPU us/op", "client", "RSS MB", "others", "ops x, CPU x less than each reference")
}

// Print prints one cell as a line of the table.
func (c *Cell) Print(w io.Writer) {
	rate := ""
	switch {
	case c.Errors > 0:
		rate = fmt.Sprintf("%d ERRORS", c.Errors)
	case c.MBPerS > 0:
		rate = short(c.MBPerS)
	case c.ItemsPerS > 0 && c.Ops > 0 && c.sum.items != c.Ops:
		rate = short(c.ItemsPerS) + "/s"
	}
	refs := ""
	for _, name := range sortedKeys(c.Ratios) {
		refs += fmt.Sprintf("%s %sx %sx  ", name, short(c.Ratios[name].Ops), short(c.Ratios[name].CPU))
	}
	fmt.Fprintf(w, heading, c.Workload, fmt.Sprint(c.Clients), c.Server, short(c.OpsPerS), rate, short(c.P50), short(c.P99), short(c.P999),
		short(c.CPU), short(c.ClientCPU), short(c.PeakRSS), fmt.Sprintf("%.2f", c.Others), refs)
}

// Print prints the whole run.
func (r *Run) Print(w io.Writer) {
	Heading(w)
	for i := range r.Cells {
		r.Cells[i].Print(w)
	}
	r.PrintScale(w)
	for _, n := range r.Notes {
		fmt.Fprintln(w, "note:", n)
	}
	for _, f := range r.Failures {
		fmt.Fprintln(w, "FAILED:", f)
	}
}

// PrintScale prints how the stores grew.
func (r *Run) PrintScale(w io.Writer) {
	if len(r.Scale) == 0 {
		return
	}
	const line = "%-9s %-12s %9s %8s %8s %8s %8s %8s %8s %8s %10s %10s %8s %8s %9s %9s %9s %9s\n"
	fmt.Fprintf(w, line, "\nfill", "server", "items", "ops/s", "p50 us", "p99 us", "CPU us", "get p50", "get p99", "RSS MB", "disk/byte", "write/byte", "stop ms", "start ms", "RSS then", "page p50", "of 20000", "prefixes")
	for _, s := range r.Scale {
		fmt.Fprintf(w, line, s.Kind, s.Server, fmt.Sprint(s.Items), short(s.OpsPerS), short(s.P50), short(s.P99), short(s.CPU), short(s.GetP50), short(s.GetP99), short(s.RSS),
			fmt.Sprintf("%.2f", s.DiskPerByte), fmt.Sprintf("%.2f", s.WritePerByte), short(s.StopMS), short(s.StartMS), short(s.RestartRSS), short(s.ListP50), short(s.SmallP50), short(s.PrefixP50))
	}
	r.printGoals(w)
}

// short prints a number with about three digits.
func short(v float64) string {
	switch {
	case v == 0:
		return "-"
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
