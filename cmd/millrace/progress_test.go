package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestABarLosesNothingThatIsWrittenAboveIt(t *testing.T) {
	for _, beforeTheEnd := range []int{0, 50, 100} {
		var out bytes.Buffer
		b := newBar(&out, "sent", 100)
		for i := range 100 {
			if i == beforeTheEnd {
				b.set(100) // complete, and rows go on coming
			}
			fmt.Fprintf(b, "row %d\n", i)
		}
		b.close()
		for i := range 100 {
			if !strings.Contains(out.String(), fmt.Sprintf("row %d\n", i)) {
				t.Fatalf("complete at row %d, row %d is not shown:\n%s", beforeTheEnd, i, &out)
			}
		}
	}
}

func TestLinesOfProgressStandApartFromResults(t *testing.T) {
	out, err := newOutput(), newOutput()
	p := &program{out: out, err: err}
	l := p.progress("sent", 8)
	l.set(2)
	fmt.Fprintln(l, "row")
	l.close()
	if out.String() != "row\n" || !strings.HasPrefix(err.String(), "sent 2 of 8 (25 %) after ") {
		t.Errorf("out %q, err %q", out, err)
	}
	if isTerminal(io.Discard) {
		t.Error("what is discarded is no terminal")
	}
}
