package streams

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/kafka"
)

// admin opens an Admin for the topology of counts.
func (w *world) admin(stateDir string) *Admin {
	w.t.Helper()
	a, err := OpenAdmin(w.t.Context(), counts(w.t), Config{
		Brokers: w.cluster.Addrs(), Dial: w.cluster.Dial, StateDir: stateDir, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func TestAdminMakesWhatIsMissing(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		a := w.admin(t.TempDir())
		defer a.Close()
		if _, err := a.Topics(w.t.Context(), 0); !errors.Is(err, ErrMissingTopic) {
			t.Errorf("without an input: %v", err)
		}
		topics, err := a.Topics(w.t.Context(), 3)
		if err != nil {
			t.Fatal(err)
		}
		want := []Topic{
			{Name: "events", Kind: InputTopic, Partitions: 3},
			{Name: "results", Kind: OutputTopic, Partitions: 3},
			{Name: "counts-by-key-repartition", Kind: RepartitionTopic, Partitions: 3},
			{Name: "counts-counts-changelog", Kind: ChangelogTopic, Partitions: 3},
			{Name: "counts-by-key-meta-changelog", Kind: ChangelogTopic, Partitions: 3},
		}
		if !slices.Equal(topics, want) {
			t.Errorf("got %+v", topics)
		}
		if err := a.Create(w.t.Context(), topics...); err != nil {
			t.Fatal(err)
		}
		for i := range want {
			want[i].Exists = true
		}
		if topics, err = a.Topics(w.t.Context(), 9); err != nil || !slices.Equal(topics, want) {
			t.Errorf("after Create: %+v, %v", topics, err)
		}
	})
}

func TestAdminTellsWhichTopicsDoNotFit(t *testing.T) {
	topics := map[string]int32{"events": 2, "results": 1, "counts-by-key-repartition": 5, "counts-counts-changelog": 2}
	inWorld(t, 1, topics, func(w *world) {
		a := w.admin(t.TempDir())
		defer a.Close()
		topics, err := a.Topics(w.t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, topic := range topics {
			bad := topic.Name == "counts-by-key-repartition" || topic.Name == "counts-counts-changelog" // not compacted
			if errors.Is(topic.Problem, ErrTopic) != bad {
				t.Errorf("%s: %v", topic.Name, topic.Problem)
			}
		}
	})
}

func TestResetForgetsEverythingOnceNobodyRuns(t *testing.T) {
	inWorld(t, 1, map[string]int32{"events": 2, "results": 1}, func(w *world) {
		dir := t.TempDir()
		now := time.Now()
		for i := range 20 {
			w.write(event{"events", int32(i % 2), fmt.Sprint("k", i%3), fmt.Sprint(now.UnixMilli()), now})
		}
		p := w.start("a", newDisk(), counts(t), nil)
		a := w.admin(dir)
		defer a.Close()
		var r *Reset
		w.until("positions", func() bool {
			var err error
			if r, err = a.FindReset(w.t.Context()); err != nil {
				t.Fatal(err)
			}
			return len(r.Positions["events"]) == 2
		})
		if err := a.Reset(w.t.Context(), r); !errors.Is(err, ErrRunning) || r.Members != 1 {
			t.Errorf("while %d members run: %v", r.Members, err)
		}
		p.stop()

		state := filepath.Join(dir, "counts")
		if err := os.MkdirAll(filepath.Join(state, "0_0"), 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := a.FindReset(w.t.Context()); !errors.Is(err, ErrInvalidConfig) {
			t.Errorf("a folder of something else: %v", err)
		}
		if err := os.WriteFile(filepath.Join(state, processFile), make([]byte, 16), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := a.FindReset(w.t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Topics) != 3 || r.StateDir != state || r.Empty() {
			t.Errorf("to reset: %+v", r)
		}
		if err := a.Reset(w.t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if r, err = a.FindReset(w.t.Context()); err != nil || !r.Empty() {
			t.Errorf("after the reset: %+v, %v", r, err)
		}
		left, err := a.in.client.Topics(w.t.Context())
		if err != nil || len(left) != 2 {
			t.Errorf("topics left: %v, %v", left, err)
		}
		if _, err := a.in.client.DescribeTopic(w.t.Context(), r.Application+"-counts-changelog"); !errors.Is(err, kafka.ErrUnknownTopic) {
			t.Errorf("the changelog: %v", err)
		}
	})
}
