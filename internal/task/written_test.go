package task_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// TestACommitIsSigned reads from the committed offsets who wrote the changelogs,
// also if the commit itself has moved no offset.
func TestACommitIsSigned(t *testing.T) {
	tk := newTask(t, build(t, func(b *topology.Builder) {
		source(b, "in").GroupByKey(codec.String, codec.Int64).WindowedBy(window.Tumbling(time.Minute)).Count(topology.Store("windows"))
	}), &counter{})
	if err := tk.Inputs()[0].Process(fetched(0, "k", 5)); err != nil {
		t.Fatal(err)
	}
	want := task.Written{Producer: 7, Ends: map[string]int64{"windows": 3, "in-meta": 0}}
	inputs := func(c *task.Commit) []task.InputConfig {
		if len(c.Offsets) != 1 || c.Offsets[0].Topic != "in" || c.Offsets[0].Next != 1 {
			t.Fatalf("offsets %+v", c.Offsets)
		}
		return []task.InputConfig{{Topic: "in", Offset: 1, Metadata: c.Offsets[0].Metadata}}
	}
	c, err := tk.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := task.LastWritten(inputs(c)); ok {
		t.Error("a commit that is not signed says who wrote it")
	}
	tk.Sign(c, want)
	if got, ok := task.LastWritten(inputs(c)); !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("signed by %+v (%v), want %+v", got, ok, want)
	}
	meta, err := codec.DecodeOffsetMetadata(c.Offsets[0].Metadata)
	if err != nil || meta.Time != 5 {
		t.Errorf("metadata %+v, %v: want the time of the event, as before", meta, err)
	}
	still := &task.Commit{}
	want.Producer = 8
	tk.Sign(still, want)
	if got, ok := task.LastWritten(inputs(still)); !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("without an offset, signed by %+v (%v), want %+v", got, ok, want)
	}
	for i := range 200 { // more than brokers take
		want.Ends[fmt.Sprint("store-", i)] = 1
	}
	before := c.Offsets[0]
	tk.Sign(c, want)
	if c.Offsets[0] != before || len(before.Metadata) > 4096 {
		t.Errorf("metadata of %d bytes", len(c.Offsets[0].Metadata))
	}
}

// TestANewerCommitThatIsNotSignedCounts has an input whose last commit was signed
// and another one that was committed later without, as exactly once.
func TestANewerCommitThatIsNotSignedCounts(t *testing.T) {
	input := func(topic string, numbers map[string]int64) task.InputConfig {
		return task.InputConfig{Topic: topic, Offset: 1, Metadata: codec.OffsetMetadata{Time: -1, Processors: numbers}.Encode()}
	}
	signed := input("b", map[string]int64{"millrace.progress": 4, "millrace.producer": 7, "millrace.end.windows": 3})
	for name, test := range map[string]struct {
		other int64
		ok    bool
	}{"newer": {5, false}, "of the same commit": {4, true}, "older": {3, true}} {
		other := input("a", map[string]int64{"millrace.progress": test.other})
		for _, inputs := range [][]task.InputConfig{{signed, other}, {other, signed}} {
			if _, ok := task.LastWritten(inputs); ok != test.ok {
				t.Errorf("%s, without a signature, first %s: signed %v, want %v", name, inputs[0].Topic, ok, test.ok)
			}
		}
	}
}
