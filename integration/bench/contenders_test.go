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
	for _, w := range Works() {
		l := load(w.Key)
		// A broker deletes what Kafka Streams has in a changelog by its events'
		// times.
		l.End = time.Now()
		c, err := Compare(t.Context(), Plan{
			Settings: Settings{Brokers: k.Brokers()[0]}, Work: w, Load: l, Partitions: 4, Rounds: 1, Log: t.Output(),
		})
		if err != nil {
			t.Fatalf("%s: %v", w.Name, err)
		}
		if !w.Restore {
			continue
		}
		for _, name := range []string{Millrace, KafkaStreams} {
			if r := c.Restores[name][0]; r.RestoredRecords == 0 || r.RestoreSeconds <= 0 {
				t.Errorf("%s: %s has restored %+v", w.Name, name, r)
			}
		}
	}
}
