package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Names of the files that a folder of findings has beside those of comparisons.
// internal/figures draws them.
const (
	LatencyFile = "latency.json"
	GrowthFile  = "growth.json"
	MemoryFile  = "memory.json"
)

// findings are what a folder holds; nil is what was not measured.
type findings struct {
	comparisons []*Comparison // in the order of Works
	latencies   *Latencies
	growth      *Growth
	held        *Held
}

// kept reads a folder of findings.
func kept(dir string) (*findings, error) {
	f := new(findings)
	for _, w := range Works() {
		c, err := readKept[Comparison](filepath.Join(dir, w.Name+".json"))
		if err != nil {
			return nil, err
		}
		if c != nil {
			f.comparisons = append(f.comparisons, c)
		}
	}
	if len(f.comparisons) == 0 {
		return nil, fmt.Errorf("bench: %s holds no comparison to begin a page with; bench compare makes one", dir)
	}
	var errs [3]error
	f.latencies, errs[0] = readKept[Latencies](filepath.Join(dir, LatencyFile))
	f.growth, errs[1] = readKept[Growth](filepath.Join(dir, GrowthFile))
	f.held, errs[2] = readKept[Held](filepath.Join(dir, MemoryFile))
	return f, errors.Join(errs[:]...)
}

// readKept reads a file that save has written; nil if there is none.
func readKept[T any](path string) (*T, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	found := new(T)
	if err := json.Unmarshal(text, found); err != nil {
		return nil, fmt.Errorf("bench: %s: %w", path, err)
	}
	return found, nil
}

// save writes what was found to a file, and makes its folder.
func save(path string, found any) error {
	text, err := json.MarshalIndent(found, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, append(text, '\n'), 0o644))
}

// Save keeps a comparison in a folder, for WritePage.
func (c *Comparison) Save(dir string) error { return save(filepath.Join(dir, c.Work.Name+".json"), c) }
