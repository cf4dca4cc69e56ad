package main

import (
	"time"

	"gonum.org/v1/plot/text"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// partitionMark returns the mark of an event of a partition.
func partitionMark(partition int) mark {
	if partition == 0 {
		return mark{shape: dot, fill: blue, edge: white, radius: 3.2}
	}
	return mark{shape: box, fill: orange, edge: white, radius: 3}
}

// idlePicture shows a partition that falls silent, a clock that goes on for all,
// and partitions that are kept together.
func idlePicture() (*picture, error) {
	silent, err := silentPanel()
	if err != nil {
		return nil, err
	}
	clock, err := clockPanel()
	if err != nil {
		return nil, err
	}
	free, err := alignedPanel("without: as fast as they come", window.BoundedDelay(0).IdleAfter(time.Minute))
	if err != nil {
		return nil, err
	}
	aligned, err := alignedPanel("AlignWithin(30m)", window.BoundedDelay(0).IdleAfter(time.Minute).AlignWithin(30*time.Minute))
	if err != nil {
		return nil, err
	}
	clock.Y.Label.Text, aligned.Y.Label.Text = "", ""
	return &picture{
		title: "A silent partition holds the watermark until it is idle; the clock moves the watermark when all are; aligned partitions stay together",
		width: 640, height: 600,
		key: []entry{
			{mark: partitionMark(0), text: "event of one partition"}, {mark: partitionMark(1), text: "of another"}, {mark: lateEvent(), text: "late, of that"},
			{line: stroke{black, 1.8, false}, text: "the task's watermark"}, {line: stroke{purple, 1.8, false}, text: "with AdvanceWhenIdle(1m)"},
		},
		panels: [][]*panel{{silent, clock}, {free, aligned}},
	}, nil
}

// silentPanel shows two partitions of which one falls silent for a while.
func silentPanel() (*panel, error) {
	const end = 420.
	s := newStage()
	b := topology.New("idle")
	source(b, window.BoundedDelay(15*time.Second).IdleAfter(time.Minute), "in-2").GroupByKey(codec.String, codec.Int64).
		WindowedBy(window.Tumbling(time.Minute).AllowedLateness(5 * time.Minute)).Count(topology.Store("minutes"))
	if err := s.open(b); err != nil {
		return nil, err
	}
	second := streamtest.Input(s.d, "in-2", codec.String, codec.Int64)
	var events [2][]arrived
	var watermark []point
	send := func(p int, clock, happened float64) {
		w, known := s.watermark(0, 0)
		if p == 0 {
			s.send(0, "k", happened)
		} else {
			second.SendTo(0, "k", at(happened).UnixMilli(), at(happened))
		}
		events[p] = append(events[p], arrived{clock: clock, happened: happened, late: known && happened < w})
	}
	for clock := 5.; clock <= end; clock += 5 {
		s.wait(clock)
		s.d.Batch(func() {
			if int(clock)%15 == 5 {
				send(0, clock, clock-4)
			}
			if int(clock)%15 == 10 && (clock < 115 || clock > 295) {
				send(1, clock, clock-6)
			}
			if clock == 290 {
				send(1, clock, 180) // it was on its way for a while
			}
		})
		if w, ok := s.watermark(0, 0); ok {
			watermark = append(watermark, point{clock, w})
		}
	}
	p := newPanel("IdleAfter(1m)", "processing time", "event time")
	scale(&p.X, 0, end, 60)
	scale(&p.Y, 0, end, 60)
	last := events[1][0].clock
	for _, e := range events[1] {
		if e.clock < 120 {
			last = e.clock
		}
	}
	p.paint(func(p *pen) {
		p.rect(point{last, 0}, point{last + 60, end}, 0xfdf7e8, stroke{})
		p.rect(point{last + 60, 0}, point{290, end}, band, stroke{})
		note := lettering(8.5, grey, false, text.XLeft, text.YTop)
		p.write(note, last, end, 4, -5, "silent:")
		p.write(note, last, end, 4, -16, "it holds")
		p.write(note, last+60, end, 4, -5, "idle: left out")
		p.steps(stroke{black, 1.8, false}, watermark)
		for i, list := range events {
			for _, e := range list {
				m := partitionMark(i)
				if e.late {
					m = lateEvent()
				}
				p.put(m, e.clock, e.happened)
			}
		}
	})
	return p, s.close()
}

// clockPanel shows one partition that falls silent for good, with and without a
// watermark that then goes by the clock.
func clockPanel() (*panel, error) {
	const end = 420.
	strategy := window.BoundedDelay(15 * time.Second).IdleAfter(time.Minute)
	var events []point
	var watermarks [2][]point
	for i, w := range []window.Strategy{strategy, strategy.AdvanceWhenIdle(time.Minute)} {
		s := newStage()
		b := topology.New("clock")
		source(b, w).GroupByKey(codec.String, codec.Int64).WindowedBy(window.Tumbling(time.Minute)).Count(topology.Store("minutes"))
		if err := s.open(b); err != nil {
			return nil, err
		}
		for clock := 5.; clock <= end; clock += 5 {
			s.wait(clock)
			if int(clock)%15 == 5 && clock < 160 {
				s.send(0, "k", clock-4)
				if i == 0 {
					events = append(events, point{clock, clock - 4})
				}
			}
			if w, ok := s.watermark(0, 0); ok {
				watermarks[i] = append(watermarks[i], point{clock, w})
			}
		}
		if err := s.close(); err != nil {
			return nil, err
		}
	}
	p := newPanel("everything falls silent", "processing time", "event time")
	scale(&p.X, 0, end, 60)
	scale(&p.Y, 0, end, 60)
	p.paint(func(p *pen) {
		silence := events[len(events)-1].x
		p.rect(point{silence + 60, 0}, point{end, end}, band, stroke{})
		p.write(lettering(8.5, grey, false, text.XLeft, text.YTop), silence+60, end, 4, -5, "all is idle")
		p.steps(stroke{purple, 1.8, false}, watermarks[1])
		p.steps(stroke{black, 1.8, false}, watermarks[0])
		for _, e := range events {
			p.put(partitionMark(0), e.x, e.y)
		}
	})
	return p, nil
}

// alignedPanel shows the order in which two partitions are read of which one is
// two hours ahead.
func alignedPanel(title string, strategy window.Strategy) (*panel, error) {
	const count, each, ahead = 60, 180., 7200.
	s := newStage()
	type read struct {
		partition int
		happened  float64
	}
	var order []read
	b := topology.New("aligned")
	source(b, strategy).Peek(func(r topology.Record[string, int64]) {
		order = append(order, read{int(r.Key[0] - 'a'), since(r.Time)})
	}).GroupByKey(codec.String, codec.Int64).WindowedBy(window.Tumbling(time.Minute)).Count(topology.Store("minutes"))
	if err := s.open(b, streamtest.Partitions(2), streamtest.Start(at(12*3600))); err != nil {
		return nil, err
	}
	s.d.Batch(func() {
		for i := range count {
			s.send(0, "a", float64(i)*each)
			s.send(1, "b", float64(i)*each+ahead)
		}
	})
	s.wait(12*3600 + 120) // partition 0 is at its end, and then idle
	p := newPanel(title, "records read", "event time")
	p.X.Min, p.X.Max = 0, float64(len(order))
	scale(&p.Y, 0, 19800, 3600)
	p.paint(func(p *pen) {
		for t := 3600.; t <= 18000; t += 3600 {
			p.lines(stroke{line, 0.6, false}, point{0, t}, point{float64(len(order)), t})
		}
		for i, e := range order {
			m := partitionMark(e.partition)
			m.edge, m.radius = none, 2
			p.put(m, float64(i), e.happened)
		}
	})
	return p, s.close()
}
