package bench

import (
	_ "embed"
	"os"
	"strings"
	"text/template"
)

//go:embed page.md.tmpl
var pageTemplate string

// row is a contender in a table.
type row struct {
	Name                       string
	PerCPUSecond, Least, Most  float64
	PerSecond, PeakMiB, Allocs float64
	Results                    float64
}

// section is what the page says of one work.
type section struct {
	*Comparison
	Title    string
	Rows     []row
	Restored []row // PerSecond is records restored, Results how many
}

// page is what the template is given; nil is what was not measured.
type page struct {
	Sections []section
	Goals    []goal
	Latency  *latencySection
	Growth   *growthSection
	Memory   *memorySection
}

func newPage(f *findings) (page, error) {
	var p page
	all := map[string]*Comparison{}
	for _, c := range f.comparisons {
		all[c.Work.Name] = c
	}
	for _, c := range f.comparisons {
		s := section{Comparison: c, Title: c.Work.title()}
		for _, name := range c.Contenders {
			s.Rows = append(s.Rows, newRow(name, c.Runs[name]))
			if restores := c.Restores[name]; len(restores) > 0 {
				s.Restored = append(s.Restored, row{
					Name: name, PerSecond: median(restores, restoredPerSecond), PeakMiB: median(restores, peakMiB),
					Results: median(restores, func(r Report) float64 { return float64(r.RestoredRecords) }),
				})
			}
		}
		p.Sections, p.Goals = append(p.Sections, s), append(p.Goals, c.goals(all)...)
	}
	if f.latencies != nil {
		p.Latency = newLatencySection(f.latencies)
		p.Goals = append(p.Goals, f.latencies.goals()...)
	}
	if f.growth != nil {
		p.Growth = newGrowthSection(f.growth)
	}
	if f.held != nil {
		var err error
		if p.Memory, err = newMemorySection(f.held); err != nil {
			return p, err
		}
		p.Goals = append(p.Goals, p.Memory.goal())
	}
	return p, nil
}

func newRow(name string, reports []Report) row {
	r := row{
		Name: name, PerCPUSecond: median(reports, perCPUSecond), PerSecond: median(reports, perSecond),
		PeakMiB: median(reports, peakMiB), Allocs: median(reports, allocsPerRecord),
		Results: median(reports, func(r Report) float64 { return float64(r.Results) }),
	}
	r.Least, r.Most = spread(reports, perCPUSecond)
	return r
}

// WritePage writes what a folder holds of comparisons, and of latencies, growth and
// memory, as a page in Markdown.
func WritePage(path, dir string) error {
	found, err := kept(dir)
	if err != nil {
		return err
	}
	p, err := newPage(found)
	if err != nil {
		return err
	}
	t, err := template.New("page").Parse(pageTemplate)
	if err != nil {
		return err
	}
	var b strings.Builder
	if err := t.Execute(&b, p); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}
