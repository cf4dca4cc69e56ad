package invariants_test

import (
	"fmt"
	"testing"

	"github.com/millrace/millrace/internal/invariants"
)

func TestCheckPanicsOnlyWhenEnabled(t *testing.T) {
	got := recovered(func() { invariants.Check(false, "watermark fell from %d to %d", 7, 5) })
	want := ""
	if invariants.Enabled {
		want = "invariant violated: watermark fell from 7 to 5"
	}
	if got != want {
		t.Errorf("a false condition: panic %q, want %q", got, want)
	}
}

func TestCheckAcceptsWhatHolds(t *testing.T) {
	if got := recovered(func() { invariants.Check(true, "unused") }); got != "" {
		t.Errorf("a true condition: panic %q, want none", got)
	}
}

func TestCheckOfBasicValuesDoesNotAllocate(t *testing.T) {
	last, next := int64(5), int64(7)
	allocs := testing.AllocsPerRun(100, func() {
		invariants.Check(next >= last, "watermark fell")
		next++
	})
	if allocs != 0 {
		t.Errorf("%v allocations a call, want 0", allocs)
	}
}

// recovered returns the text of f's panic, and "" if it returns normally.
func recovered(f func()) (text string) {
	defer func() {
		if r := recover(); r != nil {
			text = fmt.Sprint(r)
		}
	}()
	f()
	return ""
}

func ExampleCheck() {
	last, next := int64(1000), int64(2000)
	invariants.Check(next >= last, "watermark fell from %d to %d", last, next)
	fmt.Println("holds")
	// Output: holds
}
