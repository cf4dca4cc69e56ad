//go:build integration

package emission

import (
	"os"
	"testing"

	"github.com/millrace/millrace/integration/servers"
)

func TestMain(m *testing.M) { os.Exit(servers.Main(m)) }
