//go:build integration

package hot_test

import (
	"os"
	"testing"

	"github.com/millrace/millrace/integration/servers"
)

func TestMain(m *testing.M) { os.Exit(servers.Main(m)) }
