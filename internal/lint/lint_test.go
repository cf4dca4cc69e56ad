package lint

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// root is the repository, from where go test runs this package.
const root = "../.."

// load reads the tree once for all tests.
var load = sync.OnceValues(func() (*Tree, error) { return Load(root) })

// report fails the test with each finding.
func report(t *testing.T, found []Finding) {
	t.Helper()
	for _, f := range found {
		t.Errorf("%v", f)
	}
}

func TestTree(t *testing.T) {
	tree, err := load()
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.goFiles()) < 20 || len(tree.packages()["internal/lint"]) == 0 {
		t.Fatalf("only %d Go files under %s, without this one: is that the repository?", len(tree.goFiles()), root)
	}
	checks := []struct {
		name  string
		check func(*Tree) []Finding
	}{
		{"ImportDirection", ImportDirection},
		{"DirectSarama", DirectSarama},
		{"Calls", Calls},
		{"Sizes", Sizes},
		{"Format", Format},
		{"Words", Words},
		{"PackageComments", PackageComments},
		{"ExportedComments", ExportedComments},
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) { report(t, c.check(tree)) })
	}
}

func TestDrivers(t *testing.T) {
	packages, err := ListPackages(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) < 5 {
		t.Fatalf("go list knows %d packages only", len(packages))
	}
	report(t, Drivers(packages))
}

// TestBuildsForWindows builds what nobody here runs. The go command's cache
// makes it cheap from the second time on.
func TestBuildsForWindows(t *testing.T) {
	cmd := exec.Command("go", "build", "./...")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		dir, _ := filepath.Abs(root)
		t.Errorf("GOOS=windows go build ./... in %s: %v; put what the system lacks behind a build tag:\n%s", dir, err, out)
	}
}
