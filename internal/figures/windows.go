package main

import (
	"fmt"
	"slices"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// kindOf is a row of the picture of windows.
type kindOf struct {
	name       string
	windows    window.Windows
	fill, edge ink
	rows       int  // of bars, one above the other
	filled     bool // bars end with their last event, and not with the window
}

// windowsPicture shows which events belong to which windows of each kind: each bar
// is a final result, with the number of events in it.
func windowsPicture() (*picture, error) {
	kinds := []kindOf{
		{"Tumbling(2m)", window.Tumbling(2 * time.Minute), paleSky, blue, 1, false},
		{"panes of 1m", window.Tumbling(time.Minute), band, grey, 1, false},
		{"Hopping(3m)\n.Every(1m)", window.Hopping(3 * time.Minute).Every(time.Minute), paleSky, blue, 3, false},
		{"Sliding(1m)", window.Sliding(time.Minute), paleOrange, orange, 4, false},
		{"Session(90s)", window.Session(90 * time.Second), paleGreen, green, 1, false},
		{"Session(90s)\n.AtMost(2m)", window.Session(90 * time.Second).AtMost(2 * time.Minute), paleGreen, green, 1, false},
		{"Count(4)", window.Count(4), palePurple, purple, 1, true},
	}
	events := []float64{20, 50, 95, 150, 165, 230, 250, 285, 395, 445, 560, 580}
	s := newStage()
	b := topology.New("windows")
	g := source(b, window.BoundedDelay(0)).GroupByKey(codec.String, codec.Int64)
	for i, k := range kinds {
		name := fmt.Sprintf("kind-%d", i)
		s.watch(name, topology.Aggregate(g.WindowedBy(k.windows), codec.JSON[times](), gather(),
			topology.Store(name), topology.Named(name), topology.Emit(window.OnClose())).Stream())
	}
	if err := s.open(b, streamtest.Start(at(3600))); err != nil {
		return nil, err
	}
	for _, t := range events {
		s.send(0, "k", t)
	}
	s.d.End()
	p := newPanel("", "event time", "")
	scale(&p.X, -120, 720, 60)
	total := 1.
	for _, k := range kinds {
		total += rowHeight(k.rows)
	}
	p.Y.Min, p.Y.Max = 0, total
	p.Y.LineStyle.Width, p.Y.Tick.Length = 0, 0
	ticks := []plot.Tick{{Value: total - 0.5, Label: "events of a key"}}
	top := total - 1
	for _, k := range kinds {
		ticks = append(ticks, plot.Tick{Value: top - rowHeight(k.rows)/2, Label: k.name})
		top -= rowHeight(k.rows)
	}
	p.Y.Tick.Marker = plot.ConstantTicks(ticks)
	p.paint(func(p *pen) {
		for t := -120.; t <= 720; t += 60 {
			p.lines(stroke{line, 0.6, false}, point{t, 0}, point{t, total})
		}
		for _, t := range events {
			p.lines(stroke{sky, 0.7, true}, point{t, 0}, point{t, total - 0.5})
			p.put(onTimeEvent(), t, total-0.5)
		}
		top := total - 1
		for i, k := range kinds {
			p.lines(stroke{line, 0.6, false}, point{-120, top}, point{720, top})
			bars(p, k, s.results[fmt.Sprintf("kind-%d", i)], top)
			top -= rowHeight(k.rows)
		}
	})
	days, err := calendarPanel()
	if err != nil {
		return nil, err
	}
	return &picture{
		title: "Which events of a key belong to which windows of each kind; a day of a calendar in which clocks change",
		width: 640, height: 560,
		panels: [][]*panel{{p}, {days}}, heights: []float64{total + 1.3, 4.4},
	}, s.close()
}

// rowHeight is that of a row with so many bars one above the other.
func rowHeight(rows int) float64 {
	if rows == 1 {
		return 1
	}
	return 0.25 + 0.62*float64(rows)
}

// bars draws results as bars, in the first row that is free.
func bars(p *pen, k kindOf, results []shown, top float64) {
	free := make([]float64, k.rows)
	for i := range free {
		free[i] = -1e9
	}
	height := rowHeight(k.rows) / float64(k.rows)
	results = slices.Clone(results)
	slices.SortStableFunc(results, func(a, b shown) int { return int(a.from - b.from) })
	for _, r := range results {
		if k.filled { // the number of a count window is no time
			r.from, r.to = slices.Min(r.events), slices.Max(r.events)
		}
		row := max(slices.IndexFunc(free, func(end float64) bool { return end <= r.from }), 0)
		free[row] = r.to
		y := top - height*float64(row)
		// Sessions and count windows end with an event: a little more shows it.
		from, to := r.from+1, r.to-1
		if r.to-r.from < 30 || k.filled || k.windows.Kind() == window.SessionKind {
			from, to = r.from-5, r.to+5
		}
		p.rect(point{from, y - 0.12*height}, point{to, y - 0.88*height}, k.fill, stroke{k.edge, 0.9, false})
		p.write(lettering(8.5, black, true, text.XCenter, text.YCenter), (from+to)/2, y-0.5*height, 0, 0, fmt.Sprint(len(r.events)))
	}
}

// calendarPanel shows days of a zone and of 24 hours around a change of the clocks.
func calendarPanel() (*panel, error) {
	const hour = 3600.
	names := []string{"Calendar(Day,\nEurope/Berlin)", "Tumbling(24h)"}
	s := newStage()
	b := topology.New("calendar")
	g := source(b, window.BoundedDelay(0)).GroupByKey(codec.String, codec.Int64)
	for i, w := range []window.Windows{window.Calendar(window.Day, "Europe/Berlin"), window.Tumbling(24 * time.Hour)} {
		name := fmt.Sprintf("days-%d", i)
		s.watch(name, topology.Aggregate(g.WindowedBy(w), codec.JSON[times](), gather(),
			topology.Store(name), topology.Named(name), topology.Emit(window.OnClose())).Stream())
	}
	begin := since(time.Date(2026, time.March, 28, 0, 0, 0, 0, time.UTC).UnixMilli())
	if err := s.open(b, streamtest.Start(at(begin+96*hour))); err != nil {
		return nil, err
	}
	for t := begin - hour; t < begin+72*hour; t += hour {
		s.send(0, "k", t)
	}
	s.d.End()
	p := newPanel("", "hours of UTC; one event an hour; clocks in Berlin go forward at 1:00 on 29 March", "")
	p.lanes(names...)
	p.X.Min, p.X.Max = begin-2*hour, begin+72*hour
	var ticks []plot.Tick
	for t := begin; t <= begin+72*hour; t += 12 * hour {
		label := "0:00"
		if int((t-begin)/(12*hour))%2 == 1 {
			label = "12:00"
		} else if day := at(t); t < begin+72*hour {
			label = day.Format("2 Jan") + ", 0:00"
		}
		ticks = append(ticks, plot.Tick{Value: t, Label: label})
	}
	p.X.Tick.Marker = plot.ConstantTicks(ticks)
	p.paint(func(p *pen) {
		for t := begin; t <= begin+72*hour; t += 12 * hour {
			p.lines(stroke{line, 0.6, false}, point{t, 0}, point{t, 2})
		}
		for i := range names {
			for _, r := range s.results[fmt.Sprintf("days-%d", i)] {
				fill, edge := paleSky, blue
				if i == 0 {
					fill, edge = palePurple, purple
				}
				if r.from < begin-2*hour || r.to > begin+72*hour {
					continue // it has events outside of the picture
				}
				y := 1.88 - float64(i)
				p.rect(point{r.from + 600, y}, point{r.to - 600, y - 0.76}, fill, stroke{edge, 0.9, false})
				p.write(lettering(8.5, black, true, text.XCenter, text.YCenter), (r.from+r.to)/2, y-0.38, 0, 0,
					fmt.Sprintf("%v hours, %d events", (r.to-r.from)/hour, len(r.events)))
			}
		}
	})
	return p, s.close()
}
