//go:build integration

package hot_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/millrace/millrace/integration/servers"
)

// binaries is the folder of the command that the tests run.
var binaries string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	var err error
	if binaries, err = os.MkdirTemp("", "millrace-hot-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(binaries)
	return servers.Main(m)
}
