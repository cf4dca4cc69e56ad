package lint

import (
	"go/ast"
	"path"
	"slices"
	"strings"
)

// call is a function or method that code may not name.
type call struct {
	pkg   string   // import path
	names []string // any, if empty
	where func(f File, in string) bool
	why   string
}

// calls lists what may not be called and where. The functions get the file and
// the name of the top-level function that the call stands in.
var calls = []call{
	{"github.com/prometheus/client_golang/prometheus/promauto", nil, anywhere,
		"promauto registers with the process's registry; take a prometheus.Registerer"},
	{"github.com/prometheus/client_golang/prometheus", []string{"MustRegister", "Register", "DefaultRegisterer", "DefaultGatherer"}, anywhere,
		"that is the process's registry; take a prometheus.Registerer"},
	{"log/slog", []string{"SetDefault"}, anywhere,
		"two instances in one process log to different places; take a *slog.Logger"},
	{"log/slog", []string{"Debug", "Info", "Warn", "Error", "DebugContext", "InfoContext", "WarnContext", "ErrorContext"}, inLibrary,
		"that is the process's logger; take a *slog.Logger"},
	{"log", []string{"Fatal", "Fatalf", "Fatalln", "Panic", "Panicf", "Panicln"}, outsideExample,
		"return an error"},
	{"os", []string{"Exit"}, func(f File, in string) bool { return in != "TestMain" && f.ast.Name.Name != "main" },
		"return an error"},
	{"time", []string{"Sleep"}, outsideBubble,
		"a sleep cannot be cancelled and a test with one is slow or wrong; wait for a condition, or run under testing/synctest"},
	{"time", []string{"Now", "Since", "Until", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}, withoutWallClock,
		"this package's time is the event's or a clock that is handed in"},
}

func anywhere(File, string) bool { return true }

// outsideExample holds for all but the examples of the documentation, which
// have no test to fail, and the main functions of the programs to copy.
func outsideExample(f File, in string) bool {
	if under(f.Path, "examples") && in == "main" {
		return false
	}
	return !f.isTest() || !strings.HasPrefix(in, "Example")
}

// inLibrary holds for code that runs in a user's process.
func inLibrary(f File, _ string) bool {
	return !f.isTest() && f.ast.Name.Name != "main"
}

// outsideBubble holds where time is real: under testing/synctest a sleep
// advances a virtual clock. The bubble may be made by a helper in another test
// file of the package.
func outsideBubble(f File, _ string) bool { return !f.virtual }

// importsSynctest says whether the file makes bubbles of virtual time itself.
func importsSynctest(f File) bool {
	return slices.ContainsFunc(f.ast.Imports, func(spec *ast.ImportSpec) bool {
		return spec.Path.Value == `"testing/synctest"`
	})
}

// timeless are the folders whose code never reads the wall clock.
var timeless = []string{"window", "codec", "processors", "topology", "internal/task", "streamtest"}

func withoutWallClock(f File, _ string) bool {
	return !f.isTest() && slices.ContainsFunc(timeless, func(folder string) bool { return under(f.dir(), folder) })
}

// Calls finds what no code may call, skipped tests, init functions and dot
// imports.
func Calls(t *Tree) []Finding {
	var found []Finding
	bubbles := map[string]bool{} // folders whose tests make some
	for _, f := range t.goFiles() {
		if f.isTest() && importsSynctest(f) {
			bubbles[f.dir()] = true
		}
	}
	for _, f := range t.goFiles() {
		f.virtual = importsSynctest(f) || f.isTest() && bubbles[f.dir()]
		names := f.importNames()
		for spec, p := range f.imports() {
			if spec.Name != nil && spec.Name.Name == "." {
				found = append(found, f.at(spec.Pos(), "a dot import of %s hides where names come from; import it by name", p))
			}
		}
		for _, decl := range f.ast.Decls {
			in := ""
			if fn, ok := decl.(*ast.FuncDecl); ok {
				in = fn.Name.Name
				if in == "init" && fn.Recv == nil {
					found = append(found, f.at(fn.Pos(), "an init function acts on every importer; do it in a constructor"))
				}
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				if sel, ok := n.(*ast.SelectorExpr); ok {
					found = append(found, selector(f, names, in, sel)...)
				}
				return true
			})
		}
	}
	return sorted(found)
}

// selector judges one x.Name in the top-level function in.
func selector(f File, names map[string]string, in string, sel *ast.SelectorExpr) []Finding {
	x, ok := sel.X.(*ast.Ident)
	if !ok {
		return nil
	}
	if f.isTest() && strings.HasPrefix(sel.Sel.Name, "Skip") && slices.Contains([]string{"t", "b", "f", "tb"}, x.Name) {
		return []Finding{f.at(sel.Pos(), "a skipped test tests nothing; set up what it needs, or fail and say what to install")}
	}
	var found []Finding
	for _, c := range calls {
		if names[x.Name] != c.pkg || !c.where(f, in) {
			continue
		}
		if len(c.names) == 0 || slices.Contains(c.names, sel.Sel.Name) {
			found = append(found, f.at(sel.Pos(), "%s.%s: %s", path.Base(c.pkg), sel.Sel.Name, c.why))
		}
	}
	return found
}
