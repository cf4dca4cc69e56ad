package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot/text"
)

// growth is what 'bench grow' keeps: a point for each number of keys, and then for
// each number of partitions.
type growth struct {
	Keys       []int64
	Partitions []int64
	Points     []growthPoint
}

type growthPoint struct {
	Millrace, Floor struct {
		PerCPUSecond float64 `json:"records_per_cpu_second"`
	}
}

// nanos returns what an event costs each of both, in nanoseconds of a processor.
func (g growthPoint) nanos() (millrace, floor float64) {
	return 1e9 / g.Millrace.PerCPUSecond, 1e9 / g.Floor.PerCPUSecond
}

// How growth is drawn.
var (
	grownMark, grownLine = mark{shape: dot, fill: blue, edge: white, radius: 3.4}, stroke{blue, 1.6, false}
	floorMark, floorLine = mark{shape: box, fill: grey, edge: white, radius: 3}, stroke{grey, 1.2, true}
)

// growthPicture shows what an event costs as keys and partitions grow.
func growthPicture(g growth) (*picture, error) {
	if len(g.Points) != len(g.Keys)+len(g.Partitions) {
		return nil, fmt.Errorf("%d points, want one for each of %d numbers of keys and %d of partitions", len(g.Points), len(g.Keys), len(g.Partitions))
	}
	most := 0.
	for i, p := range g.Points {
		if p.Millrace.PerCPUSecond <= 0 || p.Floor.PerCPUSecond <= 0 {
			return nil, fmt.Errorf("point %d has no rate", i)
		}
		millrace, floor := p.nanos()
		most = max(most, millrace, floor)
	}
	left := growthPanel("by keys, of 4 partitions", "keys", g.Keys, g.Points[:len(g.Keys)], most)
	right := growthPanel("by partitions, of 1,000 keys", "partitions", g.Partitions, g.Points[len(g.Keys):], most)
	right.Y.Label.Text = ""
	return &picture{
		title: "What an event costs over the number of keys and over that of partitions: Millrace, and the raw floor beside it",
		width: 640, height: 300,
		key: []entry{
			{mark: grownMark, text: "Millrace"},
			{mark: floorMark, text: "raw floor: fetch, decode, aggregate in memory"},
		},
		panels: [][]*panel{{left, right}},
	}, nil
}

func growthPanel(title, x string, numbers []int64, points []growthPoint, most float64) *panel {
	p := newPanel(title, x, "processor time of an event, ns")
	labels := make([]string, len(numbers))
	for i, n := range numbers {
		labels[i] = power(n)
	}
	p.places(labels)
	upTo(&p.Y, 1.1*most)
	p.grid()
	p.paint(func(pen *pen) {
		var millrace, floor []point
		for i, g := range points {
			m, f := g.nanos()
			millrace, floor = append(millrace, point{float64(i), m}), append(floor, point{float64(i), f})
		}
		pen.lines(floorLine, floor...)
		pen.lines(grownLine, millrace...)
		for i := range millrace {
			pen.put(floorMark, floor[i].x, floor[i].y)
			pen.put(grownMark, millrace[i].x, millrace[i].y)
			pen.write(lettering(8.5, black, false, text.XRight, text.YBottom), millrace[i].x, millrace[i].y, 5, 4, fmt.Sprintf("%.0f", millrace[i].y))
		}
	})
	return p
}

// power shows a power of ten from a thousand on as one, and any other number in
// digits.
func power(n int64) string {
	exponent := math.Round(math.Log10(float64(n)))
	if n < 1000 || math.Pow(10, exponent) != float64(n) {
		return strconv.FormatInt(n, 10)
	}
	raised := strings.NewReplacer("0", "⁰", "1", "¹", "2", "²", "3", "³", "4", "⁴", "5", "⁵", "6", "⁶", "7", "⁷", "8", "⁸", "9", "⁹")
	return "10" + raised.Replace(strconv.Itoa(int(exponent)))
}
