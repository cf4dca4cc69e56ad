package streams

import (
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
)

// makeTopic makes a topic while the world runs.
func (w *world) makeTopic(name string, partitions int32) {
	w.t.Helper()
	c := w.client()
	defer c.Close()
	req := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 1
	req.Topics = append(req.Topics, topic)
	if resp, err := req.RequestWith(w.t.Context(), c); err != nil || resp.Topics[0].ErrorCode != 0 {
		w.t.Fatal(err, resp)
	}
}

// patterned copies what all topics in.* hold.
func patterned(t *testing.T) *topology.Topology {
	t.Helper()
	b := topology.New("patterned")
	topology.SourcePattern(b, "in", `in\..*`, codec.String, codec.String).To("results", codec.String, codec.String)
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// TestATopicThatAPatternFindsLaterIsRead by the tasks that run already, and one that
// is deleted stops nobody.
func TestATopicThatAPatternFindsLaterIsRead(t *testing.T) {
	inWorld(t, 1, map[string]int32{"in.a": 1, "results": 1}, func(w *world) {
		top := patterned(t)
		a := w.start("a", newDisk(), top, nil)
		w.settled(1, a)
		w.write(event{"in.a", 0, "k", "before", time.Now()})
		w.makeTopic("in.b", 1)
		w.write(event{"in.b", 0, "k", "later", time.Now()})
		w.pass(topicsInterval + time.Second)
		c := w.kafka()
		defer c.Close()
		if err := c.DeleteTopic(w.t.Context(), "in.b"); err != nil {
			t.Fatal(err)
		}
		w.pass(topicsInterval + time.Minute) // longer than a topic may be missing
		w.write(event{"in.a", 0, "k", "last", time.Now()})
		w.pass(time.Second)
		if st := a.in.Watermarks(); len(st) != 1 || len(st[0].Inputs) != 1 {
			t.Errorf("it reads %+v", st)
		}
		a.stop()
		if got, want := w.values("results"), []string{"before", "later", "last"}; !slices.Equal(got, want) {
			t.Errorf("results %v, want %v", got, want)
		}
	})
}
