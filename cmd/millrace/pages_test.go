package main

import (
	"encoding/json"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
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
	goTool(t, map[string]string{"main.go": whole[0]}, "list", "-export")
}

func TestTheUpgradeOnThePageCompiles(t *testing.T) {
	upgrade := blocks(section(t, page(t, "docs/state.md"), "When a value's type changes"), "go")
	goTool(t, map[string]string{"main.go": goFile(t, "main", upgrade, "")}, "list", "-export")
}

// TestTheTestOnAPagePasses runs the example of docs/testing.md. It is built and
// run in two steps, because its folder is there for the compiler alone.
func TestTheTestOnAPagePasses(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "pages.test")
	goTool(t, map[string]string{
		"doc.go":        "// Package pages is on a page.\npackage pages\n",
		"pages_test.go": goFile(t, "pages", blocks(page(t, "docs/testing.md"), "go"), ""),
	}, "test", "-c", "-vet=off", "-o", binary)
	printed, err := exec.CommandContext(t.Context(), binary, "-test.v").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	out := string(printed)
	if !strings.Contains(out, "--- PASS: TestLatency") {
		t.Errorf("the page's test has not run:\n%s", out)
	}
}
