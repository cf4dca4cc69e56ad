package task_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// TestUpdatesComeOfChangesAlone: a window that a commit has shown sends and logs nothing
// when it is complete or closed. What has changed since is sent when it is complete, and
// a late change when it is closed, if no commit comes before.
func TestUpdatesComeOfChangesAlone(t *testing.T) {
	for name, w := range map[string]window.Windows{
		"tumbling": window.Tumbling(10 * time.Second),
		"panes":    window.Hopping(10 * time.Second).Every(10 * time.Second),
		"session":  window.Session(5 * time.Second),
	} {
		t.Run(name, func(t *testing.T) {
			var sent []string
			d := streamtest.New(t, build(t, func(b *topology.Builder) {
				source(b, "in").EventTime(nil, window.BoundedDelay(0)).GroupByKey(codec.String, codec.Int64).
					WindowedBy(w.AllowedLateness(10*time.Second)).
					Count(topology.Store("counts"), topology.Emit(window.OnUpdate())).Stream().
					Peek(func(r topology.Record[string, int64]) {
						sent = append(sent, fmt.Sprintf("%s %v %d", r.Key, r.Pane.Kind, r.Value))
						if r.Pane.Final {
							t.Errorf("%s is final", sent[len(sent)-1])
						}
					})
			}), streamtest.CommitManually())
			in := input(d, "in")
			start := d.Now().Truncate(time.Minute)
			send := func(key string, second int) { in.Send(key, 1, start.Add(time.Duration(second)*time.Second)) }
			check := func(when string, want ...string) {
				t.Helper()
				if !slices.Equal(sent, want) {
					t.Errorf("%s: sent %q, want %q", when, sent, want)
				}
				sent = nil
			}

			send("shown", 0)
			send("late", 0)
			d.Commit()
			check("commit", "shown early 1", "late early 1")
			send("fresh", 1)
			written := d.ChangelogRecords("counts")
			send("clock", 12)
			check("complete", "fresh on_time 1")
			d.Commit()
			check("commit behind it", "clock early 1")
			if n := d.ChangelogRecords("counts") - written; n != 2 {
				t.Errorf("%d entries were written behind the first commit, want those of fresh and clock", n)
			}
			send("late", 0)
			check("late change")
			send("clock", 21)
			check("closed", "late late 2")
		})
	}
}

// TestUpdatesGoOnBehindTheEndOfARun: a bounded run completes all windows when it ends, and
// makes none final. What comes for them in the next run changes them, and is sent.
func TestUpdatesGoOnBehindTheEndOfARun(t *testing.T) {
	var sent []string
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		source(b, "in").EventTime(nil, window.BoundedDelay(0)).GroupByKey(codec.String, codec.Int64).
			WindowedBy(window.Tumbling(10*time.Second)).
			Count(topology.Store("counts"), topology.Emit(window.OnUpdate())).Stream().
			Peek(func(r topology.Record[string, int64]) {
				sent = append(sent, fmt.Sprintf("%s %v #%d %d", r.Key, r.Pane.Kind, r.Pane.Sequence, r.Value))
			})
	}), streamtest.CommitManually())
	in := input(d, "in")
	start := d.Now().Truncate(time.Minute)
	send := func(key string, second int) { in.Send(key, 1, start.Add(time.Duration(second)*time.Second)) }
	send("a", 1)
	d.End()
	d.Restart()
	send("a", 2)
	d.Commit()
	send("a", 3)
	send("b", 11)
	d.Commit()
	if want := []string{"a on_time #0 1", "a late #1 2", "a late #2 3", "b early #0 1"}; !slices.Equal(sent, want) {
		t.Errorf("sent %q, want %q", sent, want)
	}
}
