//go:build integration

package bench

import (
	"os"
	"testing"
	"time"

	"github.com/millrace/millrace/integration/live"
	"github.com/millrace/millrace/integration/servers"
	"github.com/millrace/millrace/streams"
)

func TestMain(m *testing.M) { os.Exit(servers.Main(m)) }

func TestContendersAgree(t *testing.T) {
	k := servers.KafkaForTest(t)
	for _, w := range Works() {
		l := load(w.Key)
		if w.Events > 0 {
			w.Events, w.Keys = l.Events, 2*l.Events
		}
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

// TestBothContendersIncludeEachEvent: a few seconds of what make latency does.
// Which of them is faster, a busy machine does not tell.
func TestBothContendersIncludeEachEvent(t *testing.T) {
	p := LatencyPlan{
		Settings: Settings{Brokers: servers.KafkaForTest(t).Brokers()[0]},
		Load:     live.Load{Rate: 5000, WarmUp: time.Second, For: 2 * time.Second, Disorder: time.Second, Share: 0.05, Seed: 1},
		CommitMS: 100, Guarantees: []streams.Guarantee{streams.AtLeastOnce, streams.ExactlyOnce}, Rounds: 1, Log: t.Output(),
	}
	found, err := MeasureLatency(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if len(found.Runs) != 4 {
		t.Errorf("%d runs", len(found.Runs))
	}
	for _, r := range found.Runs {
		// More than those of two seconds count where events arrive late.
		if n := r.Latency.Len(); n < 10_000 || n > 15_000 || r.Latency.At(0) <= 0 || r.Report.Records < 15_000 || r.Windows < 50 {
			t.Errorf("%s, %s: the latency of %d events of 10000, %v; %+v", r.Guarantee, r.Contender, n, r.Latency, r.Report)
		}
	}
}
