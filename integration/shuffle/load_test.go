package shuffle

import (
	"testing"
	"time"
)

func load() Load {
	l := DefaultLoad(time.UnixMilli(1_700_000_000_000))
	l.Events = 20_000
	return l
}

func TestALoadIsWhatItSays(t *testing.T) {
	for _, share := range []float64{0.05, 1} {
		l := load()
		l.Share = share
		var events, disordered int64
		highest := [partitions]int64{}
		for e := range l.all {
			events++
			h := &highest[e.partition]
			if e.at < *h {
				disordered++
				if *h-e.at > l.Disorder.Milliseconds() {
					t.Fatalf("an event is %d ms out of order", *h-e.at)
				}
			}
			*h = max(*h, e.at)
		}
		if events != l.Events {
			t.Errorf("%d events", events)
		}
		if apart := highest[0] - highest[1]; apart < (l.Apart-5*time.Second).Milliseconds() || apart > (l.Apart+5*time.Second).Milliseconds() {
			t.Errorf("the partitions end %d ms apart", apart)
		}
		if got := float64(disordered) / float64(events); got < share*0.9 || got > share {
			t.Errorf("%.3f of the events are out of order, want about %.3f", got, share)
		}
		if n := l.Truth().Total(); n != events {
			t.Errorf("%d events in windows", n)
		}
	}
}

func TestEveryDifferenceOfCountsIsFound(t *testing.T) {
	truth := load().Truth()
	id := windowID{}
	for id = range truth {
		break
	}
	o := Outcome{In: 20_000, Counts: load().Truth(), Truth: truth}
	if err := o.Check(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(o *Outcome){
		"a window more":      func(o *Outcome) { o.Counts[windowID{"m", 0}] = 1 },
		"a window less":      func(o *Outcome) { delete(o.Counts, id) },
		"a window empty":     func(o *Outcome) { o.Counts[windowID{"m", 0}] = 0 },
		"another count":      func(o *Outcome) { o.Counts[id]++ },
		"an event dropped":   func(o *Outcome) { o.Dropped = 1 },
		"an event not read":  func(o *Outcome) { o.In-- },
		"an event too often": func(o *Outcome) { o.In++ },
	} {
		o := Outcome{In: 20_000, Counts: load().Truth(), Truth: truth}
		if spoil(&o); o.Check() == nil {
			t.Errorf("%s is not found", name)
		}
	}
}
