package bench

import (
	_ "embed"
	"os"
	"strings"
	"text/template"
)

//go:embed page.md.tmpl
var pageTemplate string

// goals are what the project asks of itself, against Kafka Streams and the raw
// floor. Where many keys are new it asks for less speed, and to keep within the
// budget.
const (
	goalStreams        = 5.0
	goalFloor          = 0.5
	goalMemory         = 1.0 / 3
	goalAllocs         = 0.05
	goalRestore        = 3.0
	goalSessionStreams = 4.0
	goalSessionMiB     = 512
)

// row is a contender in the page's table.
type row struct {
	Name                       string
	PerCPUSecond, Least, Most  float64
	PerSecond, PeakMiB, Allocs float64
	Results                    float64
}

// goal is a line of what is asked and what was found.
type goal struct {
	What       string
	Want, Have float64
	// Most: the figure is to be at most Want, else at least.
	Most bool
}

// Met says whether the goal was reached.
func (g goal) Met() bool {
	if g.Most {
		return g.Have <= g.Want
	}
	return g.Have >= g.Want
}

// streamsShare is Kafka Streams' share of the raw floor over ten million events by
// model on a quiet machine of two cores, when this peer was first measured; with
// less than streamsLeast of it a page says that it flatters Millrace.
const (
	streamsShare = 0.104
	streamsLeast = 0.85 * streamsShare
)

// page is what the template is given.
type page struct {
	*Comparison
	Path    string
	Machine machine
	Rows    []row
	Goals   []goal
	// StreamsShare is Kafka Streams' share of the raw floor in this run, and
	// Flatters says that it is too low for the run to count.
	StreamsShare float64
	Flatters     bool
	Restored     []row // PerSecond is records restored, Results how many
}

func newPage(path string, c *Comparison) page {
	p := page{Comparison: c, Path: path, Machine: thisMachine()}
	for _, name := range Contenders() {
		reports := c.Runs[name]
		if len(reports) == 0 {
			continue
		}
		r := row{
			Name: name, PerCPUSecond: median(reports, perCPUSecond), PerSecond: median(reports, perSecond),
			PeakMiB: median(reports, peakMiB), Allocs: median(reports, allocsPerRecord),
			Results: median(reports, func(r Report) float64 { return float64(r.Results) }),
		}
		r.Least, r.Most = spread(reports, perCPUSecond)
		p.Rows = append(p.Rows, r)
		if restores := c.Restores[name]; len(restores) > 0 {
			p.Restored = append(p.Restored, row{
				Name: name, PerSecond: median(restores, restoredPerSecond), PeakMiB: median(restores, peakMiB),
				Results: median(restores, func(r Report) float64 { return float64(r.RestoredRecords) }),
			})
		}
	}
	ratio := func(of, to string, in map[string][]Report, f func(Report) float64) float64 {
		if d := median(in[to], f); d > 0 {
			return median(in[of], f) / d
		}
		return 0
	}
	p.StreamsShare = ratio(KafkaStreams, Raw, c.Runs, perCPUSecond)
	p.Flatters = p.StreamsShare < streamsLeast && c.Load.Key == ByModel
	streams := goal{What: "events a processor second, times Kafka Streams", Want: goalStreams, Have: ratio(Millrace, KafkaStreams, c.Runs, perCPUSecond)}
	if c.Load.Key == BySession {
		streams.Want = goalSessionStreams
		p.Goals = []goal{streams, {What: "peak memory, MiB", Want: goalSessionMiB, Have: median(c.Runs[Millrace], peakMiB), Most: true}}
	} else {
		p.Goals = []goal{
			streams,
			{What: "events a processor second, share of the raw floor", Want: goalFloor, Have: ratio(Millrace, Raw, c.Runs, perCPUSecond)},
			{What: "peak memory, share of Kafka Streams", Want: goalMemory, Have: ratio(Millrace, KafkaStreams, c.Runs, peakMiB), Most: true},
			{What: "allocations an event", Want: goalAllocs, Have: median(c.Runs[Millrace], allocsPerRecord), Most: true},
		}
	}
	if len(p.Restored) > 1 {
		p.Goals = append(p.Goals, goal{What: "records restored a second, times Kafka Streams", Want: goalRestore,
			Have: ratio(Millrace, KafkaStreams, c.Restores, restoredPerSecond)})
	}
	return p
}

// WritePage writes what was found as a page in Markdown.
func WritePage(path string, c *Comparison) error {
	t, err := template.New("page").Parse(pageTemplate)
	if err != nil {
		return err
	}
	var b strings.Builder
	if err := t.Execute(&b, newPage(path, c)); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}
