//go:build integration

package chaos

import (
	"os"
	"testing"

	"github.com/millrace/millrace/integration/servers"
)

// world is what runs share: brokers, and the network before them.
type world struct {
	kafka *servers.Kafka
	mesh  *mesh
}

// environment starts the brokers for a test. Their folder stays if it fails.
func environment(t testing.TB) (*world, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "millrace-chaos-")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("all logs are in %s", dir)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("everything that is left of the run is in %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	k, m := cluster(t, dir)
	return &world{k, m}, dir
}
