//go:build integration

package emission

import (
	"log/slog"
	"testing"
	"time"

	"github.com/millrace/millrace/integration/servers"
)

// TestEveryEventIsInAFinalWindow: events that arrive in real time, 5 % of them out
// of order within the watermark's delay, are all in the final results of the
// windows that become complete. How long these take is printed.
func TestEveryEventIsInAFinalWindow(t *testing.T) {
	l := DefaultLoad()
	l.Rate, l.WarmUp, l.For = 10_000, time.Second, 3*time.Second
	s := Settings{Broker: servers.KafkaForTest(t).Brokers()[0], Workers: 2, Logger: slog.New(slog.DiscardHandler)}
	for _, c := range Cases() {
		t.Run(c.String(), func(t *testing.T) {
			r, err := Measure(t.Context(), s, c, l)
			if err != nil {
				t.Fatal(err)
			}
			r.Write(t.Output())
			if err := r.Check(); err != nil {
				t.Error(err)
			}
			if r.Events != 40_000 {
				t.Errorf("%d events arrived", r.Events)
			}
			// What is not complete are the last second and window, by event time.
			if r.Counted < 25_000 {
				t.Errorf("%d events in windows that were complete", r.Counted)
			}
		})
	}
}
