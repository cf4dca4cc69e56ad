package main

import (
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streamtest"
)

func TestWordsAreCounted(t *testing.T) {
	top, err := words()
	if err != nil {
		t.Fatal(err)
	}
	d := streamtest.New(t, top, streamtest.Partitions(2))
	lines := streamtest.Input(d, "lines", codec.String, codec.String)
	counts := streamtest.Output(d, "word-counts", codec.String, codec.Int64)
	lines.Send("", "the mill by the race", d.Now())
	lines.Send("", "The race", d.Now())
	d.Crash() // nothing that was counted is lost
	lines.Send("", "the", d.Now())

	latest := map[string]int64{}
	for _, m := range counts.All() {
		latest[m.Key] = m.Value
	}
	for word, want := range map[string]int64{"the": 4, "race": 2, "mill": 1, "by": 1} {
		if latest[word] != want {
			t.Errorf("%q was counted %d times, want %d", word, latest[word], want)
		}
	}
	if n, ok := streamtest.Get[int64](d.Store("counts"), "the"); !ok || n != 4 {
		t.Errorf("the store has %d for %q, %v; want 4", n, "the", ok)
	}
}
