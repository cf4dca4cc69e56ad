package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
)

// measured are the pictures of what benchmarks have kept in a folder, in the order of
// the page: those for which it has a file.
func measured(data string) []figure {
	var found []figure
	for _, f := range []struct {
		name string
		draw func(path string) (*picture, error)
	}{
		{"latency", fromFile(latencyPicture)}, {"growth", fromFile(growthPicture)}, {"memory", fromFile(memoryPicture)},
	} {
		path := filepath.Join(data, f.name+".json")
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		found = append(found, figure{f.name, func() (*picture, error) { return f.draw(path) }})
	}
	return found
}

// fromFile has a picture drawn of what a file holds in JSON.
func fromFile[T any](draw func(T) (*picture, error)) func(path string) (*picture, error) {
	return func(path string) (*picture, error) {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var data T
		if err := json.Unmarshal(text, &data); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return draw(data)
	}
}

// upTo has an axis go from 0 to the first of its numbers that is not less than most.
func upTo(a *plot.Axis, most float64) {
	const numbers = 5 // or a few more
	unit := math.Pow(10, math.Floor(math.Log10(most/numbers)))
	step := unit
	for _, s := range []float64{2, 5, 10} {
		if most > (numbers+1)*step {
			step = s * unit
		}
	}
	steps := math.Ceil(most/step - 1e-9)
	var ticks []plot.Tick
	for i := 0.; i <= steps; i++ {
		ticks = append(ticks, plot.Tick{Value: i * step, Label: fmt.Sprintf("%.6g", i*step)})
	}
	a.Min, a.Max, a.Tick.Marker = 0, steps*step, plot.ConstantTicks(ticks)
}

// grid draws a line across the panel at each number of the y axis.
func (p *panel) grid() {
	p.paint(func(pen *pen) {
		for _, t := range p.Y.Tick.Marker.Ticks(p.Y.Min, p.Y.Max) {
			pen.lines(stroke{line, 0.6, false}, point{p.X.Min, t.Value}, point{p.X.Max, t.Value})
		}
	})
}

// places has the x axis show numbers that grow by factors, one tick each, at equal
// distances.
func (p *panel) places(labels []string) {
	ticks := make([]plot.Tick, len(labels))
	for i, l := range labels {
		ticks[i] = plot.Tick{Value: float64(i), Label: l}
	}
	p.X.Min, p.X.Max = -0.3, float64(len(labels))-0.7
	p.X.Tick.Marker = plot.ConstantTicks(ticks)
	p.X.Padding = vg.Points(2)
}
