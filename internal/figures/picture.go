package main

import (
	"bytes"
	"fmt"
	"html"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// picture is a drawing: a key, and panels below it.
type picture struct {
	// title is what the picture shows, for who cannot see it.
	title string
	// width and height are in points.
	width, height float64
	key           []entry
	// panels are rows of them; heights are the rows' shares, equal if there are
	// none.
	panels  [][]*panel
	heights []float64
}

// entry explains a mark or a line.
type entry struct {
	mark mark
	line stroke // instead of the mark, if it has a width
	text string
}

// panel is a plot with axes of its own.
type panel struct{ *plot.Plot }

// newPanel returns an empty panel.
func newPanel(title, x, y string) *panel {
	p := &panel{plot.New()}
	p.BackgroundColor = white
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.Padding = vg.Points(5)
	p.Title.TextStyle = lettering(10.5, black, true, text.XCenter, text.YTop)
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		label := lettering(9.5, grey, false, text.XCenter, text.YBottom)
		label.Rotation = a.Label.TextStyle.Rotation
		a.Label.TextStyle, a.Label.Padding = label, vg.Points(3)
		tick := lettering(9, black, false, text.XCenter, text.YTop)
		if a == &p.Y {
			tick.XAlign, tick.YAlign = text.XRight, text.YCenter
		}
		a.Tick.Label = tick
		a.Tick.Length = vg.Points(3)
		a.LineStyle.Color, a.LineStyle.Width = grey, vg.Points(0.7)
		a.Tick.LineStyle.Color, a.Tick.LineStyle.Width = grey, vg.Points(0.7)
		a.Padding = 0
	}
	return p
}

// scale sets the ends of an axis of seconds and labels it with the clock's time.
func scale(a *plot.Axis, from, to, each float64) {
	a.Min, a.Max = from, to
	var ticks []plot.Tick
	for t := from; t <= to; t += each {
		ticks = append(ticks, plot.Tick{Value: t, Label: clockText(t)})
	}
	a.Tick.Marker = plot.ConstantTicks(ticks)
}

// lanes makes rows of the y axis, the first at the top, each one high.
func (p *panel) lanes(names ...string) {
	p.Y.Min, p.Y.Max = 0, float64(len(names))
	var ticks []plot.Tick
	for i, name := range names {
		ticks = append(ticks, plot.Tick{Value: float64(len(names)-i) - 0.5, Label: name})
	}
	p.Y.Tick.Marker = plot.ConstantTicks(ticks)
	p.Y.Tick.Length = 0
	p.Y.LineStyle.Width = 0
}

// paint adds something to be drawn.
func (p *panel) paint(f func(p *pen)) { p.Add(painter(f)) }

const (
	keyRow   = 17. // points
	keyLeft  = 10.
	keyGap   = 16.
	panelGap = 14.
)

// svg draws the picture.
func (p *picture) svg() ([]byte, error) {
	canvas := vgsvg.New(vg.Points(p.width), vg.Points(p.height))
	c := draw.New(canvas)
	c.FillPolygon(white, []vg.Point{{}, {X: c.Max.X}, c.Max, {Y: c.Max.Y}})
	used := p.drawKey(&c)
	area := draw.Crop(c, vg.Points(8), -vg.Points(12), vg.Points(8), -vg.Points(used+6))
	heights := p.heights
	if len(heights) == 0 {
		for range p.panels {
			heights = append(heights, 1)
		}
	}
	total, free := 0., float64(area.Max.Y-area.Min.Y)-panelGap*float64(len(p.panels)-1)
	for _, h := range heights {
		total += h
	}
	top := area.Max.Y
	for i, row := range p.panels {
		bottom := top - vg.Length(free*heights[i]/total)
		part := draw.Canvas{Canvas: c.Canvas, Rectangle: vg.Rectangle{Min: vg.Point{X: area.Min.X, Y: bottom}, Max: vg.Point{X: area.Max.X, Y: top}}}
		plots := make([]*plot.Plot, len(row))
		for j := range row {
			plots[j] = row[j].Plot
		}
		tiles := draw.Tiles{Rows: 1, Cols: len(row), PadX: vg.Points(panelGap)}
		for j, at := range plot.Align([][]*plot.Plot{plots}, tiles, part)[0] {
			plots[j].Draw(at)
		}
		top = bottom - vg.Length(panelGap)
	}
	var out bytes.Buffer
	if _, err := canvas.WriteTo(&out); err != nil {
		return nil, err
	}
	return p.finish(out.String()), nil
}

// finish makes the drawing look the same where the font is missing, by fonts of the
// same widths, and says what it shows.
func (p *picture) finish(svg string) []byte {
	svg = strings.ReplaceAll(svg, "font-family:Liberation Sans", "font-family:'Liberation Sans',Arial,Helvetica,sans-serif")
	head, body, _ := strings.Cut(svg, "<svg ")
	tag, rest, _ := strings.Cut(body, ">")
	return []byte(head + "<svg role=\"img\" " + tag + fmt.Sprintf(">\n<title>%s</title>", html.EscapeString(p.title)) + rest)
}

// drawKey draws the key in rows at the top and returns how high they are.
func (p *picture) drawKey(c *draw.Canvas) float64 {
	if len(p.key) == 0 {
		return 0
	}
	sty := lettering(9.5, black, false, text.XLeft, text.YCenter)
	x, row := keyLeft, 0.
	for _, e := range p.key {
		half := e.mark.radius
		if e.mark.shape == diamond {
			half *= diamondWidth
		}
		sign := 2*half + 5
		if e.line.width > 0 {
			sign = 27
		}
		wide := sign + sty.Width(e.text).Points()
		if x+wide > p.width-keyLeft && x > keyLeft {
			x, row = keyLeft, row+1
		}
		y := c.Max.Y - vg.Points(12+keyRow*row)
		if e.line.width > 0 {
			c.StrokeLine2(e.line.style(), vg.Points(x), y, vg.Points(x+22), y)
		} else {
			e.mark.draw(c, vg.Point{X: vg.Points(x + half), Y: y})
		}
		c.FillText(sty, vg.Point{X: vg.Points(x + sign), Y: y}, e.text)
		x += wide + keyGap
	}
	return keyRow*(row+1) + 6
}
