package topology_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// shaped are topologies that differ from the first one as their names say.
func shaped(t *testing.T, change func(o *shapeOptions)) *topology.Topology {
	o := shapeOptions{topic: "events", store: "stats", size: time.Minute, named: "by-model", key: codec.String}
	if change != nil {
		change(&o)
	}
	return build(t, "app", func(b *topology.Builder) {
		s := source(b, o.topic).EventTime(func(string) int64 { return 0 }, window.BoundedDelay(o.delay))
		if o.peek {
			s = s.Peek(func(record) {}).Filter(all, topology.Named("some"))
		}
		w := topology.GroupBy(s, o.key, str, func(r record) string { return r.Value }, topology.Named(o.named)).
			WindowedBy(window.Tumbling(o.size).AllowedLateness(o.lateness))
		w.Count(topology.Store(o.store)).Stream().ToWindowed("results", o.key, codec.Int64)
		if o.second {
			source(b, "other").To("copied", str, str)
		}
	})
}

type shapeOptions struct {
	topic, store, named   string
	size, lateness, delay time.Duration
	key                   codec.Codec[string]
	peek, second          bool
}

// textKeys is a codec of another form for the same type.
type textKeys struct{ codec.Codec[string] }

func (textKeys) Form() string { return "text/2" }

func TestWhatKeepsTopologiesApart(t *testing.T) {
	own := shaped(t, nil)
	for name, c := range map[string]struct {
		change func(o *shapeOptions)
		group  string // what keeps members apart
		state  string // what keeps state from being used
	}{
		"nothing":           {nil, "", ""},
		"stateless steps":   {func(o *shapeOptions) { o.peek = true }, "", ""},
		"delay, lateness":   {func(o *shapeOptions) { o.delay, o.lateness = time.Minute, time.Hour }, "", ""},
		"windows":           {func(o *shapeOptions) { o.size = time.Hour }, `store "stats" is window store (tumbling size=60000 offset=0)`, `store "stats" is window store (tumbling size=60000 offset=0)`},
		"a new store":       {func(o *shapeOptions) { o.store = "more" }, `store "more" is only there`, ""},
		"codec of keys":     {func(o *shapeOptions) { o.key = textKeys{codec.String} }, "keys as bytes, values as int64 here", "keys as text/2"},
		"repartition":       {func(o *shapeOptions) { o.named = "by-user" }, `sub-topology "1" is "by-model" here and "by-user" there`, ""},
		"input":             {func(o *shapeOptions) { o.topic = "clicks" }, `is "events" here and "clicks" there`, ""},
		"one more sub-part": {func(o *shapeOptions) { o.second = true }, `sub-topology "other" is only there`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			other := shaped(t, c.change)
			var texts []string
			for _, d := range own.Shape().Differences(other.Shape()) {
				texts = append(texts, d.String())
			}
			differences := strings.Join(texts, "; ")
			if (c.group == "") != (differences == "") || !strings.Contains(differences, c.group) {
				t.Errorf("members differ in %q, want %q", differences, c.group)
			}
			if same := own.Hash() == other.Hash(); same != (c.group == "") {
				t.Errorf("equal hashes: %v", same)
			}
			sub := own.SubTopologies()[1]
			err := sub.CheckState(other.Shape().Subs[1])
			if c.state == "" && err != nil {
				t.Errorf("state: %v", err)
			}
			if c.state != "" && (!errors.Is(err, topology.ErrIncompatible) || !strings.Contains(err.Error(), c.state) || !strings.Contains(err.Error(), "millrace reset")) {
				t.Errorf("state: %v, want %q", err, c.state)
			}
		})
	}
}

func TestAShapeReadsBack(t *testing.T) {
	for name, f := range graphs {
		want := build(t, "app", f).Shape()
		b, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := topology.DecodeShape(append(b[:len(b)-1], `,"later":1}`...))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, want)
		}
		if d := want.Differences(got); len(d) > 0 {
			t.Errorf("%s differs from itself: %v", name, d)
		}
	}
}
