//go:build integration

package shuffle

import (
	"errors"
	"testing"
	"time"

	"github.com/millrace/millrace/integration/servers"
)

// TestNothingIsLostInTheShuffle: Millrace drops none of the events of a partition
// that is half an hour behind, and Kafka Streams drops some, on the same broker.
func TestNothingIsLostInTheShuffle(t *testing.T) {
	l := DefaultLoad(time.Now())
	outcomes, err := Run(t.Context(), servers.KafkaForTest(t).Brokers()[0], l, Millrace, KafkaStreams)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range outcomes {
		o.Write(t.Output())
	}
	ours, theirs := outcomes[0], outcomes[1]
	if err := ours.Check(); err != nil {
		t.Error(err)
	}
	if theirs.In != l.Events || theirs.Counts.Total()+theirs.Dropped != l.Events {
		t.Errorf("Kafka Streams has read %d events, counted %d and dropped %d, of %d", theirs.In, theirs.Counts.Total(), theirs.Dropped, l.Events)
	}
	if err := theirs.Check(); !errors.Is(err, ErrDiffers) || theirs.Dropped == 0 {
		t.Errorf("Kafka Streams has dropped nothing (%v): what the docs say of it is wrong", err)
	}
}

// TestEventsOutOfOrderAreComplete: of a stream in which 5 % of the events are out
// of order within the watermark's delay, every event is in a final window.
func TestEventsOutOfOrderAreComplete(t *testing.T) {
	l := DefaultLoad(time.Now())
	l.Apart, l.Share, l.Seed = 0, 0.05, 2
	outcomes, err := Run(t.Context(), servers.KafkaForTest(t).Brokers()[0], l, Millrace)
	if err != nil {
		t.Fatal(err)
	}
	outcomes[0].Write(t.Output())
	if err := outcomes[0].Check(); err != nil {
		t.Error(err)
	}
}
