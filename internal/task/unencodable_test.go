package task_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// fussy encodes sums, but not those with a poisoned value in them: that is more
// than a thousand.
type fussy struct {
	codec.Codec[int64]
	fail func() error
}

const heavy = 1000

func (c fussy) Append(dst []byte, v int64) ([]byte, error) {
	if v >= heavy {
		if err := c.fail(); err != nil {
			return nil, err
		}
	}
	return c.Codec.Append(dst, v)
}

// sums adds values up.
func sums() topology.Aggregator[int64, int64] {
	return topology.Aggregator[int64, int64]{
		New: func() *int64 { return new(int64) },
		Add: func(into *int64, v int64) error { *into += v; return nil },
	}
}

// TestAnAggregateThatCannotBeEncoded: a commit fails over it, and the records
// that have spoiled it are found and left out. Nothing else is lost.
func TestAnAggregateThatCannotBeEncoded(t *testing.T) {
	for _, policy := range []topology.ErrorPolicy{topology.Skip, topology.DeadLetter} {
		for name, fail := range map[string]func() error{"fails": fails, "panics": panics} {
			t.Run(fmt.Sprintf("%v/%s", policy, name), func(t *testing.T) {
				value := fussy{codec.Int64, fail}
				d := streamtest.New(t, build(t, func(b *topology.Builder) {
					g := source(b, "in").GroupByKey(codec.String, codec.Int64)
					topology.Aggregate(g.WindowedBy(window.Tumbling(time.Minute)), value, sums(), topology.Store("windows"))
					topology.AggregateTable(g, value, sums(), topology.Store("table"), topology.Named("table"))
				}), streamtest.OnError(policy))
				in := input(d, "in")
				d.Batch(func() {
					for i, v := range []int64{1, 2, heavy, 3, heavy, 4, 5} {
						in.Send([]string{"a", "b"}[i%2], v, d.Now())
					}
				})
				in.Send("a", 6, d.Now())
				for key, truth := range map[string]int64{"a": 1 + 5 + 6, "b": 2 + 3 + 4} {
					if got, _ := streamtest.GetWindow[int64](d.Store("windows"), key, d.Now()); got != truth {
						t.Errorf("the window of %q holds %v, want %v", key, got, truth)
					}
					if got, _ := streamtest.Get[int64](d.Store("table"), key); got != truth {
						t.Errorf("the table holds %v for %q, want %v", got, key, truth)
					}
				}
				if got := d.Replays(); got == 0 || got > 6 {
					t.Errorf("%d replays for two records in two stores", got)
				}
				letters := streamtest.Output(d, task.DeadLetterTopic("app"), codec.String, codec.Int64).All()
				for _, m := range letters {
					if m.Value != heavy || !strings.Contains(string(m.Header("__streams.errors.message")), `encoding key "a"`) {
						t.Errorf("dead letter %+v", m)
					}
					if got := string(m.Header("__streams.errors.stacktrace")); name == "panics" && !strings.Contains(got, "policy_test.go") {
						t.Errorf("stack %q", got)
					}
				}
				if found := len(letters) > 0; found != (policy == topology.DeadLetter) {
					t.Errorf("%d dead letters under %v", len(letters), policy)
				}
			})
		}
	}
}

// TestAResultThatSpoilsAnAggregate: what time has made due is to blame, and no
// record.
func TestAResultThatSpoilsAnAggregate(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		counts := source(b, "in").GroupByKey(codec.String, codec.Int64).
			WindowedBy(window.Tumbling(time.Minute)).Reduce(sums().Add, topology.Store("windows"))
		g := counts.Stream().GroupByKey(codec.String, codec.Int64)
		topology.AggregateTable(g, fussy{codec.Int64, fails}, sums(), topology.Store("table"), topology.Named("table"))
	}), streamtest.OnError(topology.Skip))
	in := input(d, "in")
	start := d.Now()
	for i, v := range []int64{1, heavy, 2, 3} {
		in.Send("k", v, start.Add(time.Duration(i)*time.Minute))
	}
	if got, _ := streamtest.Get[int64](d.Store("table"), "k"); got != 1+2 {
		t.Errorf("the table holds %d, want 3", got)
	}
	for i, v := range []int64{1, heavy, 2, 3} {
		if got, _ := streamtest.GetWindow[int64](d.Store("windows"), "k", start.Add(time.Duration(i)*time.Minute)); i == 3 && got != v {
			t.Errorf("window %d holds %d, want %d", i, got, v)
		}
	}
	if got := d.Replays(); got != 2 {
		t.Errorf("%d replays, want one to find the result and one without it", got)
	}
}

// TestFailNamesWhatCannotBeEncoded: node, store, key and cause.
func TestFailNamesWhatCannotBeEncoded(t *testing.T) {
	for _, fail := range []func() error{fails, panics} {
		d := streamtest.New(t, build(t, func(b *topology.Builder) {
			g := source(b, "in").GroupByKey(codec.String, codec.Int64)
			topology.AggregateTable(g, fussy{codec.Int64, fail}, sums(), topology.Store("table"), topology.Named("sums"))
		}))
		input(d, "in").Send("k", heavy, d.Now())
		err := d.Err()
		if err == nil {
			t.Fatal("no error")
		}
		for _, part := range []string{"0_0", `node "sums"`, "unencodable_test.go:", `store "table"`, `key "k"`, "bad value"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q is not in %v", part, err)
			}
		}
	}
}

// TestNobodyToBlame: a codec that fails at commits only. The replay finds no
// record, and there is no second one.
func TestNobodyToBlame(t *testing.T) {
	calls := 0 // by the commit, for the record, by the commit
	moody := func() error {
		if calls++; calls == 1 || calls == 3 {
			return errBad
		}
		return nil
	}
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		g := source(b, "in").GroupByKey(codec.String, codec.Int64)
		topology.Aggregate(g.WindowedBy(window.Tumbling(time.Minute)), fussy{codec.Int64, moody}, sums(), topology.Store("windows"))
	}), streamtest.OnError(topology.Skip))
	input(d, "in").Send("k", heavy, d.Now())
	if err := d.Err(); !errors.Is(err, errBad) || d.Replays() != 1 {
		t.Errorf("%d replays, error %v", d.Replays(), err)
	}
}
