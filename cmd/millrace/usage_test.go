package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/urfave/cli/v2"

	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/query"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
)

// TestUsage runs the command lines of testdata/usage: words behind $, one line a
// command, and shows what they print and their exit code.
func TestUsage(t *testing.T) {
	datadriven.RunTest(t, "testdata/usage", func(t *testing.T, d *datadriven.TestData) string {
		var b strings.Builder
		for line := range strings.Lines(d.Input) {
			p := start(t, strings.Fields(line)...)
			<-p.ended
			fmt.Fprintf(&b, "%s%sexit %d\n", p.out, p.err, p.code)
		}
		return b.String()
	})
}

func TestMistakesOfAFileComeAllAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "millrace.yaml")
	text := "brokers: [kafka]\nwindowing: {sise: 60s}\nguarantee: twice\nworkers: many\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"run", "topics", "reset", "topology", "replay"} {
		start(t, command, "--config", file).wait(exitUsage).
			wants(file+":1: brokers: ", file+":2: windowing.sise: ", file+":3: guarantee: want at-least-once or exactly-once", file+":4: workers: ")
	}
	start(t, "run", "--config", file+".gone").wait(exitUsage).wants("--config", file+".gone")
}

// settingsOf returns what a command line of run comes to.
func settingsOf(t *testing.T, env map[string]string, args ...string) (*settings, error) {
	t.Helper()
	p := &program{out: newOutput(), err: newOutput(), env: func(name string) (string, bool) { v, ok := env[name]; return v, ok }}
	app := p.app()
	i := slices.IndexFunc(app.Commands, func(c *cli.Command) bool { return c.Name == "run" })
	var got *settings
	app.Commands[i].Action = func(c *cli.Context) (err error) {
		got, err = p.settings(c, slog.New(slog.DiscardHandler))
		return err
	}
	err := app.Run(reorder(app, append([]string{"millrace", "run"}, args...)))
	return got, err
}

func TestFlagBeforeEnvironmentBeforeFileBeforeDefault(t *testing.T) {
	file := filepath.Join(t.TempDir(), "millrace.yaml")
	text := "application: of-file\nbrokers: [file:1]\ncommit_interval: 3s\nhttp: {listen: ':3'}\nwindowing: {size: 1m}\nmemory: 256MiB\nworkers: 3\non_error: skip"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"MILLRACE_COMMIT": "2s", "MILLRACE_HTTP": ":2", "MILLRACE_CONFIG": file, "MILLRACE_STATE": "of-environment"}
	s, err := settingsOf(t, env, "--commit=1500ms", "--brokers", "a:1, b:2")
	if err != nil {
		t.Fatal(err)
	}
	if c := s.streams; c.CommitInterval != 1500*time.Millisecond || s.listen != ":2" || c.Application != "of-file" || c.StateDir != "of-environment" ||
		!slices.Equal(c.Brokers, []string{"a:1", "b:2"}) || c.Workers != 3 || c.OnError != topology.Skip || c.ProcessMemory != 256<<20 || s.llm.Size != time.Minute || s.llm.Application != "of-file" {
		t.Errorf("%+v\n%+v", s.streams, s.llm)
	}
	if s, err = settingsOf(t, env, "--on-error=dead-letter"); err != nil || s.streams.OnError != topology.DeadLetter {
		t.Errorf("%v, %v", s.streams.OnError, err)
	}
	s, err = settingsOf(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.listen != defaultHTTP || s.streams.Guarantee != streams.AtLeastOnce || s.streams.CommitInterval != 0 || s.streams.OnError != topology.Fail ||
		s.streams.ProcessMemory < leastMemory || s.streams.Storage != nil {
		t.Errorf("defaults: %+v", s)
	}
	if s, err = settingsOf(t, nil, "--guarantee=exactly-once"); err != nil || s.streams.Guarantee != streams.ExactlyOnce {
		t.Errorf("exactly once: %v, %v", s, err)
	}
}

func TestSecretsAndCertificates(t *testing.T) {
	dir := t.TempDir()
	file, pem := filepath.Join(dir, "millrace.yaml"), filepath.Join(dir, "ca.pem")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(pem, "not a certificate")
	write(file, "sasl: {mechanism: PLAIN, user: u}\nstate: {hot_only: true, max_size_mb: 64}\n")
	s, err := settingsOf(t, map[string]string{config.PasswordVariable: "hunter2"}, "--config", file)
	if err != nil {
		t.Fatal(err)
	}
	if s.streams.SASL.Password != "hunter2" || strings.Contains(fmt.Sprintf("%v %+v %#v", s.streams.SASL, s.streams.SASL, s.streams.SASL), "hunter2") {
		t.Errorf("%v", s.streams.SASL)
	}
	if s.streams.Storage == nil || s.streams.HotMemory != 64<<20 {
		t.Errorf("hot only: %d bytes of hot state", s.streams.HotMemory)
	}
	if _, err := settingsOf(t, nil, "--config", file); exitCode(err) != exitUsage || !strings.Contains(err.Error(), "sasl.password_file") {
		t.Errorf("%v", err)
	}
	for text, want := range map[string]bool{"": false, "tls: {enabled: false}": false, "tls: {enabled: true}": true} {
		write(file, text)
		s, err := settingsOf(t, nil, "--config", file)
		if err != nil || (s.streams.TLS != nil) != want {
			t.Errorf("%q: TLS %v, %v", text, s.streams.TLS, err)
		}
	}
	write(file, "tls: {ca_file: "+pem+"}")
	if _, err := settingsOf(t, nil, "--config", file); exitCode(err) != exitUsage || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("%v", err)
	}
}

func TestURLsForThisMachine(t *testing.T) {
	for listen, want := range map[string]string{
		":8080": "http://localhost:8080", "[::]:8080": "http://localhost:8080", "0.0.0.0:1": "http://localhost:1",
		"127.0.0.1:2": "http://127.0.0.1:2", "[::1]:3": "http://[::1]:3", "host:4": "http://host:4",
	} {
		if got := localURL(listen); got != want {
			t.Errorf("%s: %s, want %s", listen, got, want)
		}
	}
}

func TestMemoryBudget(t *testing.T) {
	limit := func(text string) func(string) ([]byte, error) {
		return func(name string) ([]byte, error) {
			if text == "" {
				return nil, os.ErrNotExist
			}
			return []byte(text), nil
		}
	}
	for _, c := range []struct {
		limit, file string
		want        int64
	}{
		{"", "", 4_000_000_000},
		{"max\n", "", 4_000_000_000},
		{"1000000000\n", "", 800_000_000},
		{"1000000\n", "", leastMemory},
		{"9223372036854771712\n", "", 4_000_000_000},
		{"1000000000\n", "memory: 2GB", 2_000_000_000},
		{"", "state: {hot: {max_size_mb: 512}}", 4_000_000_000}, // a ceiling within it
	} {
		file, err := config.Parse("f", []byte(c.file), config.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := memoryBudget(file, limit(c.limit)); got != c.want {
			t.Errorf("limit %q, file %q: %d, want %d", c.limit, c.file, got, c.want)
		}
	}
}

func TestFlagsMayFollowArguments(t *testing.T) {
	app := (&program{}).app()
	for line, want := range map[string]string{
		"query a b --limit 3":            "query --limit 3 -- a b",
		"query --http u a --to=9 b":      "query --http u --to=9 -- a b",
		"query a -- --from b":            "query -- a --from b",
		"query a -":                      "query -- a -",
		"reset --execute --state d":      "reset --execute --state d --",
		"topics --create x --brokers":    "topics --create --brokers",
		"nothing a --b c":                "nothing a --b c",
		"demo --help --speed 3 --keep x": "demo --help --speed 3 --keep -- x",
	} {
		got := reorder(app, append([]string{"millrace"}, strings.Fields(line)...))
		if strings.Join(got[1:], " ") != want {
			t.Errorf("%s: %q, want %q", line, got[1:], want)
		}
	}
}

func TestVersionShowsTheCommit(t *testing.T) {
	info := &debug.BuildInfo{
		Main:     debug.Module{Version: "v1.2.3"},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "0123abcd"}, {Key: "vcs.modified", Value: "true"}},
	}
	if got := describeBuild(info); !strings.HasPrefix(got, "millrace v1.2.3, commit 0123abcd, modified, go1.") {
		t.Errorf("%s", got)
	}
	for _, word := range []string{"version", "--version"} {
		start(t, word).wait(exitOK).wants("millrace ", "commit ", "go1.")
	}
}

func TestTopologyInEachFormat(t *testing.T) {
	for format, want := range map[string]string{"text": "Topologies:\n", "dot": "digraph", "mermaid": "flowchart", "json": "{"} {
		p := start(t, "topology", "--application=mine", "--format", format).wait(exitOK)
		if !strings.HasPrefix(p.out.String(), want) || !strings.Contains(p.out.String(), "llm.performance") {
			t.Errorf("%s:\n%s", format, p.out)
		}
	}
}

func TestLogsAreForPeopleToo(t *testing.T) {
	p := &program{err: newOutput()}
	p.logger(slog.LevelInfo).Info("x", "took", 1500*time.Millisecond, "task", processors.TaskID{Sub: 1, Partition: 3},
		"policy", topology.Skip, "at", processors.Position{Topic: "in", Partition: 1, Offset: 7}, "error", os.ErrNotExist)
	if text := fmt.Sprint(p.err); !strings.Contains(text, `"took":"1.5s","task":"1_3","policy":"skip","at":"in/1@7","error":"file does not exist"`) {
		t.Errorf("%s", text)
	}
}

func TestTables(t *testing.T) {
	var b strings.Builder
	entries := []query.Entry{
		{Key: []byte(`"chat"`), Value: []byte(`{"count":2}`), Final: true, Window: &query.Window{StartTime: "1970-01-01T00:00:00Z", EndTime: "1970-01-01T00:05:00Z"}},
		{Key: []byte(`7`), Value: []byte(`"x"`), Window: &query.Window{StartTime: "-", EndTime: "-"}},
	}
	if err := writeTable(&b, entries); err != nil {
		t.Fatal(err)
	}
	entries[0].Window = nil
	if err := writeTable(&b, entries[:1]); err != nil {
		t.Fatal(err)
	}
	want := `KEY   FROM                  TO                    FINAL  VALUE
chat  1970-01-01T00:00:00Z  1970-01-01T00:05:00Z  yes    {"count":2}
7     -                     -                     no     x
2 entries
KEY   VALUE
chat  {"count":2}
1 entries
`
	if b.String() != want {
		t.Errorf("got\n%s", &b)
	}
	for raw, want := range map[string]string{
		`"a\tb"`: `a\tb`, `"\u001b[2J"`: `\x1b[2J`, "{\"k\":\"\u009b2J\"}": `{"k":"\u009b2J"}`, `"café ☃"`: "café ☃", `null`: "null",
	} {
		if got := text([]byte(raw)); got != want {
			t.Errorf("%s is shown as %q, want %q", raw, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 28185: "28,185", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}
