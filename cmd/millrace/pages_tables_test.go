package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	"github.com/millrace/millrace/stores/redis"
	"github.com/millrace/millrace/streams"
)

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
		if f.DefaultText == "" {
			return f.Value.String()
		}
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
	replica, err := redis.Open(redis.Config{URL: "redis://127.0.0.1:1", Application: "app"})
	if err != nil {
		t.Fatal(err)
	}
	instance, err := streams.New(top, streams.Config{
		Brokers: []string{"127.0.0.1:1"}, StateDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler), Metrics: d,
		Replica: replica, ProcessMemory: 1 << 30,
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
	for _, dir := range []string{"streams", "stores", "changelog", "query", "internal/task", "internal/kafka", "topology", "cmd/millrace"} {
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
