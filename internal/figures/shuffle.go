package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"gonum.org/v1/plot/text"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// behind is how a task behind a repartition saw its records.
type behind struct {
	events    []arrived
	upstream  []int // the partition of each
	watermark []point
	dropped   int
}

// shuffled runs two upstream partitions, the one half an hour ahead of the other,
// through a repartition, and returns what the task behind it saw.
func shuffled() (*behind, error) {
	const steps, each, apart = 90, 20., 1800.
	s := newStage()
	b := topology.New("shuffle")
	topology.GroupBy(source(b, window.BoundedDelay(time.Minute)), codec.String, codec.Int64,
		func(r topology.Record[string, int64]) string { return strings.Clone(r.Key) }, topology.Named("by-model"), topology.Partitions(1)).
		WindowedBy(window.Tumbling(time.Minute)).Count(topology.Store("minutes"))
	if err := s.open(b, streamtest.Partitions(2), streamtest.Start(at(3600))); err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(3, 1))
	out := &behind{}
	for i := range steps {
		var sent [2]float64
		before := s.dropped()
		s.d.Batch(func() {
			for p := range 2 {
				sent[p] = float64(i)*each + apart*float64(1-p) + 60 - 60*rng.Float64()
				s.send(int32(p), "model", sent[p])
			}
		})
		s.d.Advance(time.Second)
		for p, t := range sent {
			out.events = append(out.events, arrived{clock: float64(2*i + p), happened: t, dropped: s.dropped() > before})
			out.upstream = append(out.upstream, p)
		}
		if w, ok := s.watermark(1, 0); ok {
			out.watermark = append(out.watermark, point{float64(2*i + 1), w})
		}
	}
	out.dropped = s.dropped()
	return out, s.close()
}

// merged sends what the task has seen, in that order, through one partition whose
// watermark is the highest time less a minute: what is left if the order of the
// upstream partitions is all that is known of them.
func (seen *behind) merged() (*behind, error) {
	s := newStage()
	b := topology.New("highest")
	source(b, window.BoundedDelay(time.Minute)).GroupByKey(codec.String, codec.Int64).
		WindowedBy(window.Tumbling(time.Minute)).Count(topology.Store("minutes"))
	if err := s.open(b, streamtest.Start(at(3600))); err != nil {
		return nil, err
	}
	out := &behind{upstream: seen.upstream}
	for _, e := range seen.events {
		before := s.dropped()
		s.send(0, "model", e.happened)
		e.dropped = s.dropped() > before
		out.events = append(out.events, e)
		if w, ok := s.watermark(0, 0); ok {
			out.watermark = append(out.watermark, point{e.clock, w})
		}
	}
	out.dropped = s.dropped()
	return out, s.close()
}

// panel draws it.
func (seen *behind) panel(title, dropped string) *panel {
	p := newPanel(title, "records read by the task behind the repartition", "event time")
	p.X.Min, p.X.Max = 0, float64(len(seen.events))
	scale(&p.Y, 0, 3900, 600)
	p.paint(func(p *pen) {
		for t := 600.; t <= 3600; t += 600 {
			p.lines(stroke{line, 0.6, false}, point{0, t}, point{float64(len(seen.events)), t})
		}
		for i, e := range seen.events {
			m := mark{shape: dot, fill: blue, edge: none, radius: 2}
			if seen.upstream[i] == 1 {
				m = mark{shape: box, fill: orange, edge: none, radius: 1.8}
			}
			if e.dropped {
				m = mark{shape: cross, edge: vermillion, fill: none, radius: 2.2}
			}
			p.put(m, e.clock, e.happened)
		}
		p.steps(stroke{black, 1.8, false}, seen.watermark)
		p.write(lettering(10, black, true, text.XRight, text.YBottom), float64(len(seen.events)), 0, -6, 6, dropped)
	})
	return p
}

// shufflePicture shows a repartition behind two partitions half an hour apart, with
// watermark markers and without.
func shufflePicture() (*picture, error) {
	seen, err := shuffled()
	if err != nil {
		return nil, err
	}
	highest, err := seen.merged()
	if err != nil {
		return nil, err
	}
	count := func(b *behind) string { return fmt.Sprintf("dropped: %d of %d", b.dropped, len(b.events)) }
	left := seen.panel("watermark markers of each upstream task", count(seen))
	right := highest.panel("the highest time seen, less a minute", count(highest))
	right.Y.Label.Text = ""
	return &picture{
		title: "Behind a repartition of two partitions half an hour apart: with watermark markers nothing is dropped, by the highest time all of the slower one",
		width: 640, height: 350,
		key: []entry{
			{mark: mark{shape: dot, fill: blue, edge: none, radius: 3}, text: "from the partition ahead"},
			{mark: mark{shape: box, fill: orange, edge: none, radius: 2.8}, text: "from the one half an hour behind"},
			{mark: mark{shape: cross, edge: vermillion, fill: none, radius: 3}, text: "dropped"},
			{line: stroke{black, 1.8, false}, text: "the task's watermark"},
		},
		panels: [][]*panel{{left, right}},
	}, nil
}
