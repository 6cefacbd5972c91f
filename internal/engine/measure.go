package engine

// Metric is what measurements of one name have in common, as /metrics and docs/metrics.md show it.
type Metric struct {
	Name, Help string
	Kind       MetricKind
	Labels     []string
	Bounds     []float64 // of a histogram's buckets, rising; the last bucket has none
}

// MetricKind says how measurements of a metric follow each other.
type MetricKind byte

const (
	Gauge     MetricKind = iota // goes up and down
	Counter                     // goes up from the start of the process
	Histogram                   // counts by size
)

func (k MetricKind) String() string { return [...]string{"gauge", "counter", "histogram"}[k] }

// Measurement is a metric's value at a moment.
type Measurement struct {
	*Metric
	Labels []string // values, in the order of the metric's
	Value  float64  // of a histogram the sum of all that it counted
	Counts []uint64 // of a histogram: in each bucket alone, one more than it has bounds
}

// Meter is implemented by stores that measure themselves.
type Meter interface {
	// Metrics are all that Measure may emit.
	Metrics() []*Metric
	// Measure calls emit with what there is. It asks no disk, and waits for none that does not answer.
	Measure(emit func(Measurement))
}
