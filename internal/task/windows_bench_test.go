package task_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// BenchmarkWindows measures an event through each kind of window: 100 keys, 1,000
// events a second of event time, a commit every 10,000. Hopping windows by pane
// are to cost at most 1.5 times the tumbling ones.
func BenchmarkWindows(b *testing.B) {
	for _, c := range []struct {
		name    string
		windows window.Windows
	}{
		{"tumbling 1m", window.Tumbling(time.Minute)},
		{"tumbling 15m", window.Tumbling(15 * time.Minute)},
		{"hopping 15m every 1m", window.Hopping(15 * time.Minute).Every(time.Minute)},
		{"hopping 15m every 1m, separate", window.Hopping(15 * time.Minute).Every(time.Minute).SeparateWindows()},
		{"session 1m", window.Session(time.Minute).AtMost(15 * time.Minute)},
		{"calendar hour", window.Calendar(window.Hour, "America/Sao_Paulo")},
		{"count 1000", window.Count(1000)},
	} {
		b.Run(c.name, func(b *testing.B) { benchmarkWindows(b, c.windows) })
	}
}

func benchmarkWindows(b *testing.B, w window.Windows) {
	tk := newTask(b, build(b, func(b *topology.Builder) {
		source(b, "in").EventTime(nil, window.BoundedDelay(time.Second).MaxAhead(1e6*time.Hour)).
			GroupByKey(codec.String, codec.Int64).WindowedBy(w).
			Count(topology.Store("counts")).Stream().To("out", codec.String, codec.Int64)
	}), &counter{})
	in := tk.Inputs()[0]
	var keys [100][]byte
	for i := range keys {
		keys[i] = []byte("model-" + strconv.Itoa(i))
	}
	value, err := codec.Int64.Append(nil, 1)
	if err != nil {
		b.Fatal(err)
	}
	var r task.Fetched
	b.ReportAllocs()
	for i := int64(0); b.Loop(); i++ {
		r = task.Fetched{Offset: i, Time: i, Key: keys[i%100], Value: value}
		if err := in.Process(&r); err != nil {
			b.Fatal(err)
		}
		if i%10_000 == 9_999 {
			commit(b, tk)
		}
	}
}
