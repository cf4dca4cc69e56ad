package main

import (
	"fmt"
	"io"
	"time"

	"github.com/vbauerster/cupwriter"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress shows how far something has come: a bar on a terminal, lines
// elsewhere. What is written to it stands above the bar.
type progress interface {
	io.Writer
	// set says how much is done; from one goroutine at a time.
	set(done int64)
	// close ends it; nothing is written afterwards.
	close()
}

// progress returns a progress of total things. On a terminal both it and what is
// written to it go there; else lines go to standard error, and what is written
// to standard output.
func (p *program) progress(what string, total int64) progress {
	if isTerminal(p.out) && isTerminal(p.err) {
		return newBar(p.out, what, total)
	}
	return &lines{out: p.out, err: p.err, what: what, total: total, began: time.Now(), last: time.Now()}
}

// barStep is how often a bar is told of something new.
const barStep = 100 * time.Millisecond

type bar struct {
	container *mpb.Progress
	bar       *mpb.Bar
	console   *cupwriter.Writer
	last      time.Time
	total     int64
}

func newBar(out io.Writer, what string, total int64) *bar {
	console := cupwriter.New(out, false)
	c := mpb.New(mpb.WithConsoleWriter(console), mpb.WithAutoRefresh(), mpb.WithWidth(64))
	return &bar{container: c, console: console, total: total, bar: c.AddBar(total,
		mpb.PrependDecorators(decor.Name(what+" ")),
		mpb.AppendDecorators(decor.CountersNoUnit("%d of %d "), decor.Percentage()))}
}

func (b *bar) Write(text []byte) (int, error) { return b.container.Write(text) }

func (b *bar) set(done int64) {
	if now := time.Now(); now.Sub(b.last) >= barStep || done == b.total {
		b.last = now
		b.bar.SetCurrent(done)
	}
}

func (b *bar) close() {
	b.bar.Abort(false)
	b.container.Wait()
	// What was written since the last refresh is still in the buffer. It takes
	// the place of the bar.
	if b.console.Len() > 0 {
		_ = b.console.Flush(0) // as with any write to a terminal
	}
}

// lineStep is how often a line of progress is written.
const lineStep = 5 * time.Second

type lines struct {
	out, err    io.Writer
	what        string
	total, done int64
	began, last time.Time
}

func (l *lines) Write(text []byte) (int, error) { return l.out.Write(text) }

func (l *lines) set(done int64) {
	l.done = done
	if now := time.Now(); now.Sub(l.last) >= lineStep {
		l.last = now
		l.line(now)
	}
}

func (l *lines) line(now time.Time) {
	fmt.Fprintf(l.err, "%s %d of %d (%d %%) after %v\n", l.what, l.done, l.total, 100*l.done/max(l.total, 1), now.Sub(l.began).Round(100*time.Millisecond))
}

func (l *lines) close() { l.line(time.Now()) }
