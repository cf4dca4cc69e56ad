package bench

import (
	"context"
	"os"
	"time"

	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/streams"
)

// What Grow and Hold have in common: millrace alone, over events that all lie in
// one window, so that every key is live until the end.

// tumblingSize is the size of the benchmark's tumbling windows.
const tumblingSize = 5 * time.Minute

// oneWindow returns a load of events that have any of so many keys. They are out
// of order by up to a minute, and yet none lies in another window.
func oneWindow(events, keys int64, seed uint64) Load {
	return Load{
		Events: events, Keys: keys, Seed: seed, Span: tumblingSize - disorder*time.Millisecond - time.Second,
		End: time.Now().Truncate(tumblingSize).Add(-time.Millisecond),
	}
}

// aggregation is tumbling windows, at least once.
func aggregation() Work {
	return Work{Shape: llm.TumblingShape, Guarantee: streams.AtLeastOnce, CommitMS: streams.AtLeastOnce.CommitInterval().Milliseconds()}
}

// openField makes a place for the programs in Go alone. Close it.
func openField(ctx context.Context, s Settings) (*field, error) {
	client, err := kafka.Open(ctx, kafka.Config{Brokers: []string{s.Brokers}, ClientID: "millrace-bench"})
	if err != nil {
		return nil, err
	}
	f := &field{Settings: s, client: client}
	if f.dir, err = os.MkdirTemp("", "millrace-bench-"); err == nil {
		err = f.buildPrograms(ctx)
	}
	if err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *field) close() {
	f.client.Close()
	_ = os.RemoveAll(f.dir) // it is a temporary folder's
}
