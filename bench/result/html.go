package result

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
)

//go:embed report.html
var page string

var report = template.Must(template.New("report").Funcs(template.FuncMap{"short": short}).Parse(page))

// panel is one workload at one number of clients: a bar for each server.
type panel struct {
	Title  string
	Height int // pixels
	Charts []chart
}

type chart struct {
	Caption string
	Bars    []bar
}

type bar struct {
	Label, Value, Class string
	Y                   int
	Width               float64
}

const (
	barStep = 22  // pixels
	barRoom = 340 // pixels
	decades = 4.5 // that the logarithmic axis shows
)

// HTML writes the run as one page that needs nothing else.
func (r *Run) HTML(w io.Writer) error {
	var groups []group
	seen := map[string]bool{}
	for i := range r.Cells {
		c := &r.Cells[i]
		key := fmt.Sprint(c.Workload, c.Clients)
		if seen[key] {
			continue
		}
		seen[key] = true
		if len(groups) == 0 || groups[len(groups)-1].Name != c.Group {
			groups = append(groups, group{Name: c.Group})
		}
		g := &groups[len(groups)-1]
		g.Panels = append(g.Panels, r.panel(c))
	}
	return report.Execute(w, struct {
		*Run
		Groups []group
		Growth []growth
	}{r, groups, r.growth()})
}

type group struct {
	Name   string
	Panels []panel
}

func (r *Run) panel(first *Cell) panel {
	p := panel{Title: fmt.Sprintf("%s, %d clients", first.Workload, first.Clients)}
	var cells []*Cell
	for i := range r.Cells {
		if r.Cells[i].same(first) {
			cells = append(cells, &r.Cells[i])
		}
	}
	p.Height = len(cells) * barStep
	p.Charts = []chart{{Caption: "operations per second: longer is better"}, {Caption: "server CPU per operation: shorter is better"}}
	var topRate, topCPU float64
	for _, c := range cells {
		topRate, topCPU = max(topRate, c.OpsPerS), max(topCPU, c.CPU)
	}
	for i, c := range cells {
		class := "blobd"
		if isCeiling(c.Server) {
			class = "ceiling"
		} else if c.reference() {
			class = "peer"
		}
		rate := short(c.OpsPerS) + "/s"
		if c.MBPerS >= 1 && c.sizeKnown() {
			rate += ", " + short(c.MBPerS) + " MB/s"
		}
		p.Charts[0].Bars = append(p.Charts[0].Bars, bar{c.Server, rate, class, i * barStep, length(c.OpsPerS, topRate)})
		p.Charts[1].Bars = append(p.Charts[1].Bars, bar{c.Server, short(c.CPU) + " us", class, i * barStep, length(c.CPU, topCPU)})
	}
	return p
}

func (c *Cell) sizeKnown() bool { return c.Ops > 0 && c.MBPerS/c.OpsPerS > 0.05 } // 64 KiB and more

// length is that of a bar on a logarithmic axis that ends at top.
func length(v, top float64) float64 {
	if v <= 0 || top <= 0 {
		return 0
	}
	return max(2, barRoom*(1+math.Log10(v/top)/decades))
}

// growth is the picture of a fill: points of each curve, in the units of a 600 x 160 drawing.
type growth struct {
	Kind   string
	Curves []curve
}

type curve struct{ Name, Points, Last string }

func (r *Run) growth() []growth {
	var out []growth
	for _, kind := range []string{"blobs", "entities"} {
		var points []Scale
		for _, s := range r.Scale {
			if s.Kind == kind && s.Server == r.Scale[0].Server {
				points = append(points, s)
			}
		}
		if len(points) == 0 {
			continue
		}
		g := growth{Kind: kind}
		for _, c := range []struct {
			name string
			of   func(Scale) float64
		}{
			{"operations/s", func(s Scale) float64 { return s.OpsPerS }},
			{"p99, us", func(s Scale) float64 { return s.P99 }},
			{"RSS, MB", func(s Scale) float64 { return s.RSS }},
			{"disk bytes per content byte", func(s Scale) float64 { return s.DiskPerByte }},
			{"written bytes per content byte", func(s Scale) float64 { return s.WritePerByte }},
		} {
			var top float64
			for _, s := range points {
				top = max(top, c.of(s))
			}
			path := ""
			for _, s := range points {
				path += fmt.Sprintf("%.1f,%.1f ", 600*float64(s.Items)/float64(points[len(points)-1].Items), 150-140*c.of(s)/max(top, 1e-9))
			}
			g.Curves = append(g.Curves, curve{c.name, path, short(c.of(points[len(points)-1]))})
		}
		out = append(out, g)
	}
	return out
}
