package window

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestGolden runs the tables in testdata. Run it with -rewrite to write them
// anew, and read the difference.
//
// assign: one time in ms a line; prints its windows.
// bounds: one watermark a line; prints the bounds of scans.
// firing: the events of one key in the window [0, size), one a line, as
// 'at WATERMARK', 'event', 'timer' and 'commit'; prints each result.
func TestGolden(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		if strings.Contains(path, "fuzz") {
			return
		}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "assign":
				return goldenAssign(t, d)
			case "bounds":
				return goldenBounds(t, d)
			case "firing":
				return goldenFiring(t, d)
			}
			d.Fatalf(t, "no command %q", d.Cmd)
			return ""
		})
	})
}

func goldenWindows(t *testing.T, d *datadriven.TestData) Windows {
	t.Helper()
	duration := func(name string) time.Duration {
		var text string
		d.MaybeScanArgs(t, name, &text)
		if text == "" {
			return 0
		}
		v, err := time.ParseDuration(text)
		if err != nil {
			d.Fatalf(t, "%s: %v", name, err)
		}
		return v
	}
	w := Tumbling(duration("size")).AllowedLateness(duration("lateness")).
		Offset(duration("offset")).Retention(duration("retention"))
	if err := w.Validate(); err != nil {
		d.Fatalf(t, "%v", err)
	}
	return w
}

func goldenTime(t *testing.T, d *datadriven.TestData, text string) int64 {
	t.Helper()
	switch text {
	case "min":
		return MinTime
	case "max":
		return MaxTime
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	return v
}

func goldenAssign(t *testing.T, d *datadriven.TestData) string {
	w := goldenWindows(t, d)
	var out strings.Builder
	for line := range strings.Lines(d.Input) {
		line = strings.TrimSpace(line)
		fmt.Fprintf(&out, "%s in %v\n", line, w.Assign(goldenTime(t, d, line), nil))
	}
	return out.String()
}

func goldenBounds(t *testing.T, d *datadriven.TestData) string {
	w := goldenWindows(t, d)
	var out strings.Builder
	show := func(v int64) string {
		switch v {
		case MinTime:
			return "none"
		case MaxTime:
			return "all"
		}
		return strconv.FormatInt(v, 10)
	}
	for line := range strings.Lines(d.Input) {
		line = strings.TrimSpace(line)
		at := goldenTime(t, d, line)
		fmt.Fprintf(&out, "%s: complete before %s, closed before %s, expired before %s\n", line,
			show(w.CompleteBefore(at)), show(w.ClosedBefore(at)), show(w.ExpiredBefore(at)))
	}
	return out.String()
}

// goldenFiring plays the part of the operator: it holds one value, a count.
func goldenFiring(t *testing.T, d *datadriven.TestData) string {
	w := goldenWindows(t, d)
	emit := OnTime()
	if d.HasArg("on-close") {
		emit = OnClose()
	}
	for p := EachUpdate; p <= NoLate; p++ {
		var name string
		if d.MaybeScanArgs(t, "late", &name); name == p.String() {
			emit = emit.Late(p)
		}
	}
	if d.HasArg("early") {
		emit = emit.Early(time.Second)
	}
	if err := emit.Validate(); err != nil {
		d.Fatalf(t, "%v", err)
	}
	var (
		out     strings.Builder
		f       Firing
		r       = emit.Rule(w)
		x       = Window{0, w.SizeMillis()}
		at      = MinTime
		count   int
		changed bool
	)
	fmt.Fprintf(&out, "%v; %v\n", w, emit)
	for line := range strings.Lines(d.Input) {
		line = strings.TrimSpace(line)
		var results []string
		note := func(p Pane, ok bool) {
			if ok {
				changed = false
				final := ""
				if p.Final {
					final = " final"
				}
				results = append(results, fmt.Sprintf("%s #%d%s: %d", p.Kind, p.Sequence, final, count))
			}
		}
		switch word, rest, _ := strings.Cut(line, " "); word {
		case "at":
			at = goldenTime(t, d, rest)
			if count > 0 && w.Complete(x, at) {
				note(f.OnTime(r))
			}
			if count > 0 && w.Closed(x, at) {
				note(f.Close(r))
			}
		case "event":
			if w.Closed(x, at) {
				results = append(results, "dropped")
				break
			}
			count++
			changed = true
			if w.Complete(x, at) {
				note(f.Update(r))
			}
		case "timer":
			if changed {
				note(f.Early(r))
			}
		case "commit":
			note(f.Commit(r))
		default:
			d.Fatalf(t, "no event %q", line)
		}
		fmt.Fprintf(&out, "%-8s | %s\n", line, strings.Join(results, ", "))
	}
	return strings.ReplaceAll(out.String(), "| \n", "|\n")
}
