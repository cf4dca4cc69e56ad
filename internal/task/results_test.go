package task_test

import (
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// replicating makes a task whose results go to a replica.
func replicating(t *testing.T, windows window.Windows) *task.Task {
	return newTask(t, build(t, func(b *topology.Builder) {
		source(b, "in").GroupByKey(codec.String, codec.Int64).WindowedBy(windows).
			Count(topology.Store("windows"), topology.Named("windows")).Stream().
			To("out", codec.String, codec.Int64, topology.Replicated("windows"))
	}), &counter{}, func(c *task.Config) { c.Replicates = func(store string) bool { return store == "windows" } })
}

func process(t *testing.T, tk *task.Task, offset int64, key string, at int64) {
	t.Helper()
	if err := tk.Inputs()[0].Process(fetched(offset, key, at)); err != nil {
		t.Fatal(err)
	}
	if _, err := tk.Tick(time.UnixMilli(at)); err != nil {
		t.Fatal(err)
	}
}

// TestResultsComeAfterTheirCommitTheLastOfEachWindow: two results of one window
// in one commit are one, and a later commit has a later version.
func TestResultsComeAfterTheirCommitTheLastOfEachWindow(t *testing.T) {
	tk := replicating(t, window.Tumbling(10*time.Millisecond).AllowedLateness(time.Minute))
	process(t, tk, 0, "a", 5)
	process(t, tk, 1, "a", 25) // the window at 0 is complete
	process(t, tk, 2, "a", 6)  // late: it sends again
	if early := tk.TakeResults(); len(early) > 0 {
		t.Fatalf("results before the commit: %+v", early)
	}
	if tk.DirtyBytes() == 0 {
		t.Error("the results that wait count for nothing")
	}
	commit(t, tk)
	first := tk.TakeResults()
	if len(first) != 1 || first[0].Start != 0 || first[0].End != 10 || !first[0].Windowed || string(first[0].Key) != "a" {
		t.Fatalf("results %+v: want one, of the window at 0", first)
	}
	if n, err := codec.Int64.Decode(first[0].Value); err != nil || n != 2 {
		t.Errorf("count %d, %v: want the last result", n, err)
	}
	process(t, tk, 3, "a", 7)
	c, err := tk.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	if err := tk.Committed(c, map[string]int64{"windows": 7}); err != nil {
		t.Fatal(err)
	}
	second := tk.TakeResults()
	if len(second) != 1 || !first[0].Version.Before(second[0].Version) {
		t.Errorf("version %+v came after %+v", second[0].Version, first[0].Version)
	}
	if again := tk.TakeResults(); len(again) > 0 {
		t.Errorf("results came twice: %+v", again)
	}
}

// TestARetractedResultIsTakenBack: a session that was sent and then grows towards
// the past is another window.
func TestARetractedResultIsTakenBack(t *testing.T) {
	tk := replicating(t, window.Session(10*time.Millisecond).AllowedLateness(time.Minute))
	process(t, tk, 0, "a", 50)
	process(t, tk, 1, "a", 100) // the session at 50 is complete
	commit(t, tk)
	if sent := tk.TakeResults(); len(sent) != 1 || sent[0].Start != 50 || sent[0].Value == nil {
		t.Fatalf("results %+v: want the session at 50", sent)
	}
	process(t, tk, 2, "a", 45)
	commit(t, tk)
	back, came := false, false
	for _, r := range tk.TakeResults() {
		back = back || r.Start == 50 && r.Value == nil
		came = came || r.Start == 45 && r.Value != nil
	}
	if !back || !came {
		t.Errorf("taken back: %v, the session at 45 came: %v", back, came)
	}
}
