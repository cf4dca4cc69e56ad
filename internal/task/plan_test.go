package task_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/topology"
)

// counted counts a stream by its keys, without a repartition.
func counted(s topology.Stream[string, int64], store string) {
	s.GroupByKey(codec.String, codec.Int64).Count(topology.Store(store))
}

func TestTopicsThatShareAStoreMustBeCopartitioned(t *testing.T) {
	topics := map[string]int32{"a": 4, "b": 2, "c": 4}
	for name, c := range map[string]struct {
		make func(b *topology.Builder)
		want []string // what the error names; none if the topology fits
	}{
		"merged streams": {func(b *topology.Builder) {
			counted(source(b, "a").Merge(source(b, "b")), "counts")
		}, []string{`store "counts"`, `"a" with 4`, `"b" with 2`, "repartition"}},
		"one source with two topics": {func(b *topology.Builder) {
			counted(source(b, "a", topology.AndTopics("b")), "counts")
		}, []string{`"a" with 4`, `"b" with 2`}},
		"a pattern": {func(b *topology.Builder) {
			counted(topology.SourcePattern(b, "all", "a|b", codec.String, codec.Int64), "counts")
		}, []string{`"a" with 4`, `"b" with 2`}},
		"a topic and a repartition": {func(b *topology.Builder) {
			moved := source(b, "b").Repartition(codec.String, codec.Int64, topology.Named("r"), topology.Partitions(3))
			counted(source(b, "a").Merge(moved), "counts")
		}, []string{`"a" with 4`, `"app-r-repartition" with 3`}},
		"two stores that go by different topics": {func(b *topology.Builder) {
			counted(source(b, "a").Merge(source(b, "b")), "ab")
			counted(source(b, "c"), "c")
		}, []string{`store "ab"`}},
		"equal numbers": {func(b *topology.Builder) {
			counted(source(b, "a").Merge(source(b, "c")), "counts")
		}, nil},
		"a repartition behind the merge": {func(b *topology.Builder) {
			s := source(b, "a").Merge(source(b, "b")).Repartition(codec.String, codec.Int64, topology.Named("r"))
			counted(s, "counts")
		}, nil},
		"a repartition to the same number": {func(b *topology.Builder) {
			moved := source(b, "b").Repartition(codec.String, codec.Int64, topology.Named("r"), topology.Partitions(4))
			counted(source(b, "a").Merge(moved), "counts")
		}, nil},
		"no state": {func(b *topology.Builder) {
			source(b, "a").Merge(source(b, "b")).To("c", codec.String, codec.Int64)
		}, nil},
		"a merge behind the store": {func(b *topology.Builder) {
			in := source(b, "a")
			counted(in, "counts")
			in.Merge(source(b, "b")).To("c", codec.String, codec.Int64)
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := task.NewPlan(build(t, c.make), "app", topics)
			if errors.Is(err, task.ErrNotCopartitioned) != (c.want != nil) || (err != nil && c.want == nil) {
				t.Fatalf("error %v", err)
			}
			for _, text := range c.want {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%s is not in %v", text, err)
				}
			}
		})
	}
}
