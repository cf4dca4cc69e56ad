//go:build integration

package cold_test

import (
	"os"
	"testing"

	"github.com/millrace/millrace/integration/servers"
)

// TestMain also is the process of an instance that kills itself.
func TestMain(m *testing.M) {
	if spec := os.Getenv(instanceEnv); spec != "" {
		os.Exit(instanceMain(spec))
	}
	os.Exit(servers.Main(m))
}
