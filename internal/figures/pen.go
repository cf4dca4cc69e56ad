package main

import (
	"image/color"
	"math"
	"unicode/utf8"

	"golang.org/x/image/font"
	"gonum.org/v1/plot"
	plotfont "gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// ink is an opaque colour, as in 0xRRGGBB.
type ink uint32

// RGBA returns the colour's parts.
func (i ink) RGBA() (r, g, b, a uint32) {
	return color.NRGBA{uint8(i >> 16), uint8(i >> 8), uint8(i), 0xff}.RGBA()
}

// The colours. Those of marks are Okabe and Ito's, which the colour-blind can tell
// apart ('Color Universal Design', 2008); no meaning hangs on a colour alone.
const (
	black      ink = 0x1f2328
	grey       ink = 0x6e7781
	line       ink = 0xd8dee4
	band       ink = 0xf3f5f7
	white      ink = 0xffffff
	blue       ink = 0x0072b2
	sky        ink = 0x56b4e9
	paleSky    ink = 0xd6ecfa
	green      ink = 0x009e73
	paleGreen  ink = 0xcdebe2
	orange     ink = 0xe69f00
	paleOrange ink = 0xfbecc8
	vermillion ink = 0xd55e00
	purple     ink = 0xcc79a7
	palePurple ink = 0xf5e3ed
	none       ink = 1 << 31
)

// lettering returns the style of text.
func lettering(points float64, c ink, bold bool, x text.XAlignment, y text.YAlignment) text.Style {
	f := plotfont.Font{Typeface: "Liberation", Variant: "Sans", Size: vg.Points(points)}
	if bold {
		f.Weight = font.WeightBold
	}
	return text.Style{Color: c, Font: f, XAlign: x, YAlign: y, Handler: plot.DefaultTextHandler}
}

// shape is that of a mark.
type shape int

const (
	dot shape = iota
	box
	diamond
	triangle
	cross
)

// diamondWidth is how much wider a diamond is than a circle of its radius.
const diamondWidth = 1.35

// mark is a sign, with a text in it or not.
type mark struct {
	shape      shape
	fill, edge ink
	radius     float64 // points
	text       string
	ink        ink // of the text
}

// with returns the mark with a text.
func (m mark) with(text string) mark {
	m.text = text
	return m
}

// stroke is the look of a line.
type stroke struct {
	ink    ink
	width  float64 // points
	dashed bool
}

func (s stroke) style() draw.LineStyle {
	l := draw.LineStyle{Color: s.ink, Width: vg.Points(s.width)}
	if s.dashed {
		l.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
	}
	return l
}

// point is one by the values of the axes.
type point struct{ x, y float64 }

// painter draws in a panel.
type painter func(p *pen)

// Plot calls f; it is what a plot wants of a plotter.
func (f painter) Plot(c draw.Canvas, plt *plot.Plot) {
	x, y := plt.Transforms(&c)
	f(&pen{c: c, toX: x, toY: y})
}

// pen draws by the values of the axes.
type pen struct {
	c        draw.Canvas
	toX, toY func(float64) vg.Length
}

func (p *pen) at(x, y float64) vg.Point { return vg.Point{X: p.toX(x), Y: p.toY(y)} }

// rect draws a rectangle between two corners.
func (p *pen) rect(a, b point, fill ink, edge stroke) {
	corners := []vg.Point{p.at(a.x, a.y), p.at(b.x, a.y), p.at(b.x, b.y), p.at(a.x, b.y)}
	if fill != none {
		p.c.FillPolygon(fill, p.c.ClipPolygonXY(corners))
	}
	if edge.width > 0 {
		p.c.StrokeLines(edge.style(), append(corners, corners[0]))
	}
}

// lines draws a line through points.
func (p *pen) lines(s stroke, points ...point) {
	var path []vg.Point
	for _, q := range points {
		path = append(path, p.at(q.x, q.y))
	}
	p.c.StrokeLines(s.style(), p.c.ClipLinesXY(path)...)
}

// area fills what points go around.
func (p *pen) area(points []point, fill ink) {
	var path []vg.Point
	for _, q := range points {
		path = append(path, p.at(q.x, q.y))
	}
	p.c.FillPolygon(fill, p.c.ClipPolygonXY(path))
}

// steps draws what stays the same until the next point.
func (p *pen) steps(s stroke, points []point) {
	var path []point
	for i, q := range points {
		if i > 0 {
			path = append(path, point{q.x, points[i-1].y})
		}
		path = append(path, q)
	}
	p.lines(s, path...)
}

// write writes a text, so many points beside x and y.
func (p *pen) write(sty text.Style, x, y, right, up float64, s string) {
	at := p.at(x, y)
	p.c.FillText(sty, vg.Point{X: at.X + vg.Points(right), Y: at.Y + vg.Points(up)}, s)
}

// put draws a mark.
func (p *pen) put(m mark, x, y float64) { m.draw(&p.c, p.at(x, y)) }

// draw draws the mark around a place of the canvas.
func (m mark) draw(c *draw.Canvas, at vg.Point) {
	r := vg.Points(m.radius)
	var path vg.Path
	polygon := func(corners ...[2]float64) {
		for i, k := range corners {
			to := vg.Point{X: at.X + r*vg.Length(k[0]), Y: at.Y + r*vg.Length(k[1])}
			if i == 0 {
				path.Move(to)
				continue
			}
			path.Line(to)
		}
		path.Close()
	}
	switch m.shape {
	case dot:
		path.Move(vg.Point{X: at.X + r, Y: at.Y})
		path.Arc(at, r, 0, 2*math.Pi)
		path.Close()
	case box:
		polygon([2]float64{-1, -1}, [2]float64{1, -1}, [2]float64{1, 1}, [2]float64{-1, 1})
	case diamond:
		polygon([2]float64{0, -diamondWidth}, [2]float64{diamondWidth, 0}, [2]float64{0, diamondWidth}, [2]float64{-diamondWidth, 0})
	case triangle:
		polygon([2]float64{-1.1, -0.8}, [2]float64{1.1, -0.8}, [2]float64{0, 1.2})
	case cross:
		c.SetLineStyle(draw.LineStyle{Color: m.edge, Width: vg.Points(1.8)})
		for _, s := range []vg.Length{1, -1} {
			var stroke vg.Path
			stroke.Move(vg.Point{X: at.X - r, Y: at.Y - s*r})
			stroke.Line(vg.Point{X: at.X + r, Y: at.Y + s*r})
			c.Stroke(stroke)
		}
		return
	}
	if m.fill != none {
		c.SetColor(m.fill)
		c.Fill(path)
	}
	if m.edge != none {
		c.SetLineStyle(draw.LineStyle{Color: m.edge, Width: vg.Points(1.2)})
		c.Stroke(path)
	}
	if m.text != "" {
		// A figure's height is 0.7 of the font's size: its middle is at the mark's.
		size := 8.5
		if utf8.RuneCountInString(m.text) > 2 {
			size = 7.5
		}
		sty := lettering(size, m.ink, true, text.XCenter, text.YBottom)
		c.FillText(sty, vg.Point{X: at.X, Y: at.Y - sty.FontExtents().Descent - vg.Points(0.36*size)}, m.text)
	}
}
