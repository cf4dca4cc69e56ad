//go:build integration

package cold_test

import (
	"os"
	"testing"

	"github.com/millrace/millrace/integration/servers"
)

// TestMain also is the process of an instance, which tests kill.
func TestMain(m *testing.M) { os.Exit(servers.Main(m)) }
