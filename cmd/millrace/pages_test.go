package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v2"

	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/streams"
)

// root is where the pages are, from here.
const root = "../.."

// page reads a page of the documentation.
func page(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// blocks returns the fenced blocks of a page in one language, and what the page
// hides in comments that begin with that language.
func blocks(text, language string) []string {
	fence := regexp.MustCompile("(?ms)^(?:```|<!--)" + language + "\n(.*?)^(?:```|-->)$")
	var all []string
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}

// packages are those that code on the pages may use, by their names.
var packages = map[string]string{
	"fmt": "fmt", "log": "log", "strings": "strings", "testing": "testing", "time": "time", "context": "context",
	"codec": module + "codec", "query": module + "query", "streams": module + "streams", "streamtest": module + "streamtest",
	"topology": module + "topology", "window": module + "window",
}

const module = "github.com/millrace/millrace/"

// goFile makes a Go file of blocks: what declares something stands at the top,
// the rest in main, followed by what is appended.
func goFile(t *testing.T, name string, blocks []string, appended string) string {
	t.Helper()
	var declarations, statements strings.Builder
	for _, block := range append(slices.Clone(blocks), appended) {
		into := &statements
		if _, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+block, parser.SkipObjectResolution); err == nil {
			into = &declarations
		}
		into.WriteString(block + "\n")
	}
	body := declarations.String()
	if statements.Len() > 1 {
		body += "func main() {\n" + statements.String() + "}\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "// Package %s is on a page.\npackage %[1]s\n", name)
	for used, path := range packages {
		if regexp.MustCompile(`\b` + used + `\.[A-Z]`).MatchString(body) {
			fmt.Fprintf(&b, "import %q\n", path)
		}
	}
	return b.String() + body
}

// goTool runs the go command on the package pages of this module, whose files
// are those given and nowhere on the disk.
func goTool(t *testing.T, files map[string]string, command ...string) string {
	t.Helper()
	dir := t.TempDir()
	top, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for name, text := range files {
		onDisk := filepath.Join(dir, name)
		if err := os.WriteFile(onDisk, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[filepath.Join(top, "pages", name)] = onDisk
	}
	b, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", append(command, "-overlay", file, "./pages")...)
	cmd.Dir = top
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

// place is a file and a line in a message.
var place = regexp.MustCompile(`[a-z]+\.go:[0-9]+`)

func TestTheTopologyOfTheGuideBuilds(t *testing.T) {
	text := page(t, "docs/topology.md")
	const show = `if err != nil {
		log.Fatal(err)
	}
	fmt.Print(t.Describe())
	fmt.Println(mistakes)`
	out := goTool(t, map[string]string{"main.go": goFile(t, "main", blocks(text, "go"), show)}, "run")
	for _, want := range []string{"minutes", "requests-by-model", "new-models", "by-model-repartition"} {
		if !strings.Contains(out, want) {
			t.Errorf("the topology has no %s:\n%s", want, out)
		}
	}
	_, listed, _ := strings.Cut(text, "This topology has two:")
	for _, line := range strings.Split(out[strings.Index(out, "invalid topology"):], "\n") {
		if line = place.ReplaceAllString(line, ""); line != "" && !strings.Contains(place.ReplaceAllString(listed, ""), "    "+line) {
			t.Errorf("the page does not show the mistake\n    %s", line)
		}
	}
}

func TestProgramsOnPagesCompile(t *testing.T) {
	whole := blocks(page(t, "README.md"), "go")
	if len(whole) != 1 || !strings.HasPrefix(whole[0], "package main") {
		t.Fatalf("the README has %d blocks of Go, want one program", len(whole))
	}
	compile := []string{"list", "-export", "-test"}
	goTool(t, map[string]string{"main.go": whole[0]}, compile...)
	goTool(t, map[string]string{
		"doc.go":        "// Package pages is on a page.\npackage pages\n",
		"pages_test.go": goFile(t, "pages", blocks(page(t, "docs/testing.md"), "go"), ""),
	}, compile...)
}

// rows returns the cells of a page's tables, without the marks around code.
func rows(text string) [][]string {
	var all [][]string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "|") && !strings.HasPrefix(line, "|-") {
			cells := strings.Split(strings.Trim(strings.ReplaceAll(line, `\|`, "¦"), "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			all = append(all, cells)
		}
	}
	return all
}

// code returns what a cell holds in the marks of code, if that is all.
func code(cell string) string {
	if inner, ok := strings.CutPrefix(cell, "`"); ok && strings.HasSuffix(inner, "`") && strings.Count(cell, "`") == 2 {
		return strings.TrimSuffix(inner, "`")
	}
	return ""
}

func TestThePageOfFlagsAndKeysIsWhole(t *testing.T) {
	text := page(t, "docs/configuration.md")
	app := (&program{}).app()
	flags := map[string]cli.Flag{}
	for _, f := range app.Commands[slices.IndexFunc(app.Commands, func(c *cli.Command) bool { return c.Name == "run" })].Flags {
		if name := f.Names()[0]; name != "help" {
			flags[name] = f
		}
	}
	keys := settable(t, "")
	c := llm.DefaultConfig()
	windowing := map[string]time.Duration{
		"windowing.size": c.Size, "windowing.allowed_lateness": c.Lateness, "windowing.watermark_delay": c.Delay, "windowing.idle_timeout": c.Idle,
	}
	for _, row := range rows(text) {
		flag, variable, key, value := strings.TrimPrefix(code(row[0]), "--"), code(row[1]), code(row[2]), row[3]
		if f, ok := flags[flag]; ok {
			if want := variableOf(flag); variable != want {
				t.Errorf("--%s: the variable is %s, not %q", flag, want, variable)
			}
			if want := defaultOf(f); want != "" && code(value) != want {
				t.Errorf("--%s: the default is %s, not %s", flag, want, value)
			}
			delete(flags, flag)
		} else if flag != "" {
			t.Errorf("run has no flag --%s", flag)
		}
		if i := slices.Index(keys, key); i >= 0 {
			keys = slices.Delete(keys, i, i+1)
		} else if key != "" {
			t.Errorf("the file has no key %s", key)
		}
		if want, ok := windowing[key]; ok {
			if got, err := time.ParseDuration(code(value)); err != nil || got != want {
				t.Errorf("%s: the default is %v, not %s", key, want, value)
			}
		}
	}
	if len(flags)+len(keys) > 0 {
		t.Errorf("the page has not the flags %v and the keys %q", flags, keys)
	}
}

// defaultOf returns the default of a flag that has one value for everybody.
func defaultOf(f cli.Flag) string {
	switch f := f.(type) {
	case *cli.StringFlag:
		return f.Value
	case *cli.DurationFlag:
		return f.Value.String()
	}
	return ""
}

// settable returns the keys below one that a file may set, as the parser lists
// them in its messages.
func settable(t *testing.T, path string) []string {
	t.Helper()
	text := "[]"
	if path != "" {
		text = strings.ReplaceAll(path, ".", ": {") + ": []" + strings.Repeat("}", strings.Count(path, "."))
	}
	_, err := config.Parse("f", []byte(text), config.Options{Sources: llm.SourceNames()})
	message := fmt.Sprint(err)
	_, list, isGroup := strings.Cut(message, "want a group of keys (")
	if !isGroup {
		if strings.Contains(message, "not supported by this version") || strings.Contains(message, "does not belong into this file") {
			return nil
		}
		return []string{path}
	}
	list, _, _ = strings.Cut(list, ")")
	var all []string
	for name := range strings.SplitSeq(list, ", ") {
		all = append(all, settable(t, strings.TrimPrefix(path+"."+name, "."))...)
	}
	return all
}

func TestFilesOnPagesLoad(t *testing.T) {
	text := page(t, "docs/configuration.md")
	files := blocks(text, "yaml")
	for _, file := range files {
		if _, err := config.Parse("file", []byte(file), config.Options{Sources: llm.SourceNames()}); err != nil {
			t.Errorf("%v\n%s", err, file)
		}
	}
	for _, key := range settable(t, "") {
		name := key[strings.LastIndex(key, ".")+1:]
		if !slices.ContainsFunc(files, func(file string) bool { return strings.Contains(file, name+":") }) {
			t.Errorf("no file on the page sets %s", key)
		}
	}
}

// section returns the part of a page below a heading.
func section(t *testing.T, text, heading string) string {
	t.Helper()
	_, text, found := strings.Cut(text, "\n## "+heading+"\n")
	if !found {
		t.Fatalf("no heading %q", heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// described is a registry that asks collectors what they would collect.
type described struct {
	prometheus.Registerer

	mu     sync.Mutex
	labels map[string][]string // of each metric
}

var descOf = regexp.MustCompile(`fqName: "([^"]*)".*variableLabels: \{([^}]*)\}`)

func (d *described) Register(c prometheus.Collector) error {
	all := make(chan *prometheus.Desc)
	go func() {
		c.Describe(all)
		close(all)
	}()
	d.mu.Lock()
	defer d.mu.Unlock()
	for desc := range all {
		m := descOf.FindStringSubmatch(desc.String())
		d.labels[m[1]] = slices.DeleteFunc(strings.Split(m[2], ","), func(s string) bool { return s == "" })
	}
	return nil
}

func (d *described) Unregister(prometheus.Collector) bool { return true }

// metricsOf returns the labels of each metric of an instance.
func metricsOf(t *testing.T) map[string][]string {
	t.Helper()
	top, err := llm.NewTopology(llm.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	d := &described{labels: map[string][]string{}}
	instance, err := streams.New(top, streams.Config{
		Brokers: []string{"127.0.0.1:1"}, StateDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler), Metrics: d,
	})
	if err != nil {
		t.Fatal(err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := instance.Run(stopped); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	return d.labels
}

func TestThePageOfMetricsIsWhole(t *testing.T) {
	metrics := metricsOf(t)
	if len(metrics) == 0 {
		t.Fatal("the instance has no metrics")
	}
	text := page(t, "docs/operating.md")
	for _, row := range rows(section(t, text, "Metrics"))[1:] {
		name := code(row[0])
		labels, ok := metrics[name]
		if !ok {
			t.Errorf("there is no metric %s", name)
		}
		if got := strings.ReplaceAll(strings.ReplaceAll(row[1], "`", ""), ", ", ","); got != strings.Join(labels, ",") {
			t.Errorf("%s has the labels %q, not %q", name, labels, row[1])
		}
		delete(metrics, name)
	}
	for name := range metrics {
		t.Errorf("the page has no metric %s", name)
	}
}

func TestSymptomsAreThoseThatShow(t *testing.T) {
	metrics := metricsOf(t)
	var source strings.Builder
	for _, dir := range []string{"streams", "stores", "changelog", "query", "internal/task", "internal/kafka", "cmd/millrace"} {
		files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatal(dir, err)
		}
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") {
				source.WriteString(page(t, strings.TrimPrefix(file, root)))
			}
		}
	}
	quoted := regexp.MustCompile("`([^`]+)`")
	symptoms := rows(section(t, page(t, "docs/operating.md"), "At 3 a.m."))[1:]
	for _, row := range symptoms {
		first := quoted.FindStringSubmatch(row[0])
		if first == nil {
			t.Errorf("no line or metric in %q", row[0])
			continue
		}
		for _, m := range quoted.FindAllStringSubmatch(row[0], -1) {
			_, isMetric := metrics[m[1]]
			isReason := strings.HasPrefix(row[0], "`millrace_") && m[1] == string(processors.DroppedLate)
			isPosition := m[1] == processors.Position{Topic: llm.PerformanceTopic, Offset: 136}.String()
			if !isMetric && !isReason && !isPosition && !strings.Contains(source.String(), m[1]) {
				t.Errorf("nothing shows %q", m[1])
			}
		}
	}
}
