package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot/text"
)

// latencies are what 'bench latency' keeps: runs of contenders, with a sample each.
type latencies struct {
	Guarantees []string
	CommitMS   int64
	Runs       []struct {
		Contender, Guarantee string
		Latency              sample
	}
}

// sample is how many events took how long, in milliseconds.
type sample map[float64]int64

// UnmarshalText reads words such as "7.25:12": twelve of 7.25 ms.
func (s *sample) UnmarshalText(words []byte) error {
	*s = sample{}
	for word := range strings.FieldsSeq(string(words)) {
		value, count, _ := strings.Cut(word, ":")
		ms, err := strconv.ParseFloat(value, 64)
		n, err2 := strconv.ParseInt(count, 10, 64)
		if err := errors.Join(err, err2); err != nil {
			return fmt.Errorf("%q in a sample: %w", word, err)
		}
		(*s)[ms] += n
	}
	return nil
}

// len returns how many there are.
func (s sample) len() int64 {
	n := int64(0)
	for _, count := range s {
		n += count
	}
	return n
}

// at returns the value that a share of all do not exceed.
func (s sample) at(share float64) float64 {
	var values []float64
	for v := range s {
		values = append(values, v)
	}
	slices.Sort(values)
	rank := int64(math.Ceil(share * float64(s.len())))
	for _, v := range values {
		if rank -= s[v]; rank <= 0 {
			return v
		}
	}
	return 0
}

// bars returns the outline of a histogram with bars of a width: percent of all
// events, up to the end of the axis.
func (s sample) bars(width, end float64) []point {
	bars := make([]float64, int(math.Ceil(end/width)))
	each := 100 / float64(s.len())
	for v, n := range s {
		if i := int(v / width); i < len(bars) {
			bars[i] += each * float64(n)
		}
	}
	outline := []point{{0, 0}}
	for i, h := range bars {
		outline = append(outline, point{float64(i) * width, h}, point{float64(i+1) * width, h})
	}
	return append(outline, point{float64(len(bars)) * width, 0})
}

// of returns all events of a contender under a guarantee.
func (l latencies) of(guarantee, contender string) sample {
	all := sample{}
	for _, r := range l.Runs {
		if r.Guarantee == guarantee && r.Contender == contender {
			for v, n := range r.Latency {
				all[v] += n
			}
		}
	}
	return all
}

// rivals are the contenders, and how each one is drawn; the last one is on top.
var rivals = [2]struct {
	name, title string
	fill        ink
	line        stroke
}{
	{"kafka-streams", "Kafka Streams", paleOrange, stroke{orange, 1.4, false}},
	{"millrace", "Millrace", paleSky, stroke{blue, 1.4, false}},
}

// latencyPicture shows how long it took until a result included an event.
func latencyPicture(l latencies) (*picture, error) {
	end := 0.
	for _, g := range l.Guarantees {
		for _, r := range rivals {
			s := l.of(g, r.name)
			if s.len() == 0 {
				return nil, fmt.Errorf("nothing of %s, %s", r.name, g)
			}
			end = max(end, 1.25*s.at(0.99)) // room for what is written
		}
	}
	out := &picture{
		title: "How long events take from their arrival at the broker to a result that includes them: Millrace and Kafka Streams, by guarantee",
		width: 620, height: 30 + 190*float64(len(l.Guarantees)),
	}
	for _, r := range rivals {
		out.key = append(out.key, entry{mark: mark{shape: box, fill: r.fill, edge: r.line.ink, radius: 4}, text: r.title})
	}
	out.key = append(out.key, entry{line: stroke{grey, 1.2, true}, text: "p99 of each"})
	for _, g := range l.Guarantees {
		title := fmt.Sprintf("%s, a commit every %d ms", strings.ReplaceAll(g, "-", " "), l.CommitMS)
		out.panels = append(out.panels, []*panel{l.panel(g, title, end)})
	}
	last := out.panels[len(out.panels)-1][0]
	last.X.Label.Text = "from the arrival of an event to a readable result, ms"
	return out, nil
}

// panel shows both contenders under a guarantee.
func (l latencies) panel(guarantee, title string, end float64) *panel {
	p := newPanel(title, "", "% of all events")
	upTo(&p.X, end)
	width := math.Ceil(p.X.Max / 60) // samples are in whole milliseconds
	most := 0.
	for _, r := range rivals {
		for _, q := range l.of(guarantee, r.name).bars(width, p.X.Max) {
			most = max(most, q.y)
		}
	}
	upTo(&p.Y, 1.25*most)
	p.grid()
	p.paint(func(pen *pen) {
		for _, r := range rivals {
			pen.area(l.of(guarantee, r.name).bars(width, p.X.Max), r.fill)
		}
		for _, r := range rivals {
			pen.lines(r.line, l.of(guarantee, r.name).bars(width, p.X.Max)...)
		}
		pen.p99s(p, l, guarantee)
	})
	return p
}

// p99s marks the p99 of each contender: what is written of the lesser one lies to the
// left of it, where there is room, and of the greater to the right.
func (pen *pen) p99s(p *panel, l latencies, guarantee string) {
	var at [2]float64
	for i, r := range rivals {
		at[i] = l.of(guarantee, r.name).at(0.99)
	}
	for i, r := range rivals {
		align, right := text.XLeft, 4.
		if at[i] < at[1-i] && at[i] > 0.17*p.X.Max {
			align, right = text.XRight, -4
		}
		pen.lines(stroke{r.line.ink, 1.2, true}, point{at[i], 0}, point{at[i], p.Y.Max})
		pen.write(lettering(8.5, black, false, align, text.YTop), at[i], p.Y.Max, right, -3-12*float64(i), fmt.Sprintf("%s %.0f ms", r.title, at[i]))
	}
}
