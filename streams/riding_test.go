package streams

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/topology"
)

// kafka opens a client of the cluster for the test.
func (w *world) kafka() *kafka.Client {
	w.t.Helper()
	c, err := kafka.Open(w.t.Context(), kafka.Config{Brokers: w.cluster.Addrs(), Dial: w.cluster.Dial})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// truncate deletes the records of a partition before an offset.
func (w *world) truncate(topic string, partition int32, before int64) {
	w.t.Helper()
	c := w.kafka()
	defer c.Close()
	if err := c.DeleteRecords(w.t.Context(), map[kafka.TopicPartition]int64{{Topic: topic, Partition: partition}: before}); err != nil {
		w.t.Fatal(err)
	}
}

// widen gives a topic more partitions.
func (w *world) widen(topic string, partitions int32) {
	w.t.Helper()
	c := w.client()
	defer c.Close()
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.TimeoutMillis = 5000
	change := kmsg.NewCreatePartitionsRequestTopic()
	change.Topic, change.Count = topic, partitions
	req.Topics = append(req.Topics, change)
	resp, err := req.RequestWith(w.t.Context(), c)
	if err != nil || resp.Topics[0].ErrorCode != 0 {
		w.t.Fatal(err, resp)
	}
}

// copied is a topology without state: it copies values, and events without times
// of their own come with those of their records.
func copied(t *testing.T, opts ...topology.SourceOption) *topology.Topology {
	t.Helper()
	b := topology.New("copied")
	topology.Source(b, "events", codec.String, codec.String, opts...).To("results", codec.String, codec.String)
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// numbered returns events of one partition with the numbers from first on as
// values.
func numbered(first, n int) []event {
	events := make([]event, 0, n)
	for i := range n {
		events = append(events, event{"events", 0, "k", fmt.Sprint(first + i), time.Now()})
	}
	return events
}

// values returns the values of a topic, in order of the partitions.
func (w *world) values(topic string) (values []string) {
	for _, r := range w.read(topic) {
		values = append(values, string(r.Value))
	}
	return values
}

func numbers(first, n int) (values []string) {
	for i := range n {
		values = append(values, fmt.Sprint(first+i))
	}
	return values
}

// TestAnInputWhoseRecordsExpired stops an instance, and deletes what it has not
// read yet, but for the last ten records.
func TestAnInputWhoseRecordsExpired(t *testing.T) {
	for _, c := range []struct {
		app, source topology.OffsetReset
		want        []string // of what came after the stop
	}{
		{topology.DefaultReset, topology.DefaultReset, numbers(50, 10)},
		{topology.Earliest, topology.DefaultReset, numbers(50, 10)},
		{topology.Latest, topology.DefaultReset, nil},
		{topology.FailOnLoss, topology.Earliest, numbers(50, 10)},
		{topology.FailOnLoss, topology.DefaultReset, nil},
		{topology.Earliest, topology.FailOnLoss, nil},
	} {
		t.Run(fmt.Sprint(c.app, " ", c.source), func(t *testing.T) {
			inWorld(t, 1, map[string]int32{"events": 1, "results": 1}, func(w *world) {
				top := copied(t, topology.OnLostOffset(c.source))
				w.write(numbered(0, 20)...)
				disk := newDisk()
				a := w.start("a", disk, top, nil)
				w.until("all is copied", func() bool { return len(w.read("results")) == 20 })
				a.stop()
				w.write(numbered(20, 40)...)
				w.truncate("events", 0, 50)
				registry := prometheus.NewRegistry()
				var lost atomic.Int64
				b := w.start("b", disk, top, func(cfg *Config) {
					cfg.OffsetReset, cfg.Metrics = c.app, registry
					cfg.Listener.Lost = func(_ string, _ int32, from, to int64) { lost.Add(to - from) }
				})
				if c.source == topology.FailOnLoss || c.app == topology.FailOnLoss && c.source == topology.DefaultReset {
					err := b.result()
					for _, part := range []string{"from 20 to 50", "earliest", "millrace reset"} {
						if !errors.Is(err, ErrLostRecords) || !strings.Contains(err.Error(), part) {
							t.Errorf("error %v, want %q", err, part)
						}
					}
					return
				}
				w.until("it has gone on", func() bool { return lost.Load() > 0 })
				w.pass(time.Second)
				if n := b.next(); n != 60 {
					t.Errorf("read up to %d", n)
				}
				w.write(numbered(60, 1)...)
				want := slices.Concat(numbers(0, 20), c.want, numbers(60, 1))
				w.until("all is copied", func() bool { return len(w.read("results")) >= len(want) })
				if got := w.values("results"); !slices.Equal(got, want) {
					t.Errorf("results %v, want %v", got, want)
				}
				passed := float64(30)
				if len(c.want) == 0 {
					passed = 40
				}
				if got := gauge(t, registry, "millrace_expired_records_total", "events"); got != passed || float64(lost.Load()) != passed {
					t.Errorf("the metric says %v, the listener heard of %d, want %v", got, lost.Load(), passed)
				}
				b.stop()
				if n := w.log.count("records were deleted before they were read"); n != 1 {
					t.Errorf("logged %d times", n)
				}
				// The position moved with it: nothing is lost twice.
				again := w.start("again", disk, top, func(cfg *Config) { cfg.OffsetReset = topology.FailOnLoss })
				w.settled(1, again)
				w.pass(time.Second)
				again.stop()
			})
		})
	}
}

func TestWhereAnInputBeginsThatWasNeverRead(t *testing.T) {
	for reset, want := range map[topology.OffsetReset][]string{
		topology.Earliest: numbers(0, 6), topology.Latest: numbers(5, 1), topology.FailOnLoss: numbers(0, 6),
	} {
		t.Run(reset.String(), func(t *testing.T) {
			inWorld(t, 1, map[string]int32{"events": 1, "results": 1}, func(w *world) {
				w.write(numbered(0, 5)...)
				a := w.start("a", newDisk(), copied(t), func(c *Config) { c.OffsetReset = reset })
				w.settled(1, a)
				w.write(numbered(5, 1)...)
				w.until("all is copied", func() bool { return len(w.read("results")) >= len(want) })
				if got := w.values("results"); !slices.Equal(got, want) {
					t.Errorf("results %v, want %v", got, want)
				}
				a.stop()
			})
		})
	}
}

// TestAnInputThatIsAnotherTopicNow has offsets behind the end of a topic that was
// made anew.
func TestAnInputThatIsAnotherTopicNow(t *testing.T) {
	inWorld(t, 1, map[string]int32{"events": 1, "results": 1}, func(w *world) {
		w.write(numbered(0, 20)...)
		disk := newDisk()
		a := w.start("a", disk, copied(t), nil)
		w.until("all is copied", func() bool { return len(w.read("results")) == 20 })
		a.stop()
		c := w.kafka()
		defer c.Close()
		tp := kafka.TopicPartition{Topic: "events"}
		if err := c.AlterGroupOffsets(w.t.Context(), "copied", map[kafka.TopicPartition]kafka.Committed{tp: {Offset: 30}}); err != nil {
			t.Fatal(err)
		}
		err := w.start("b", disk, copied(t), nil).result()
		if !errors.Is(err, ErrLostRecords) || !strings.Contains(err.Error(), "made anew") || !strings.Contains(err.Error(), "millrace reset") {
			t.Errorf("error %v", err)
		}
	})
}

// remake deletes a topic and makes another of its name.
func (w *world) remake(topic string, partitions int32) {
	w.t.Helper()
	c := w.kafka()
	defer c.Close()
	d, err := c.DescribeTopic(w.t.Context(), topic)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := c.DeleteTopic(w.t.Context(), topic); err != nil {
		w.t.Fatal(err)
	}
	spec := kafka.TopicSpec{Name: topic, Partitions: partitions, Replication: 1, Configs: map[string]string{"cleanup.policy": d.Configs["cleanup.policy"]}}
	if _, err := c.CreateTopic(w.t.Context(), spec); err != nil {
		w.t.Fatal(err)
	}
}

// TestPartitionsThatAreAddedToAnInputAreRefused adds them while an instance
// runs, and starts another one after that.
func TestPartitionsThatAreAddedToAnInputAreRefused(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		l := w.startLoad(partitions, 20*time.Millisecond)
		a := w.start("a", newDisk(), counts(t), nil)
		w.settled(tasks, a)
		w.pass(time.Second)
		l.end()
		w.widen("events", partitions+2)
		began := time.Now()
		for name, err := range map[string]error{"at run time": a.result(), "at a start": w.start("b", a.disk, counts(t), nil).result()} {
			for _, part := range []string{`input "events" has 6 partitions`, `store "counts" was made for 4`, "copy the events", "millrace reset"} {
				if !errors.Is(err, ErrTopic) || !strings.Contains(err.Error(), part) {
					t.Errorf("%s: error %v, want %q", name, err, part)
				}
			}
		}
		if took := time.Since(began); took > 2*topicsInterval {
			t.Errorf("it took %v", took)
		}
	})
}

func TestPartitionsThatAreAddedWhereThereIsNoStateAreRead(t *testing.T) {
	inWorld(t, 1, map[string]int32{"events": 1, "results": 1}, func(w *world) {
		a := w.start("a", newDisk(), copied(t), nil)
		w.settled(1, a)
		w.widen("events", 3)
		w.settled(3, a)
		w.write(event{"events", 2, "k", "new", time.Now()})
		w.until("it is copied", func() bool { return slices.Contains(w.values("results"), "new") })
		a.stop()
	})
}

// damage is what a test does to the files of a task's database.
type damage struct {
	name string
	do   func(t *testing.T, disk vfs.FS, dir string)
}

// overwrite replaces the content of each file of a folder that match says, by
// what change makes of it.
func overwrite(t *testing.T, disk vfs.FS, dir string, match func(name string) bool, change func(b []byte) []byte) {
	t.Helper()
	names, err := disk.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	changed := 0
	for _, name := range names {
		if !match(name) {
			continue
		}
		path := disk.PathJoin(dir, name)
		f, err := disk.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		out, err := disk.Create(path, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = out.Write(change(b)); errors.Join(err, out.Sync(), out.Close()) != nil {
			t.Fatal(err)
		}
		changed++
	}
	if changed == 0 {
		t.Fatalf("%s has no such file: %v", dir, names)
	}
}

func flip(from, to int) func(b []byte) []byte {
	return func(b []byte) []byte {
		for i := from; i < min(to, len(b)); i++ {
			b[i] ^= 0xff
		}
		return b
	}
}

// TestADamagedStateFolderIsRestored damages the databases of a killed instance in
// many ways. It comes back each time, and counts each event once.
func TestADamagedStateFolderIsRestored(t *testing.T) {
	table := func(name string) bool { return strings.HasSuffix(name, ".sst") }
	manifest := func(name string) bool { return strings.HasPrefix(name, "MANIFEST") }
	marker := func(name string) bool { return strings.HasPrefix(name, "marker.manifest") }
	for _, d := range []damage{
		{"tables begin with other bytes", func(t *testing.T, disk vfs.FS, dir string) { overwrite(t, disk, dir, table, flip(0, 64)) }},
		{"tables are cut", func(t *testing.T, disk vfs.FS, dir string) {
			overwrite(t, disk, dir, table, func(b []byte) []byte { return b[:len(b)/2] })
		}},
		{"the manifest is cut", func(t *testing.T, disk vfs.FS, dir string) {
			overwrite(t, disk, dir, manifest, func(b []byte) []byte { return b[:len(b)/2] })
		}},
		{"the manifest is garbage", func(t *testing.T, disk vfs.FS, dir string) { overwrite(t, disk, dir, manifest, flip(0, 1000)) }},
		{"tables are missing", func(t *testing.T, disk vfs.FS, dir string) {
			names, err := disk.List(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				if table(name) {
					if err := disk.Remove(disk.PathJoin(dir, name)); err != nil {
						t.Fatal(err)
					}
				}
			}
		}},
		{"the marker is missing", func(t *testing.T, disk vfs.FS, dir string) {
			names, err := disk.List(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				if marker(name) {
					if err := disk.Remove(disk.PathJoin(dir, name)); err != nil {
						t.Fatal(err)
					}
				}
			}
		}},
		{"a file in place of the folder", func(t *testing.T, disk vfs.FS, dir string) {
			f, err := disk.Create("other", vfs.WriteCategoryUnspecified)
			if err = errors.Join(err, f.Close(), disk.RemoveAll(dir), disk.Rename("other", dir)); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(d.name, func(t *testing.T) {
			inWorld(t, 1, topics(), func(w *world) {
				top, want := counts(t), truth{}
				events := spread(400, partitions, time.Now().Add(-time.Minute))
				want.add(events...)
				w.write(events[:200]...)
				a := w.start("a", newDisk(), top, nil)
				w.settled(tasks, a)
				w.until("it has read them", func() bool { return a.next() >= 400 })
				w.pass(time.Second)
				a.stop()
				for n := range partitions {
					d.do(t, a.disk, fmt.Sprintf("state/1_%d", n))
				}
				registry := prometheus.NewRegistry()
				b := w.start("b", a.disk, top, func(c *Config) { c.Metrics = registry })
				w.settled(tasks, b)
				w.write(events[200:]...)
				w.pass(2 * time.Second)
				w.settled(tasks, b)
				b.stop()
				w.drain()
				w.expectExactly(want)
				if w.log.count("local state is corrupt")+w.log.count("restoring a store from its changelog's start") <= tasks {
					t.Error("nothing was restored")
				}
				if _, err := w.checkDisk(b.disk, top, logs{}); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestAStateFolderOfAnotherClusterIsRestored brings the disk of one cluster to
// another, in which the changelogs are others.
func TestAStateFolderOfAnotherClusterIsRestored(t *testing.T) {
	disk := newDisk()
	inWorld(t, 1, topics(), func(w *world) {
		w.write(spread(300, partitions, time.Now().Add(-time.Minute))...)
		a := w.start("a", disk, counts(t), nil)
		w.settled(tasks, a)
		w.pass(2 * time.Second)
		a.stop()
	})
	inWorld(t, 1, topics(), func(w *world) {
		want := truth{}
		events := spread(100, partitions, time.Now().Add(-time.Minute))
		want.add(events...)
		w.write(events...)
		a := w.start("a", disk, counts(t), nil)
		w.settled(tasks, a)
		w.pass(2 * time.Second)
		a.stop()
		w.drain()
		w.expectExactly(want)
		if w.log.count("the topic was made anew") == 0 {
			t.Error("the log does not say why")
		}
	})
}

// TestAChangelogThatWasTruncatedOrMadeAnewIsFollowed starts with a disk that the
// changelog does not go on from.
func TestAChangelogThatWasTruncatedOrMadeAnewIsFollowed(t *testing.T) {
	for name, spoil := range map[string]func(w *world){
		"the log was truncated past it": func(w *world) {
			for n := range int32(partitions) {
				end := int64(0)
				for _, info := range w.cluster.Fake().PartitionInfos("counts-counts-changelog") {
					if info.Partition == n {
						end = info.HighWatermark
					}
				}
				w.truncate("counts-counts-changelog", n, end)
			}
		},
		"the topic was made anew": func(w *world) { w.remake("counts-counts-changelog", partitions) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, topics(), func(w *world) {
				top := counts(t)
				w.write(spread(100, partitions, time.Now().Add(-2*time.Minute))...)
				old := newDisk()
				a := w.start("a", old, top, nil)
				w.settled(tasks, a)
				w.pass(time.Second)
				a.stop()
				w.write(spread(200, partitions, time.Now().Add(-time.Minute))...)
				b := w.start("b", newDisk(), top, nil)
				w.settled(tasks, b)
				w.pass(time.Second)
				b.stop()
				spoil(w)
				c := w.start("c", old, top, nil)
				w.settled(tasks, c)
				// Windows that begin after it are whole.
				want := truth{}
				events := spread(100, partitions, time.Now().Truncate(windowSize).Add(windowSize))
				want.add(events...)
				w.write(events...)
				w.pass(2 * time.Second)
				c.stop()
				if w.log.count("level=WARN msg=\"restoring a store from its changelog's start\"") == 0 || w.log.count(name) == 0 {
					t.Error("the log does not say so")
				}
				w.drain()
				if got, err := finals(w.read("results")); err != nil {
					t.Error(err)
				} else {
					for s, n := range want {
						if !slices.Equal(got[s], []int64{n}) {
							t.Errorf("key %s, window %d: %v, want %d", s.key, s.start, got[s], n)
						}
					}
				}
				if _, err := w.checkDisk(c.disk, top, logs{}); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// storageOn returns a storage over a file system that a test breaks.
func storageOn(t *testing.T, fs vfs.FS) Storage {
	t.Helper()
	s, err := NewPebbleStorage("state", fs, 8<<20, 8, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// filling is a storage whose disk becomes full: what Pebble makes of that is told
// by the tests of stores, and a bubble cannot hold the goroutines that a dead
// Pebble leaves.
type filling struct {
	Storage
	full *atomic.Bool
}

type fillingEngine struct {
	stores.Engine
	full *atomic.Bool
	fail func(error)
	dir  string
}

func (f filling) Open(id TaskID, onFailure func(error)) (stores.Engine, error) {
	e, err := f.Storage.Open(id, onFailure)
	return fillingEngine{e, f.full, onFailure, "state/" + id.String()}, err
}

func (e fillingEngine) Apply(b *stores.Batch) error {
	if !e.full.Load() {
		return e.Engine.Apply(b)
	}
	err := fmt.Errorf("%w: %s: %w", stores.ErrDead, e.dir, syscall.ENOSPC)
	e.fail(err)
	return err
}

// TestAFullDiskStopsTheInstanceWithItsPath fills the disk while an instance runs,
// makes room, and starts again on what is there.
func TestAFullDiskStopsTheInstanceWithItsPath(t *testing.T) {
	for _, guarantee := range []Guarantee{AtLeastOnce, ExactlyOnce} {
		t.Run(string(guarantee), func(t *testing.T) {
			inWorld(t, 1, topics(), func(w *world) {
				w.guarantee = guarantee
				l := w.startLoad(partitions, 20*time.Millisecond)
				var full atomic.Bool
				disk := newDisk()
				var told heardStates
				a := w.start("a", newDisk(), counts(t), func(c *Config) {
					c.Storage.Close()
					c.Storage = filling{storageOn(t, disk), &full}
					told.listen(c)
				})
				w.settled(tasks, a)
				w.pass(2 * time.Second)
				full.Store(true)
				err := a.result()
				if !errors.Is(err, syscall.ENOSPC) || !errors.Is(err, stores.ErrDead) || !strings.Contains(err.Error(), "state/") {
					t.Errorf("error %v", err)
				}
				if !told.has(Failed) || w.log.count("instance failed") != 1 {
					t.Error("the listener or the log did not hear of it")
				}
				b := w.start("b", disk, counts(t), nil)
				w.settled(tasks, b)
				want := l.end()
				b.stop()
				w.drain()
				w.expectAtLeast(want)
				if guarantee == ExactlyOnce {
					w.expectOnce(want)
				}
				if _, err := w.checkDisk(disk, counts(t), logs{}); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// slowFS is a file system on which making a table takes its time. Pebble holds no
// lock meanwhile, which would keep virtual time from going on.
type slowFS struct {
	vfs.FS
	takes time.Duration
}

func (f slowFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasSuffix(name, ".sst") {
		time.Sleep(f.takes)
	}
	return f.FS.Create(name, c)
}

func TestASlowDiskDelaysAndLosesNothing(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		l := w.startLoad(partitions, 20*time.Millisecond)
		a := w.start("a", newDisk(), counts(t), func(c *Config) {
			c.Storage.Close()
			c.Storage = storageOn(t, slowFS{newDisk(), 700 * time.Millisecond})
		})
		w.settled(tasks, a)
		w.pass(10 * time.Second)
		if n := w.log.count("expelled from the group"); n > 0 {
			t.Errorf("expelled %d times", n)
		}
		want := l.end()
		a.stop()
		w.drain()
		w.expectExactly(want)
	})
}

// TestAClockThatIsSetLosesNothing sets the clock of an instance forward and back
// by half an hour. No event is late by that, and commits go on.
func TestAClockThatIsSetLosesNothing(t *testing.T) {
	for _, jump := range []time.Duration{30 * time.Minute, -30 * time.Minute} {
		t.Run(jump.String(), func(t *testing.T) {
			inWorld(t, 1, topics(), func(w *world) {
				l := w.startLoad(partitions, 20*time.Millisecond)
				var set atomic.Int64
				var commits atomic.Int32
				a := w.start("a", newDisk(), counts(t), func(c *Config) {
					c.Clock = func() time.Time { return time.Now().Add(time.Duration(set.Load())) }
					c.Listener.Committed = func([]TaskID) { commits.Add(1) }
				})
				w.settled(tasks, a)
				w.pass(3 * time.Second)
				set.Store(int64(jump))
				before := commits.Load()
				w.pass(3 * time.Second)
				if n := commits.Load() - before; n < 5 {
					t.Errorf("%d commits in 3 s", n)
				}
				for _, st := range a.in.Watermarks() {
					for _, in := range st.Inputs {
						if in.Idle {
							t.Errorf("input %s/%d is idle", in.Topic, in.Partition)
						}
					}
				}
				want := l.end()
				w.pass(time.Second)
				a.stop()
				w.drain()
				w.expectExactly(want)
				if w.log.count("the clock was set") == 0 {
					t.Error("the log does not say so")
				}
			})
		})
	}
}

// TestAChangelogThatIsDeletedAtRunTimeStopsTheInstance says which it was.
func TestAChangelogThatIsDeletedAtRunTimeStopsTheInstance(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		w.startLoad(partitions, 20*time.Millisecond)
		a := w.start("a", newDisk(), counts(t), nil)
		w.settled(tasks, a)
		w.pass(time.Second)
		c := w.kafka()
		defer c.Close()
		if err := c.DeleteTopic(context.Background(), "counts-counts-changelog"); err != nil {
			t.Fatal(err)
		}
		if err := a.result(); !errors.Is(err, kafka.ErrUnknownTopic) || !strings.Contains(err.Error(), "counts-counts-changelog") {
			t.Errorf("error %v", err)
		}
		if n := w.log.count("throwing tasks away"); n > 2 {
			t.Errorf("it threw its tasks away %d times", n)
		}
	})
}
