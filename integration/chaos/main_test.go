//go:build integration

package chaos

import (
	"os"
	"testing"

	"github.com/millrace/millrace/integration/servers"
)

// TestMain also is the instances: this binary again, with a specification.
func TestMain(m *testing.M) {
	if spec := os.Getenv(instanceEnv); spec != "" {
		os.Exit(instanceMain(spec))
	}
	os.Exit(servers.Main(m))
}
