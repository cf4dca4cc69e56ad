//go:build integration

package integration_test

import (
	"os"
	"testing"

	"github.com/millrace/millrace/integration/servers"
)

// TestMain also is the process that startWorker starts: a test that kills an
// instance runs it in a process of its own, which is this binary again.
func TestMain(m *testing.M) {
	if spec := os.Getenv(workerEnv); spec != "" {
		os.Exit(workerMain(spec))
	}
	os.Exit(servers.Main(m))
}
