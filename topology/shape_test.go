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

// versionsOf is a topology whose store and buffer have values of a version, with
// the steps from the oldest one.
func versionsOf(t *testing.T, oldest, current int) *topology.Topology {
	t.Helper()
	steps := []codec.Step{
		codec.From(1, codec.JSON[string](), func(s string) (string, error) { return s, nil }),
		codec.From(2, codec.Codec[string](codec.String), func(s string) (string, error) { return s, nil }),
		codec.From(3, codec.Codec[string](codec.String), func(s string) (string, error) { return s, nil }),
	}
	var c codec.Codec[string] = codec.Versioned(current, codec.Codec[string](codec.String), steps[oldest-1:current-1]...)
	if current == 1 {
		c = codec.JSON[string]()
	}
	return build(t, "app", func(b *topology.Builder) {
		topology.AggregateTable(source(b, "in").GroupByKey(str, str), c, topology.Aggregator[string, string]{
			New: func() *string { return new(string) }, Add: func(into *string, s string) error { *into = s; return nil },
			Remove: func(*string, string) error { return nil },
		}, topology.Store("last")).Suppress(topology.UntilTimeLimit(time.Minute, topology.BufferIn("calm"))).To("out", str, str)
	})
}

// TestStateOfOtherVersionsIsTakenIfThereAreSteps: and never by an older program.
func TestStateOfOtherVersionsIsTakenIfThereAreSteps(t *testing.T) {
	for name, c := range map[string]struct {
		oldest, current int // of the program
		version, left   int // of the state
		want            string
	}{
		"the same":                {1, 3, 3, 3, ""},
		"one step":                {1, 2, 1, 1, ""},
		"two steps":               {1, 3, 1, 1, ""},
		"the rest of an upgrade":  {1, 3, 3, 1, ""},
		"a step dropped in time":  {3, 3, 3, 3, ""},
		"a step dropped too soon": {3, 3, 3, 2, "the steps from version 2 on"},
		"no step":                 {2, 3, 1, 1, `store "last" is read in versions 2 to 3 of its values here and written in version 1 of its values there`},
		"a downgrade":             {1, 2, 3, 3, "A newer program has written it"},
		"back to no versions":     {1, 1, 2, 1, "written in versions 1 to 2 of its values there"},
	} {
		t.Run(name, func(t *testing.T) {
			program, wrote := versionsOf(t, c.oldest, c.current), versionsOf(t, 1, c.version)
			stored := wrote.Shape().Subs[0]
			for i := range stored.Stores {
				stored.Stores[i].Oldest = c.left
			}
			sub := program.SubTopologies()[0]
			err := sub.CheckState(stored)
			if c.want == "" && err != nil {
				t.Error(err)
			}
			if c.want != "" && (!errors.Is(err, topology.ErrIncompatible) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "No value was changed")) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			differ := program.Shape().Differences(wrote.Shape())
			if apart := c.current != c.version; apart != (len(differ) > 0) || apart != (program.Hash() != wrote.Hash()) {
				t.Errorf("members are apart: %v, want %v", differ, apart)
			}
		})
	}
}

// TestATimeToLiveIsNoPartOfTheShape: it may change at any restart.
func TestATimeToLiveIsNoPartOfTheShape(t *testing.T) {
	hashes := map[string]bool{}
	for _, ttl := range []time.Duration{0, time.Hour, 24 * time.Hour} {
		hashes[build(t, "app", func(b *topology.Builder) {
			var table []topology.TableOption
			var store []topology.StoreOption
			if ttl > 0 {
				table, store = append(table, topology.TTL(ttl)), append(store, topology.TTL(ttl))
			}
			s := source(b, "events")
			s.GroupByKey(str, str).Count(append(table, topology.Store("totals"))...)
			topology.Process(s, newNothing, topology.Uses(topology.KeyValueStore(b, "last", str, str, store...)))
		}).Hash()] = true
	}
	if len(hashes) != 1 {
		t.Errorf("times to live make %d shapes of one", len(hashes))
	}
}
