package main

import (
	"fmt"
	"slices"
	"time"

	"gonum.org/v1/plot/text"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// sessionPicture shows two sessions that an event between them makes one.
func sessionPicture() (*picture, error) {
	const gap, end = 60., 480.
	s := newStage()
	b := topology.New("sessions")
	sessions := source(b, window.BoundedDelay(150*time.Second)).GroupByKey(codec.String, codec.Int64).
		WindowedBy(window.Session(gap * time.Second))
	s.watch("sessions", topology.Aggregate(sessions, codec.JSON[times](), gather(), topology.Store("sessions"),
		topology.Emit(window.OnTime().EarlyAfter(1))).Stream())
	if err := s.open(b); err != nil {
		return nil, err
	}
	list := []point{{25, 15}, {60, 50}, {165, 155}, {205, 195}, {250, 105}, {320, 310}, {430, 415}}
	for _, e := range list {
		s.wait(e.x)
		s.send(0, "k", e.y)
	}
	p := newPanel("", "processing time", "event time")
	scale(&p.X, 0, end, 60)
	scale(&p.Y, 0, 420, 60)
	held := mark{shape: dot, fill: paleSky, edge: blue, radius: 7, ink: black}
	gone := mark{shape: dot, edge: vermillion, fill: white, radius: 7, ink: vermillion}
	p.paint(func(p *pen) {
		for t := 60.; t <= 420; t += 60 {
			p.lines(stroke{line, 0.6, false}, point{0, t}, point{end, t})
		}
		// Where a result that takes nothing back stands beside one that does, they
		// would cover each other.
		seen := map[float64]int{}
		for _, r := range s.results["sessions"] {
			x := r.clock + 6 + 17*float64(seen[r.clock])
			seen[r.clock]++
			first, last := slices.Min(r.events), slices.Max(r.events)
			fill, edge, m := paleSky, stroke{blue, 1, false}, held
			switch {
			case r.pane.Retracted:
				fill, edge, m = none, stroke{vermillion, 1, true}, gone
			case r.pane.Final:
				fill, edge, m = paleGreen, stroke{green, 1, false}, finalResult()
			}
			if last > first {
				p.rect(point{x, first - 4}, point{x + 12, last + 4}, fill, edge)
			}
			if !r.pane.Retracted {
				for _, t := range []point{{last + 4, last + gap}, {first - 4, first - gap}} {
					p.lines(stroke{grey, 0.8, true}, point{x + 6, t.x}, point{x + 6, max(t.y, 0)})
				}
			}
			label := fmt.Sprint(len(r.events))
			if r.pane.Retracted {
				label = "−" + label
			}
			p.put(m.with(label), x+6, (first+last)/2)
		}
		for _, e := range list {
			p.put(onTimeEvent(), e.x, e.y)
		}
		p.rect(point{306, 72}, point{448, 138}, white, stroke{})
		note := lettering(8.5, grey, false, text.XLeft, text.YCenter)
		for i, s := range []string{"The event at 12:01:45 is read at 12:04:10,", "out of order but on time, and lies within", "60 s of both sessions: what was sent of", "either is taken back, and one of all five", "events follows."} {
			p.write(note, 310, 105, 0, 22-11*float64(i), s)
		}
	})
	return &picture{
		title: "Two sessions of a key that an event between them merges: both results are retracted, and one of all events follows",
		width: 620, height: 380,
		key: []entry{
			{mark: onTimeEvent(), text: "event"}, {mark: held.with("2"), text: "session of 2 events, sent early"}, {mark: gone.with("−2"), text: "the same, retracted"},
			{mark: finalResult().with("5"), text: "final, when the watermark has passed its last event and the gap"}, {line: stroke{grey, 0.8, true}, text: "the gap of 60 s: events here join it"},
		},
		panels: [][]*panel{{p}},
	}, s.close()
}
