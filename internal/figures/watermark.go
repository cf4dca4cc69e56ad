package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"gonum.org/v1/plot/text"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// arrived is an event as a task saw it: when, and of what time. It is late if it was
// behind the watermark then.
type arrived struct {
	clock, happened float64
	dropped, late   bool
}

// watermarkPicture shows one partition: its events, the watermark that follows
// them, and when it makes windows fire and close.
func watermarkPicture() (*picture, error) {
	const (
		delay, lateness, size = 30., 30., 60.
		end                   = 304.
	)
	s := newStage()
	b := topology.New("watermark")
	minutes := source(b, window.BoundedDelay(delay*time.Second)).GroupByKey(codec.String, codec.Int64).
		WindowedBy(window.Tumbling(size * time.Second).AllowedLateness(lateness * time.Second))
	s.watch("minutes", topology.Aggregate(minutes, codec.JSON[times](), gather(), topology.Store("minutes")).Stream())
	if err := s.open(b); err != nil {
		return nil, err
	}
	var events []arrived
	var watermark []point
	send := func(clock, happened float64) {
		s.wait(clock)
		before := s.dropped()
		w, known := s.watermark(0, 0)
		s.send(0, "k", happened)
		events = append(events, arrived{s.now(), happened, s.dropped() > before, known && happened < w})
		if w, known = s.watermark(0, 0); known {
			watermark = append(watermark, point{clock, w})
		}
	}
	rng := rand.New(rand.NewPCG(7, 1))
	stragglers := map[int]float64{12: 52, 17: 78, 24: 118, 29: 58} // how long these took
	clock := 4.
	for i := 0; clock < 300; i++ {
		took := min(1+rng.ExpFloat64()*9, 27)
		if t, ok := stragglers[i]; ok {
			took = t
		}
		send(clock, max(clock-took, 0))
		clock += 4 + rng.Float64()*8
	}
	watermark = append(watermark, point{end, watermark[len(watermark)-1].y})
	p := newPanel("", "when it was read: processing time", "when it happened: event time")
	scale(&p.X, 0, end, 60)
	scale(&p.Y, 0, 300, 60)
	p.paint(func(p *pen) {
		for t := 0.; t < 300; t += size {
			fill := white
			if int(t/size)%2 == 0 {
				fill = band
			}
			p.rect(point{0, t}, point{end, t + size}, fill, stroke{})
			p.lines(stroke{line, 0.8, false}, point{0, t + size}, point{end, t + size})
			p.write(lettering(8.5, grey, false, text.XLeft, text.YTop), 0, t+size, 5, -4, fmt.Sprintf("%s–%s", clockText(t), clockText(t+size)))
		}
		p.lines(stroke{sky, 1, true}, point{0, 0}, point{end, end})
		p.write(lettering(8.5, blue, false, text.XRight, text.YBottom), 246, 246, -6, 3, "if nothing took any time")
		p.steps(stroke{black, 1.8, false}, watermark)
		for _, e := range events {
			m := onTimeEvent()
			if e.dropped {
				m = droppedEvent()
			} else if e.late {
				m = lateEvent()
			}
			p.put(m, e.clock, e.happened)
		}
		for _, r := range s.results["minutes"] {
			m := resultMark(r.pane).with(fmt.Sprint(len(r.events)))
			switch {
			case r.pane.Final:
				p.put(m, r.clock, r.to+lateness)
			case r.pane.Kind == window.OnTimePane:
				p.put(m, r.clock, r.to)
			default:
				i := slices.IndexFunc(events, func(e arrived) bool { return e.clock == r.clock })
				p.put(m, r.clock+8, events[i].happened)
			}
		}
	})
	return &picture{
		title: "Events of one partition by processing and event time, the watermark that follows them, and the results of tumbling windows of a minute",
		width: 620, height: 430,
		key: []entry{
			{mark: onTimeEvent(), text: "event on time"}, {mark: lateEvent(), text: "late: behind the watermark"}, {mark: droppedEvent(), text: "dropped: its window is closed"},
			{line: stroke{black, 1.8, false}, text: "watermark, 30 s behind the newest event"},
			{mark: onTimeResult().with("9"), text: "result on time, of 9 events"}, {mark: lateResult().with("9"), text: "late update"}, {mark: finalResult().with("9"), text: "final: closed, 30 s later"},
		},
		panels: [][]*panel{{p}},
	}, s.close()
}
