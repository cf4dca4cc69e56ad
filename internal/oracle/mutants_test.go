//go:build mutants

package oracle

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheSeedsOfCICatchMutants breaks the engine on purpose, one line at a time,
// and wants TestOracle to fail within the seeds that CI runs. The broken source
// takes the place of the real one when the go command builds (-overlay); nothing in
// the engine knows of it.
func TestTheSeedsOfCICatchMutants(t *testing.T) {
	const seeds = "1000"
	mutants := []struct{ name, file, is, becomes string }{
		{
			"lateness off by one", "window/assign.go",
			"return watermark >= addSaturated(w.Due(x), w.LatenessMillis())", "return watermark > addSaturated(w.Due(x), w.LatenessMillis())",
		},
		{
			"watermark by max", "window/tracker.go",
			"if !in.Idle() && (t.holder < 0 || w < t.held) {", "if !in.Idle() && (t.holder < 0 || w > t.held) {",
		},
		{
			"an event at the end is in the window", "window/assign.go",
			"for back := (size - 1 - into) / advance; back >= 0; back-- {", "for back := (size - into) / advance; back >= 0; back-- {",
		},
		{
			"idle time-out off by one", "window/clock.go",
			"now-c.lastRecord >= c.idleAfter", "now-c.lastRecord > c.idleAfter",
		},
		{
			"final results twice", "window/firing.go",
			"f.unsent, f.pending, f.final = 0, false, final", "f.unsent, f.pending = 0, false",
		},
		{
			"suppress releases a millisecond early", "processors/suppress.go",
			"uint64(s.w)-uint64(at) >= uint64(s.c.Limit)", "uint64(s.w)-uint64(at)+1 >= uint64(s.c.Limit)",
		},
		{
			"a tick waits for more than its time", "processors/punctuate.go",
			"p.schedule.Clocked() != clocked || p.next > now", "p.schedule.Clocked() != clocked || p.next >= now",
		},
		{
			"an event is judged by the watermark that it brings", "internal/task/input.go",
			"\t\t\tin.mark = mark\n", "\t\t\tin.mark = mark\n\t\t\tin.partition.Advance(mark)\n\t\t\tin.task.moved(in.index)\n\t\t\tif err = in.task.fire(); err != nil {\n\t\t\t\treturn err\n\t\t\t}\n",
		},
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			source := filepath.Join(root, m.file)
			text, err := os.ReadFile(source)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(text), m.is); n != 1 {
				t.Fatalf("%s has %d lines %q, want 1: the mutant must follow the source", m.file, n, m.is)
			}
			dir := t.TempDir()
			broken, overlay := filepath.Join(dir, "broken.go"), filepath.Join(dir, "overlay.json")
			if err := os.WriteFile(broken, []byte(strings.Replace(string(text), m.is, m.becomes, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			b, err := json.Marshal(map[string]any{"Replace": map[string]string{source: broken}})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(overlay, b, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "go", "test", "-overlay", overlay, "-run", "^TestOracle$", "-count", "1", ".")
			cmd.Env = append(os.Environ(), seedsVariable+"="+seeds, fromVariable+"=1", fileVariable+"=")
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("the mutant survives %s seeds:\n%s", seeds, out)
			}
			first, _, _ := strings.Cut(string(out)[max(0, strings.Index(string(out), "seed ")):], "\n")
			if !strings.Contains(string(out), "made small:") {
				t.Fatalf("the mutant does not fail by a seed:\n%s", out)
			}
			t.Logf("caught: %s; %d of %s seeds fail", first, strings.Count(string(out), "    oracle_test.go:"), seeds)
		})
	}
}
