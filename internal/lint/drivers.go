package lint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
)

// driver is a module that a user's binary carries only if it asks for it.
type driver struct {
	module string
	// nobody: not even cmd and integration may carry it, only the carriers.
	nobody bool
	// carriers are the folders whose packages may have it among what they
	// import, directly or not.
	carriers []string
	instead  string
}

// drivers lists them. cmd and integration may carry each that is not for nobody.
var drivers = []driver{
	{"gonum.org/v1/plot", true, []string{"internal/figures"}, "draw in internal/figures"},
	{"github.com/twmb/franz-go", false, []string{"internal/embedded", "internal/simulation"}, "use internal/embedded from cmd or from a test"},
	{"github.com/jackc/pgx", false, []string{"stores/postgres"}, "use stores/postgres from cmd"},
	{"github.com/pressly/goose", false, []string{"stores/postgres"}, "use stores/postgres from cmd"},
	{"github.com/redis/rueidis", false, []string{"stores/redis"}, "use stores/redis from cmd"},
	{"gocloud.dev", false, []string{"changelog/objectstore"}, "use changelog/objectstore from cmd"},
	{"github.com/urfave/cli", false, nil, "parse flags in cmd"},
	{"github.com/vbauerster/mpb", false, nil, "report progress to a listener, and draw the bar in cmd"},
	{
		// A topology is built without Kafka: what only names the steps
		// compiles none of it.
		sarama,
		false,
		[]string{"internal/kafka", "internal/embedded", "internal/simulation", "changelog", "internal/task", "streams", "streamtest", "query", "examples", "internal/figures"},
		"take what Kafka gives through an interface",
	},
}

// sarama is the Kafka client.
const sarama = "github.com/IBM/sarama"

// saramaImporters are the folders whose code names sarama itself.
var saramaImporters = []string{"internal/kafka", "internal/embedded", "internal/simulation", "streams", "cmd", "integration"}

// DirectSarama finds code that names sarama and may not. Tests may.
func DirectSarama(t *Tree) []Finding {
	var found []Finding
	for _, f := range t.goFiles() {
		here := func(folder string) bool { return under(f.dir(), folder) }
		if f.isTest() || slices.ContainsFunc(saramaImporters, here) {
			continue
		}
		for spec, p := range f.imports() {
			if under(p, sarama) {
				found = append(found, f.at(spec.Pos(), "only %s import sarama; use internal/kafka", strings.Join(saramaImporters, ", ")))
			}
		}
	}
	return sorted(found)
}

// Package is what go list says of a package of this module.
type Package struct {
	Dir  string   // its folder, relative to the root
	Deps []string // the import paths of all it imports, directly or not
}

// ListPackages asks the go command for the packages of the module at root, with
// what their non-test code imports.
func ListPackages(root string) ([]Package, error) {
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Deps", "./...")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("lint: go list: %w: %s", err, stderr.Bytes())
	}
	var packages []Package
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p struct {
			ImportPath string
			Deps       []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("lint: the output of go list: %w", err)
		}
		dir := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		packages = append(packages, Package{Dir: dir, Deps: p.Deps})
	}
}

// Drivers finds the packages that carry a driver and may not.
func Drivers(packages []Package) []Finding {
	var found []Finding
	for _, p := range packages {
		for _, d := range drivers {
			free := func(folder string) bool { return under(p.Dir, folder) }
			if !d.nobody && (free("cmd") || free("integration")) || slices.ContainsFunc(d.carriers, free) {
				continue
			}
			i := slices.IndexFunc(p.Deps, func(dep string) bool { return under(dep, d.module) })
			if i < 0 {
				continue
			}
			found = append(found, Finding{File: p.Dir, Text: fmt.Sprintf(
				"this package carries the driver %s (go list -deps ./%s); %s", p.Deps[i], p.Dir, d.instead)})
		}
	}
	return sorted(found)
}
