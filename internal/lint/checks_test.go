package lint

import (
	"fmt"
	"strings"
	"testing"
)

// tree parses files given as path and source, one after the other.
func tree(t *testing.T, pathsAndSources ...string) *Tree {
	t.Helper()
	tr := &Tree{}
	for i := 0; i < len(pathsAndSources); i += 2 {
		f, err := newFile(pathsAndSources[i], []byte(pathsAndSources[i+1]))
		if err != nil {
			t.Fatal(err)
		}
		tr.Files = append(tr.Files, f)
	}
	return tr
}

// imports is a Go file that imports a package of ours.
func imports(pkg, what string) string {
	return fmt.Sprintf("package %s\n\nimport _ %q\n", pkg, module+"/"+what)
}

func TestEachRuleFindsItsBreach(t *testing.T) {
	long := "package codec\n" + strings.Repeat("\n", maxLines)
	marker, machine, host := "TO"+"DO", "/wo"+"rk/main", "proxy.golang"+".org"
	cases := []struct {
		name  string
		check func(*Tree) []Finding
		path  string
		text  string
		want  string // the finding's beginning; "" if there must be none
	}{
		{"import upwards", ImportDirection, "stores/a.go", imports("stores", "topology"), "stores/a.go:3: stores may not import topology"},
		{"import upwards from below a room", ImportDirection, "stores/postgres/a.go", imports("postgres", "changelog"), "stores/postgres/a.go:3: stores may not"},
		{"import downwards", ImportDirection, "stores/a.go", imports("stores", "window"), ""},
		{"import inside a room", ImportDirection, "stores/postgres/a.go", imports("postgres", "stores"), ""},
		{"import of a small part", ImportDirection, "stores/a.go", imports("stores", "internal/invariants"), ""},
		{"the task is no small part", ImportDirection, "processors/a.go", imports("processors", "internal/task"), "processors/a.go:3: processors may not"},
		{"window imports nothing", ImportDirection, "window/a.go", imports("window", "internal/invariants"), "window/a.go:3: window may not"},
		{"tests may import upwards", ImportDirection, "window/a_test.go", imports("window", "streamtest"), ""},
		{"new top-level folder", ImportDirection, "helpers/a.go", "package helpers\n", "helpers/a.go:1: the folder helpers is in no room"},
		{"a name that only begins like a room", ImportDirection, "storesandmore/a.go", "package s\n", "storesandmore/a.go:1: the folder"},

		{"sarama by name", DirectSarama, "changelog/a.go", "package changelog\n\nimport _ \"github.com/IBM/sarama\"\n", "changelog/a.go:3: only internal/kafka"},
		{"sarama in its room", DirectSarama, "internal/kafka/a.go", "package kafka\n\nimport _ \"github.com/IBM/sarama\"\n", ""},
		{"sarama in a test", DirectSarama, "query/a_test.go", "package query\n\nimport _ \"github.com/IBM/sarama\"\n", ""},

		{"promauto", Calls, "streams/a.go", "package s\n\nimport \"github.com/prometheus/client_golang/prometheus/promauto\"\n\nvar c = promauto.NewCounter\n", "streams/a.go:5: promauto.NewCounter"},
		{"global registry", Calls, "cmd/m/a.go", "package main\n\nimport \"github.com/prometheus/client_golang/prometheus\"\n\nvar r = prometheus.MustRegister\n", "cmd/m/a.go:5: prometheus.MustRegister"},
		{"global logger", Calls, "cmd/m/a.go", "package main\n\nimport \"log/slog\"\n\nfunc main() { slog.SetDefault(nil) }\n", "cmd/m/a.go:5: slog.SetDefault"},
		{"log through the global logger", Calls, "streams/a.go", "package s\n\nimport \"log/slog\"\n\nfunc f() { slog.Info(\"x\") }\n", "streams/a.go:5: slog.Info"},
		{"own logger", Calls, "streams/a.go", "package s\n\nimport \"log/slog\"\n\nfunc f(l *slog.Logger) { l.Info(\"x\") }\n", ""},
		{"fatal", Calls, "cmd/m/a.go", "package main\n\nimport \"log\"\n\nfunc main() { log.Fatal() }\n", "cmd/m/a.go:5: log.Fatal"},
		{"fatal in a program to copy", Calls, "examples/1-a/main.go", "package main\n\nimport \"log\"\n\nfunc main() { log.Fatal() }\n", ""},
		{"fatal below the main of one", Calls, "examples/1-a/main.go", "package main\n\nimport \"log\"\n\nfunc f() { log.Fatal() }\n", "examples/1-a/main.go:5: log.Fatal"},
		{"renamed import", Calls, "llm/a.go", "package llm\n\nimport std \"log\"\n\nfunc f() { std.Fatal() }\n", "llm/a.go:5: log.Fatal"},
		{"dot import", Calls, "llm/a.go", "package llm\n\nimport . \"log\"\n\nfunc f() { Fatal() }\n", "llm/a.go:3: a dot import"},
		{"exit from a library", Calls, "llm/a.go", "package llm\n\nimport \"os\"\n\nfunc f() { os.Exit(1) }\n", "llm/a.go:5: os.Exit"},
		{"exit from main", Calls, "cmd/m/a.go", "package main\n\nimport \"os\"\n\nfunc main() { os.Exit(1) }\n", ""},
		{"exit from TestMain", Calls, "llm/a_test.go", "package llm\n\nimport \"os\"\n\nfunc TestMain() { os.Exit(1) }\n", ""},
		{"sleep in a test", Calls, "llm/a_test.go", "package llm\n\nimport \"time\"\n\nfunc f() { time.Sleep(1) }\n", "llm/a_test.go:5: time.Sleep"},
		{"sleep in code", Calls, "llm/a.go", "package llm\n\nimport \"time\"\n\nfunc f() { time.Sleep(1) }\n", "llm/a.go:5: time.Sleep"},
		{"sleep in virtual time", Calls, "llm/a_test.go", "package llm\n\nimport (\n\t\"testing/synctest\"\n\t\"time\"\n)\n\nfunc f() { synctest.Wait(); time.Sleep(1) }\n", ""},
		{"fatal in an example", Calls, "llm/a_test.go", "package llm\n\nimport \"log\"\n\nfunc ExampleX() { log.Fatal() }\n", ""},
		{"fatal in a test", Calls, "llm/a_test.go", "package llm\n\nimport \"log\"\n\nfunc TestX() { log.Fatal() }\n", "llm/a_test.go:5: log.Fatal"},
		{"wall clock in the core", Calls, "internal/task/a.go", "package task\n\nimport \"time\"\n\nvar now = time.Now\n", "internal/task/a.go:5: time.Now"},
		{"wall clock elsewhere", Calls, "streams/a.go", "package s\n\nimport \"time\"\n\nvar now = time.Now\n", ""},
		{"skip", Calls, "llm/a_test.go", "package llm\n\nfunc f(t T) { t.Skipf(\"x\") }\n", "llm/a_test.go:3: a skipped test"},
		{"init", Calls, "llm/a.go", "package llm\n\nfunc init() {}\n", "llm/a.go:3: an init function"},
		{"method named init", Calls, "llm/a.go", "package llm\n\nfunc (t T) init() {}\n", ""},

		{"too long", Sizes, "codec/a.go", long, "codec/a.go: 901 lines"},
		{"long enough", Sizes, "codec/a.go", long[:len(long)-1], ""},
		{"not formatted", Format, "codec/a.go", "package codec\n\nvar  a = 1\n", "codec/a.go:3: not formatted"},
		{"formatted", Format, "codec/a.go", "package codec\n\nvar a = 1\n", ""},

		{"unfinished", Words, "docs/a.md", "one\n" + marker + ": two\n", "docs/a.md:2: \"" + marker + "\""},
		{"a word that only holds the mark", Words, "docs/a.md", "MAS" + marker + "N\n", ""},
		{"a machine's path", Words, "docs/a.md", "see " + machine + "\n", "docs/a.md:1:"},
		{"a path in a container", Words, "Dockerfile", "COPY . /src/wo" + "rk/\n", ""},
		{"a registry", Words, "docs/a.md", "from " + host + "\n", "docs/a.md:1:"},

		{"short package comment", PackageComments, "internal/x/doc.go", "// Package x is short.\npackage x\n", "internal/x/doc.go: the package comment has 1 lines"},
		{"package comment elsewhere", PackageComments, "internal/x/x.go", "// Package x\n" + strings.Repeat("// is.\n", 30) + "package x\n", "internal/x/doc.go: the package comment has 0 lines"},
		{"command", PackageComments, "cmd/x/main.go", "// Command x\n" + strings.Repeat("// is.\n", 30) + "package main\n", ""},

		{"function without a comment", ExportedComments, "codec/a.go", "package codec\n\nfunc F() {}\n", "codec/a.go:3: exported F"},
		{"method without a comment", ExportedComments, "codec/a.go", "package codec\n\n// T is one.\ntype T[K any] struct{}\n\nfunc (t *T[K]) M() {}\n", "codec/a.go:6: exported M"},
		{"method of error", ExportedComments, "codec/a.go", "package codec\n\n// T is one.\ntype T int\n\nfunc (T) Error() string { return \"\" }\n", ""},
		{"method of a type that is not exported", ExportedComments, "codec/a.go", "package codec\n\ntype t struct{}\n\nfunc (t) M() {}\n", ""},
		{"type without a comment", ExportedComments, "codec/a.go", "package codec\n\ntype T int\n", "codec/a.go:3: exported T"},
		{"types in a group need their own", ExportedComments, "codec/a.go", "package codec\n\n// Types.\ntype (\n\tT int\n)\n", "codec/a.go:5: exported T"},
		{"constant without a comment", ExportedComments, "codec/a.go", "package codec\n\nconst C = 1\n", "codec/a.go:3: exported C"},
		{"constants in a commented group", ExportedComments, "codec/a.go", "package codec\n\n// Sizes.\nconst (\n\tC = 1\n\tD = 2\n)\n", ""},
		{"private packages are free", ExportedComments, "internal/x/a.go", "package x\n\nfunc F() {}\n", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			found := c.check(tree(t, c.path, c.text))
			switch {
			case c.want == "" && len(found) > 0:
				t.Errorf("found %v, want nothing", found)
			case c.want != "" && (len(found) != 1 || !strings.HasPrefix(found[0].String(), c.want)):
				t.Errorf("found %q, want one that begins %q", found, c.want)
			}
		})
	}
}

func TestSleepIsAllowedWhereAHelperMakesTheBubble(t *testing.T) {
	helper := "package kafka\n\nimport _ \"testing/synctest\"\n"
	sleeper := "package kafka\n\nimport \"time\"\n\nfunc f() { time.Sleep(1) }\n"
	for files, want := range map[[2]string]int{
		{"internal/kafka/h_test.go", "internal/kafka/a_test.go"}: 0,
		{"internal/other/h_test.go", "internal/kafka/a_test.go"}: 1,
		{"internal/kafka/h_test.go", "internal/kafka/a.go"}:      1,
	} {
		if found := Calls(tree(t, files[0], helper, files[1], sleeper)); len(found) != want {
			t.Errorf("%v: found %v, want %d findings", files, found, want)
		}
	}
}

func TestPublicPackageNeedsARunnableExample(t *testing.T) {
	doc := "// Package codec\n" + strings.Repeat("// is.\n", publicDocLines) + "package codec\n"
	for source, want := range map[string]int{
		"package codec\n\nfunc Example() {\n\tprintln()\n\t// Output: 1\n}\n":                0,
		"package codec\n\nfunc Example() {\n\tprintln()\n}\n":                                1,
		"package codec\n\n// Output: 1\nfunc Example() {\n\tprintln()\n}\n":                  1,
		"package codec\n\nfunc ExampleCodec() {\n\tprintln()\n\t// Unordered output: 1\n}\n": 0,
	} {
		found := PackageComments(tree(t, "codec/doc.go", doc, "codec/a_test.go", source))
		if len(found) != want {
			t.Errorf("%q: found %v, want %d findings", source, found, want)
		}
	}
}

func TestDriversAreFoundBehindOtherPackages(t *testing.T) {
	found := Drivers([]Package{
		{Dir: "streams", Deps: []string{"github.com/IBM/sarama", "github.com/twmb/franz-go/pkg/kfake"}},
		{Dir: "internal/embedded", Deps: []string{"github.com/twmb/franz-go/pkg/kfake"}},
		{Dir: "cmd/millrace", Deps: []string{"github.com/urfave/cli/v2", "github.com/twmb/franz-go/pkg/kfake"}},
		{Dir: "topology", Deps: []string{"github.com/IBM/sarama"}},
		{Dir: "llm", Deps: []string{"github.com/urfave/cli/v2"}},
		{Dir: "stores", Deps: []string{"gocloud.dev/blob"}},
		{Dir: "codec", Deps: []string{"gocloud.developer/x"}},
		{Dir: "internal/figures", Deps: []string{"gonum.org/v1/plot/vg", "github.com/IBM/sarama"}},
		{Dir: "cmd/plot", Deps: []string{"gonum.org/v1/plot"}},
	})
	var dirs []string
	for _, f := range found {
		dirs = append(dirs, f.File)
	}
	if got, want := fmt.Sprint(dirs), "[cmd/plot llm stores streams topology]"; got != want {
		t.Errorf("found %v in %s, want %s", found, got, want)
	}
}
