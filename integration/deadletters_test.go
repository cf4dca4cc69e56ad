//go:build integration

package integration_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
)

// copying copies values longer by as much as they say, and refuses "bad" unless
// it is mended.
func copying(t *testing.T, application, in, out string, mended bool) *topology.Topology {
	t.Helper()
	b := topology.New(application)
	events := topology.Source(b, in, codec.String, codec.String)
	topology.MapValues(events, func(r topology.Record[string, string]) (string, error) {
		if r.Value == "bad" && !mended {
			return "", errors.New("not yet")
		}
		var n int
		if _, err := fmt.Sscanf(r.Value, "large %d", &n); err == nil && !mended {
			b := make([]byte, n) // that no codec compresses, the same each time
			rand.NewChaCha8([32]byte{}).Read(b)
			return string(b), nil
		}
		return r.Value, nil
	}, topology.Named("map")).To(out, codec.String, codec.String, topology.Named("write"))
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// TestDeadLettersOfARealBrokerComeBackOnce has a record that user code refuses and
// results that the broker refuses, and sends them back to a program that is
// mended.
func TestDeadLettersOfARealBrokerComeBackOnce(t *testing.T) {
	for _, guarantee := range []streams.Guarantee{streams.AtLeastOnce, streams.ExactlyOnce} {
		t.Run(string(guarantee), func(t *testing.T) {
			c := newCluster(t)
			app, in, out := c.name("letters"), c.name("letters-in"), c.name("letters-out")
			c.create(in, 2)
			c.create(out, 1, "max.message.bytes", "100000")
			cfg := streams.Config{Application: app, OnError: topology.DeadLetter, Guarantee: guarantee}
			i := c.startInstance(copying(t, app, in, out, false), cfg)
			i.awaitRunning()
			var want []string
			at := time.UnixMilli(time.Now().UnixMilli())
			for n, v := range []string{"1", "bad", "2", "large 400000", "3", "bad", "large 150000", "4"} {
				c.produce(&kgo.Record{Topic: in, Partition: int32(n % 2), Key: []byte("k"), Value: []byte(v), Timestamp: at})
				want = append(want, v)
			}
			values := func() (all []string) {
				for _, r := range c.read(out, nil) {
					all = append(all, string(r.Value))
				}
				slices.Sort(all)
				return slices.Compact(all)
			}
			eventually(t, "the good ones are copied", func() bool { return slices.Equal(values(), []string{"1", "2", "3", "4"}) })
			d, err := streams.OpenDeadLetters(t.Context(), streams.Config{Application: app, Brokers: c.brokers})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			list := func(f streams.DeadLetterFilter) (all []streams.DeadLetter) {
				t.Helper()
				if err := d.List(t.Context(), f, func(l streams.DeadLetter) bool {
					all = append(all, l)
					return true
				}); err != nil {
					t.Fatal(err)
				}
				return all
			}
			eventually(t, "the bad ones are letters", func() bool {
				return len(list(streams.DeadLetterFilter{Node: "map"})) >= 2 && len(list(streams.DeadLetterFilter{Node: "write"})) >= 2
			})
			i.stop()
			waiting := list(streams.DeadLetterFilter{Pending: true})
			for _, l := range waiting {
				if l.Source.Topic != in || !l.Time.Equal(at) || l.Node == "" || l.Message == "" {
					t.Errorf("letter %+v", l)
				}
			}
			if guarantee == streams.ExactlyOnce && len(waiting) != 4 {
				t.Errorf("%d letters, want 4", len(waiting))
			}
			if err := d.Replay(t.Context(), waiting, func(int) {}); err != nil {
				t.Fatal(err)
			}
			if left := list(streams.DeadLetterFilter{Pending: true}); len(left) > 0 {
				t.Errorf("%d letters still wait", len(left))
			}
			i = c.startInstance(copying(t, app, in, out, true), cfg)
			slices.Sort(want)
			want = slices.Compact(want)
			eventually(t, "all are copied", func() bool { return slices.Equal(values(), want) })
			i.stop()
		})
	}
}

// TestExpiredRecordsOfARealBroker deletes what an instance has not read: a real
// broker does not say where the log begins when it refuses an offset.
func TestExpiredRecordsOfARealBroker(t *testing.T) {
	for _, reset := range []topology.OffsetReset{topology.Earliest, topology.Latest, topology.FailOnLoss} {
		t.Run(reset.String(), func(t *testing.T) {
			c := newCluster(t)
			app, in, out := c.name("expired-"+reset.String()), c.name("expired-in-"+reset.String()), c.name("expired-out-"+reset.String())
			c.create(in, 1)
			c.create(out, 1)
			top := copying(t, app, in, out, true)
			state := t.TempDir()
			write := func(from, to int) {
				for n := from; n < to; n++ {
					c.produce(&kgo.Record{Topic: in, Key: []byte("k"), Value: fmt.Append(nil, n)})
				}
			}
			write(0, 10)
			i := c.startInstance(top, streams.Config{Application: app, StateDir: state})
			eventually(t, "ten are copied", func() bool { return len(c.read(out, nil)) == 10 })
			i.stop()
			write(10, 30)
			c.truncate(place{in, 0}, 25)
			i = c.startInstance(top, streams.Config{Application: app, StateDir: state, OffsetReset: reset})
			if reset == topology.FailOnLoss {
				<-i.ended
				if !errors.Is(i.err, streams.ErrLostRecords) || !strings.Contains(i.err.Error(), "from 10 to 25") {
					t.Errorf("error %v", i.err)
				}
				return
			}
			i.awaitRunning()
			eventually(t, "it has gone on", func() bool {
				for _, st := range i.Watermarks() {
					for _, input := range st.Inputs {
						if input.Next >= 30 {
							return true
						}
					}
				}
				return false
			})
			write(30, 31)
			want := 16
			if reset == topology.Latest {
				want = 11
			}
			eventually(t, "the rest is copied", func() bool { return len(c.read(out, nil)) >= want })
			if got := c.read(out, nil); len(got) != want {
				t.Errorf("%d results, want %d", len(got), want)
			}
			i.stop()
		})
	}
}
