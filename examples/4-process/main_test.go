package main

import (
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streamtest"
)

func TestASlowAnswerAlerts(t *testing.T) {
	top, err := watch()
	if err != nil {
		t.Fatal(err)
	}
	d := streamtest.New(t, top)
	latencies := streamtest.Input(d, "latencies", codec.String, codec.Float64)
	alerts := streamtest.Output(d, "alerts", codec.String, codec.String)
	for range 10 {
		latencies.Send("m", 100, d.Now())
	}
	latencies.Send("m", 250, d.Now())
	if got := alerts.Rest(); len(got) != 0 {
		t.Errorf("alerts at an ordinary latency: %+v", got)
	}
	d.Crash() // the baseline is in the store, not in the processor
	latencies.Send("m", 900, d.Now())
	got := alerts.Rest()
	if len(got) != 1 || got[0].Key != "m" || got[0].Value != "900 ms, usually 114" {
		t.Errorf("alerts: %+v, want one of 900 ms for m", got)
	}
}
