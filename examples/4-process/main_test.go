package main

import (
	"testing"
	"time"

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

func TestAModelThatFallsSilentAlertsOnce(t *testing.T) {
	top, err := watch()
	if err != nil {
		t.Fatal(err)
	}
	d := streamtest.New(t, top)
	latencies := streamtest.Input(d, "latencies", codec.String, codec.Float64)
	alerts := streamtest.Output(d, "alerts", codec.String, codec.String)
	begin := d.Now()
	latencies.Send("quiet", 100, begin)
	for minute := range 8 {
		if minute == 3 {
			d.Crash() // what is known of it is in the store, and ticks stand on a grid
		}
		latencies.Send("busy", 100, begin.Add(time.Duration(minute)*time.Minute))
		if got := alerts.Rest(); minute < 6 && len(got) != 0 {
			t.Errorf("alerts after %d minutes: %+v", minute, got)
		} else if minute == 6 && (len(got) != 1 || got[0].Key != "quiet" || !got[0].Time.Equal(begin.Add(silence))) {
			t.Errorf("alerts: %+v, want one for quiet at %v", got, begin.Add(silence))
		} else if minute > 6 && len(got) != 0 {
			t.Errorf("alerts of what is known: %+v", got)
		}
	}
	d.Advance(20 * time.Minute) // nothing answers: the clock goes on
	if got := alerts.Rest(); len(got) != 1 || got[0].Key != "busy" || got[0].Value != "silent for 5m0s" {
		t.Errorf("alerts: %+v, want one for busy", got)
	}
	latencies.Send("busy", 100, d.Now())
	d.Advance(20 * time.Minute)
	if got := alerts.Rest(); len(got) != 1 || got[0].Key != "busy" {
		t.Errorf("alerts: %+v, want busy once more", got)
	}
}
