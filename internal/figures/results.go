package main

import (
	"fmt"
	"time"

	"gonum.org/v1/plot/text"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// ticking is a processor that notes when it is called.
type ticking struct {
	s     *stage
	calls *[]point // clock and tick
}

func (t *ticking) Init(ctx *topology.Context[string, int64]) error {
	_, err := ctx.Punctuate("minute", window.ByEventTime(time.Minute), func(tick int64) error {
		*t.calls = append(*t.calls, point{t.s.now(), since(tick)})
		return nil
	})
	return err
}

func (t *ticking) Process(topology.Record[string, int64]) error { return nil }

func (t *ticking) Close() error { return nil }

// resultsPicture shows what is sent of one window, and when, by trigger and mode.
func resultsPicture() (*picture, error) {
	const delay, end = 30., 300.
	early := window.OnTime().Early(30 * time.Second)
	emissions := []struct {
		name string
		emit window.Emit
	}{
		{"accumulating", early}, {"discarding", early.Discarding()}, {"retracting", early.Retracting()}, {"OnClose()", window.OnClose()},
	}
	const suppressed = "Suppress: at most\none a minute"
	s := newStage()
	b := topology.New("results")
	in := source(b, window.BoundedDelay(delay*time.Second))
	g := in.GroupByKey(codec.String, codec.Int64)
	for i, e := range emissions {
		name := fmt.Sprintf("emission-%d", i)
		table := topology.Aggregate(g.WindowedBy(window.Tumbling(2*time.Minute).AllowedLateness(time.Minute)), codec.JSON[times](), gather(),
			topology.Store(name), topology.Named(name), topology.Emit(e.emit))
		s.watch(e.name, table.Stream())
		if i == 0 {
			s.watch(suppressed, table.Suppress(topology.UntilTimeLimit(time.Minute, topology.BufferIn("calm"))))
		}
	}
	var ticks []point
	topology.Process(in, func() topology.Processor[string, int64, string, int64] { return &ticking{s, &ticks} }, topology.Named("ticking"))
	if err := s.open(b); err != nil {
		return nil, err
	}
	var complete, closed float64
	events := []point{ // clock and event time
		{8, 4}, {14, 11}, {22, 20}, {41, 38}, {47, 35}, {75, 73}, {83, 62}, {101, 99}, {118, 116}, {132, 128}, {139, 112},
		{161, 153}, {175, 118}, {184, 176}, {192, 95}, {200, 197}, {216, 213}, {226, 107}, {240, 234}, {254, 249}, {268, 262}, {284, 268},
	}
	for _, e := range events {
		s.wait(e.x)
		s.send(0, "k", e.y)
		if w, ok := s.watermark(0, 0); ok {
			if w >= 120 && complete == 0 {
				complete = e.x
			}
			if w >= 180 && closed == 0 {
				closed = e.x
			}
		}
	}
	s.wait(end)
	lanes := []string{"events of a key"}
	for _, e := range emissions {
		lanes = append(lanes, e.name)
	}
	lanes = append(lanes, suppressed, "punctuator,\nByEventTime(1m)")
	p := newPanel("", "processing time", "")
	p.lanes(lanes...)
	scale(&p.X, 0, end, 60)
	rows := float64(len(lanes))
	other := mark{shape: dot, fill: line, edge: white, radius: 3.4}
	taken := mark{shape: dot, edge: vermillion, fill: white, radius: 8, ink: vermillion}
	p.paint(func(p *pen) {
		p.rect(point{0, 0}, point{complete, rows}, 0xf1f8fd, stroke{})
		p.rect(point{complete, 0}, point{closed, rows}, 0xfdf7e8, stroke{})
		for i := range lanes {
			p.lines(stroke{line, 0.8, false}, point{0, float64(i)}, point{end, float64(i)})
		}
		for _, x := range []float64{complete, closed} {
			p.lines(stroke{black, 1.2, true}, point{x, 0}, point{x, rows})
		}
		for _, e := range events {
			m := other
			switch {
			case e.y >= 120:
			case e.x < complete:
				m = onTimeEvent()
			case e.x < closed:
				m = lateEvent()
			default:
				m = droppedEvent()
			}
			p.put(m, e.x, rows-0.5)
		}
		for i, name := range lanes[1 : len(lanes)-1] {
			for _, r := range s.results[name] {
				if r.from != 0 {
					continue // of another window
				}
				m, label, y := resultMark(r.pane), fmt.Sprint(len(r.events)), rows-1.5-float64(i)
				switch {
				case r.pane.Retracted: // below what follows it at once
					m, label, y = taken, "−"+label, y-0.23
				case name == "retracting":
					y += 0.23
				}
				p.put(m.with(label), r.clock, y)
			}
		}
		for _, t := range ticks {
			p.put(mark{shape: diamond, fill: purple, edge: purple, radius: 3.6}, t.x, 0.5)
			p.write(lettering(8.5, black, false, text.XLeft, text.YCenter), t.x, 0.5, 7, 0, "tick of "+clockText(t.y))
		}
		note := lettering(9, grey, false, text.XCenter, text.YTop)
		p.write(note, complete/2, rows, 0, -4, "early")
		p.write(note, (complete+closed)/2, rows, 0, -4, "late")
		p.write(note, (closed+end)/2, rows, 0, -4, "closed")
	})
	return &picture{
		title: "What is sent of one window, and when, by trigger and mode",
		width: 640, height: 430,
		key: []entry{
			{mark: onTimeEvent(), text: "event of the window 12:00–12:02"}, {mark: lateEvent(), text: "late event"}, {mark: droppedEvent(), text: "dropped"}, {mark: other, text: "event of another window"},
			{mark: earlyResult().with("3"), text: "early result, of 3 events"}, {mark: onTimeResult().with("3"), text: "on time"}, {mark: lateResult().with("3"), text: "late update"},
			{mark: finalResult().with("3"), text: "final"}, {mark: taken.with("−3"), text: "retracted"},
			{line: stroke{black, 1.2, true}, text: "the watermark passes 12:02, and 12:03"},
		},
		panels: [][]*panel{{p}},
	}, s.close()
}
