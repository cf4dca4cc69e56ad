package streamtest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// perMinute counts the events of each key and minute.
func perMinute(b *topology.Builder) {
	topology.Source(b, "in", codec.String, codec.Int64).GroupByKey(codec.String, codec.Int64).
		WindowedBy(window.Tumbling(time.Minute)).Count(topology.Store("counts")).Stream().
		To("out", codec.String, codec.Int64)
}

// owners returns which instance has each task of sub-topology 0.
func owners(d *streamtest.Driver, tasks int32) (owners []int) {
	for p := range tasks {
		owners = append(owners, d.Owner(0, p))
	}
	return owners
}

// TestTasksMoveBetweenInstances: by rebalances and deaths, with their state, and
// nothing that was committed is counted twice.
func TestTasksMoveBetweenInstances(t *testing.T) {
	for _, pebble := range []bool{false, true} {
		opts := []streamtest.Option{streamtest.Partitions(4), streamtest.Instances(2)}
		if pebble {
			opts = append(opts, streamtest.Pebble())
		}
		d := streamtest.New(t, build(t, perMinute), opts...)
		in := streamtest.Input(d, "in", codec.String, codec.Int64)
		sent := int64(0)
		send := func() {
			for p := range int32(4) {
				in.SendTo(p, fmt.Sprint("key-", p), 1, d.Now().Add(time.Duration(sent)*time.Millisecond))
			}
			sent++
		}
		steps := []struct {
			do   func()
			want []int
		}{
			{func() {}, []int{0, 1, 0, 1}},
			{func() { d.Rebalance(3) }, []int{0, 1, 2, 0}},
			{func() { d.Move(0, 3, 2) }, []int{0, 1, 2, 2}},
			{func() { d.Kill(2) }, []int{0, 1, 0, 1}},
			{func() { d.Rebalance(3) }, []int{0, 1, 2, 0}},
			{func() { d.Rebalance(1) }, []int{0, 0, 0, 0}},
			{func() { d.Crash() }, []int{0, 0, 0, 0}},
		}
		for i, s := range steps {
			s.do()
			if got := owners(d, 4); !slices.Equal(got, s.want) {
				t.Errorf("pebble %v, step %d: the tasks are on %v, want %v", pebble, i, got, s.want)
			}
			send()
		}
		d.End()
		for _, m := range streamtest.Output(d, "out", codec.String, codec.Int64).All() {
			if m.Value != sent {
				t.Errorf("pebble %v: %s has %d events, want %d", pebble, m.Key, m.Value, sent)
			}
		}
	}
}

// TestOneInstanceCrashesAlone: the tasks of the other go on with what they have
// not committed.
func TestOneInstanceCrashesAlone(t *testing.T) {
	var trace []string
	d := streamtest.New(t, build(t, perMinute), streamtest.Partitions(2), streamtest.Instances(2), streamtest.CommitManually(),
		streamtest.Trace(func(e streamtest.TraceEvent) { trace = append(trace, e.String()) }))
	in := streamtest.Input(d, "in", codec.String, codec.Int64)
	d.Batch(func() {
		in.SendTo(0, "a", 1, d.Now())
		in.SendTo(1, "b", 1, d.Now())
	})
	trace = nil
	d.CrashAt(streamtest.BeforeChangelog)
	d.Commit()
	text := strings.Join(trace, "\n")
	for what, times := range map[string]int{"0_0 stop crashed": 1, "0_0 start on instance 0, generation 2": 1, "0_0 read in/0@0": 1, "0_1 offsets": 1, "0_1 stop": 0, "0_1 read": 0} {
		if n := strings.Count(text, what); n != times {
			t.Errorf("%q comes %d times, want %d, in\n%s", what, n, times, text)
		}
	}
}

// TestTheEndWaitsForMarkers: an instance that crashes behind the last markers
// hears them again when they are repeated.
func TestTheEndWaitsForMarkers(t *testing.T) {
	ended := 0
	for after := 1; after <= 40; after++ {
		d := streamtest.New(t, build(t, shuffled), streamtest.Partitions(2), streamtest.Instances(4), streamtest.Seed(int64(after)))
		in := streamtest.Input(d, "in", codec.String, codec.Int64)
		d.Batch(func() {
			for i := range int64(6) {
				in.SendTo(int32(i%2), "k", i, d.Now())
			}
		})
		start := d.Now()
		d.CrashAfter(after)
		d.End()
		if err := d.Err(); err != nil {
			t.Fatalf("crash after %d steps: %v", after, err)
		}
		if d.Now().After(start) {
			ended++
		}
	}
	if ended == 0 {
		t.Error("no run has waited for markers: the test tests less than it says")
	}
}

func TestMistakesAboutInstances(t *testing.T) {
	for want, do := range map[string]func(d *streamtest.Driver){
		"the last one that runs": func(d *streamtest.Driver) { d.Kill(0) },
		"no instance 7 runs":     func(d *streamtest.Driver) { d.Kill(7) },
		"want at least 1":        func(d *streamtest.Driver) { d.Rebalance(0) },
		"no task 0_5, or":        func(d *streamtest.Driver) { d.Move(0, 5, 0) },
		"or no instance 3":       func(d *streamtest.Driver) { d.Move(0, 0, 3) },
		"no task 4_0":            func(d *streamtest.Driver) { d.Owner(4, 0) },
	} {
		d, err := streamtest.Open(build(t, perMinute))
		if err != nil {
			t.Fatal(err)
		}
		do(d)
		if err := d.Close(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
	if _, err := streamtest.Open(build(t, perMinute), streamtest.Instances(0)); err == nil {
		t.Error("no instance at all is taken")
	}
}
