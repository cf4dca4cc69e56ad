package streams

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"strconv"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

const windowSize = 10 * time.Second

// counts is a topology with a repartition: events are counted by their keys in
// windows of ten seconds. adjust may put nodes between source and group.
func counts(t testing.TB, adjust ...func(topology.Stream[string, string]) topology.Stream[string, string]) *topology.Topology {
	t.Helper()
	return countsBy(t, window.BoundedDelay(5*time.Second).IdleAfter(10*time.Second), adjust...)
}

// countsBy is the counts topology with another strategy.
func countsBy(t testing.TB, s window.Strategy, adjust ...func(topology.Stream[string, string]) topology.Stream[string, string]) *topology.Topology {
	t.Helper()
	b := topology.New("counts")
	events := topology.Source(b, "events", codec.String, codec.String).EventTime(eventTime, s)
	for _, f := range adjust {
		events = f(events)
	}
	byKey := topology.GroupBy(events, codec.String, codec.String, func(r topology.Record[string, string]) string { return r.Key }, topology.Named("by-key"))
	windows := byKey.WindowedBy(window.Tumbling(windowSize).AllowedLateness(2 * time.Second)).Count(topology.Store("counts"))
	topology.MapValues(windows.Stream(), func(r topology.Record[string, int64]) (string, error) {
		return fmt.Sprint(r.Window.Start, " ", r.Value, " ", r.Pane.Final), nil
	}).To("results", codec.String, codec.String, topology.Replicated("counts"))
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// eventTime reads the time at the front of a value.
func eventTime(v string) int64 {
	var at int64
	fmt.Sscan(v, &at)
	return at
}

// count is an event of the counts topology.
func count(partition int32, key string, at time.Time) event {
	return event{"events", partition, key, strconv.FormatInt(at.UnixMilli(), 10), at}
}

// slot is a key in a window.
type slot struct {
	key   string
	start int64
}

// truth is how many events each key has in each window, by plain counting.
type truth map[slot]int64

func (t truth) add(events ...event) {
	size := windowSize.Milliseconds()
	for _, e := range events {
		at := eventTime(e.value)
		t[slot{e.key, at - at%size}]++
	}
}

// finals reads the final results, in the order of the topic.
func finals(records []*kgo.Record) (map[slot][]int64, error) {
	out := map[slot][]int64{}
	for _, r := range records {
		var start, n int64
		var final bool
		if _, err := fmt.Sscan(string(r.Value), &start, &n, &final); err != nil {
			return nil, fmt.Errorf("result %q: %w", r.Value, err)
		}
		if final {
			s := slot{string(r.Key), start}
			out[s] = append(out[s], n)
		}
	}
	return out, nil
}

// atLeastOnce compares results with the truth: no window is missing, none is
// made up, and no final value is below the truth. It returns how much was
// counted twice.
func (t truth) atLeastOnce(records []*kgo.Record) (repeats int64, err error) {
	got, err := finals(records)
	if err != nil {
		return 0, err
	}
	var errs []error
	for s, want := range t {
		if len(got[s]) == 0 {
			errs = append(errs, fmt.Errorf("key %s, window %d: no final result, want %d", s.key, s.start, want))
		}
		for _, n := range got[s] {
			if n < want {
				errs = append(errs, fmt.Errorf("key %s, window %d: final results %d, want at least %d", s.key, s.start, got[s], want))
				break
			}
			repeats = max(repeats, n-want)
		}
	}
	for s := range got {
		if t[s] == 0 {
			errs = append(errs, fmt.Errorf("key %s, window %d: a result without events", s.key, s.start))
		}
	}
	return repeats, errors.Join(errs...)
}

// expectExactly fails the test unless the final results are the truth.
func (w *world) expectExactly(t truth) {
	w.t.Helper()
	repeats, err := t.atLeastOnce(w.read("results"))
	if err != nil {
		w.t.Error(err)
	}
	if repeats > 0 {
		w.t.Errorf("up to %d events of a window were counted twice without a reason", repeats)
	}
}

// expectAtLeast fails the test if a final result is missing or too small.
func (w *world) expectAtLeast(t truth) {
	w.t.Helper()
	if _, err := t.atLeastOnce(w.read("results")); err != nil {
		w.t.Error(err)
	}
}

// expectOnce fails the test unless each window has one final result, the truth.
func (w *world) expectOnce(t truth) {
	w.t.Helper()
	results := w.read("results")
	if _, err := t.atLeastOnce(results); err != nil {
		w.t.Error(err)
	}
	if err := t.exactlyOnce(results); err != nil {
		w.t.Error(err)
	}
}

// logs are the changelog records that a test has read, by topic, with the markers
// of transactions.
type logs map[string][]*kgo.Record

// checkDisk compares the databases on a disk with their changelogs: a database
// at offset n holds what replaying the changelog up to n gives, and n is not
// behind the changelog's end. It reads Pebble and Kafka by itself. It returns
// how many stores had an offset.
func (w *world) checkDisk(disk vfs.FS, top *topology.Topology, changelogs logs) (found int, err error) {
	var errs []error
	for _, sub := range top.SubTopologies() {
		for partition := range int32(64) {
			dir := fmt.Sprintf("state/%d_%d", sub.ID, partition)
			if _, err := disk.Stat(dir); errors.Is(err, fs.ErrNotExist) {
				continue
			}
			entries, err := readPebble(disk, dir)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", dir, err))
				continue
			}
			for _, store := range sub.Changelogs() {
				topic := top.Application() + "-" + store + "-changelog"
				if changelogs[topic] == nil {
					changelogs[topic] = w.readMarkers(topic)
				}
				ok, err := compareStore(entries, store, partition, changelogs[topic])
				if err != nil {
					errs = append(errs, fmt.Errorf("%s: store %s: %w", dir, store, err))
				}
				if ok {
					found++
				}
			}
		}
	}
	return found, errors.Join(errs...)
}

// readPebble returns all entries of a database, or none if nothing of it was
// ever synced.
func readPebble(disk vfs.FS, dir string) (map[string][]byte, error) {
	desc, err := pebble.Peek(dir, disk)
	if err != nil || !desc.Exists {
		return nil, err
	}
	db, err := pebble.Open(dir, &pebble.Options{FS: disk, ReadOnly: true, Logger: silent{}})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	it, err := db.NewIter(nil)
	if err != nil {
		return nil, err
	}
	defer it.Close()
	entries := map[string][]byte{}
	for it.First(); it.Valid(); it.Next() {
		entries[string(it.Key())] = bytes.Clone(it.Value())
	}
	return entries, it.Error()
}

type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(f string, a ...any) {
	panic(fmt.Sprintf(f, a...))
}

// compareStore compares one store's entries with its changelog up to the
// store's offset; ok says that it has one.
func compareStore(entries map[string][]byte, store string, partition int32, log []*kgo.Record) (ok bool, err error) {
	h := fnv.New32a()
	h.Write([]byte(store))
	prefix := string(binary.BigEndian.AppendUint32(nil, h.Sum32()))
	own := map[string][]byte{}
	for k, v := range entries {
		if k[:4] == prefix {
			own[k] = v
		}
	}
	place, ok := entries["\x00\x00\x00\x00o"+prefix]
	if !ok {
		if len(own) > 0 {
			return false, fmt.Errorf("%d entries and no offset", len(own))
		}
		return false, nil
	}
	next := int64(binary.BigEndian.Uint64(place))
	want, end := replay(log, store, prefix, partition, next)
	if next > end {
		return true, fmt.Errorf("stands at offset %d, and its changelog ends at %d", next, end)
	}
	for k, v := range own {
		if w, ok := want[k]; !ok || !bytes.Equal(w, v) {
			return true, fmt.Errorf("at offset %d: entry %x is %x, and by the changelog %x", next, k, v, w)
		}
	}
	if len(own) != len(want) {
		return true, fmt.Errorf("at offset %d: %d entries, and by the changelog %d", next, len(own), len(want))
	}
	return true, nil
}

// replay returns what a database is to hold by the records before next.
func replay(log []*kgo.Record, store, prefix string, partition int32, next int64) (want map[string][]byte, end int64) {
	want = map[string][]byte{}
	for _, r := range log {
		if r.Partition != partition {
			continue
		}
		end = max(end, r.Offset+1)
		if r.Offset >= next || r.Attrs.IsControl() {
			continue
		}
		key := prefix + string(r.Key)
		value := binary.BigEndian.AppendUint64(nil, uint64(r.Timestamp.UnixMilli()))
		if store == "counts" { // windowed: the start comes first, with its sign flipped
			n := len(r.Key) - 12
			start := binary.BigEndian.Uint64(r.Key[n:])
			key = prefix + string(binary.BigEndian.AppendUint64(nil, start^(1<<63))) + string(r.Key[:n])
			for _, h := range r.Headers {
				value = append(value, h.Value...)
			}
		}
		if r.Value == nil {
			delete(want, key)
			continue
		}
		want[key] = append(value, r.Value...)
	}
	return want, end
}
