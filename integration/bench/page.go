package bench

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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

// page is what the template is given.
type page struct {
	Sections []section
	Goals    []goal
}

func newPage(found []*Comparison) page {
	var p page
	all := map[string]*Comparison{}
	for _, c := range found {
		all[c.Work.Name] = c
	}
	for _, c := range found {
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
	return p
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

// Save keeps a comparison in a folder, for WritePage.
func (c *Comparison) Save(dir string) error {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, c.Work.Name+".json"), append(text, '\n'), 0o644)
}

// kept reads what Save has kept, in the order of Works.
func kept(dir string) ([]*Comparison, error) {
	var found []*Comparison
	for _, w := range Works() {
		text, err := os.ReadFile(filepath.Join(dir, w.Name+".json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c := new(Comparison)
		if err := json.Unmarshal(text, c); err != nil {
			return nil, fmt.Errorf("bench: %s: %w", w.Name, err)
		}
		found = append(found, c)
	}
	return found, nil
}

// WritePage writes what a folder holds of comparisons as a page in Markdown.
func WritePage(path, dir string) error {
	found, err := kept(dir)
	if err != nil {
		return err
	}
	t, err := template.New("page").Parse(pageTemplate)
	if err != nil {
		return err
	}
	var b strings.Builder
	if err := t.Execute(&b, newPage(found)); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}
