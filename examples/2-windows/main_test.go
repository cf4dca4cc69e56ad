package main

import (
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/window"
)

func TestAMinuteIsSentEarlyOnTimeLateAndFinal(t *testing.T) {
	top, err := minutes()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	d := streamtest.New(t, top, streamtest.Start(start.Add(time.Minute)))
	requests := streamtest.Input(d, "requests", codec.String, codec.JSON[Request]())
	results := streamtest.Output(d, "tokens-by-minute", codec.String, codec.JSON[Minute]())
	tooLate := streamtest.Output(d, "too-late", codec.String, codec.JSON[Request]())
	send := func(after time.Duration, tokens int64) {
		at := start.Add(after)
		requests.Send("", Request{Model: "m", At: at.UnixMilli(), Tokens: tokens}, at)
	}

	send(10*time.Second, 1)
	d.Advance(11 * time.Second) // the early result
	send(50*time.Second, 2)
	send(66*time.Second, 100) // the watermark passes the end of the first minute
	send(55*time.Second, 4)   // late, and still taken
	send(96*time.Second, 100) // the first minute closes
	send(59*time.Second, 8)   // too late

	want := []Minute{
		{Tokens: 1, Pane: window.EarlyPane},
		{Tokens: 3, Pane: window.OnTimePane},
		{Tokens: 7, Pane: window.LatePane},
		{Tokens: 7, Pane: window.LatePane, Final: true},
	}
	var got []Minute
	for _, m := range results.All() {
		if m.Value.Start == start.UnixMilli() {
			got = append(got, m.Value)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("results: %+v, want %d", got, len(want))
	}
	for i, w := range want {
		w.Model, w.Start = "m", start.UnixMilli()
		if got[i] != w {
			t.Errorf("result %d: %+v, want %+v", i, got[i], w)
		}
	}
	if late := tooLate.All(); len(late) != 1 || late[0].Value.Tokens != 8 {
		t.Errorf("too late: %+v, want the event with 8 tokens", late)
	}
}
