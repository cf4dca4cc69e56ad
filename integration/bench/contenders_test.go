//go:build integration

package bench

import (
	"os"
	"testing"
	"time"

	"github.com/millrace/millrace/integration/servers"
)

func TestMain(m *testing.M) { os.Exit(servers.Main(m)) }

func TestContendersAgree(t *testing.T) {
	k := servers.KafkaForTest(t)
	for _, key := range []Key{ByModel, BySession} {
		l := load(key)
		// A broker deletes what Kafka Streams has in a changelog by its events'
		// times.
		l.End = time.Now()
		p := Plan{
			Settings: Settings{Brokers: k.Brokers()[0]}, Load: l, Partitions: 4, Rounds: 1, Contenders: Contenders(), Restore: true, Log: t.Output(),
		}
		c, err := Compare(t.Context(), p)
		if err != nil {
			t.Fatalf("by %s: %v", key, err)
		}
		for _, name := range []string{Millrace, KafkaStreams} {
			if r := c.Restores[name][0]; r.RestoredRecords == 0 || r.RestoreSeconds <= 0 {
				t.Errorf("by %s: %s has restored %+v", key, name, r)
			}
		}
	}
}
