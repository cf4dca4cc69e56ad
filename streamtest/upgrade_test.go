package streamtest_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// second and third are later versions of what the stores of orders hold, which were
// JSON at first.
type (
	second struct{ Sum, Orders int64 }
	third  struct {
		Euros  float64
		Orders int64
	}
)

func firstToSecond() codec.Step {
	return codec.From(1, firstForm.codec, func(t first) (second, error) { return second{Sum: t.Sum}, nil })
}

func secondToThird() codec.Step {
	return codec.From(2, codec.Msgpack[second](), func(t second) (third, error) {
		return third{Euros: float64(t.Sum) / 100, Orders: t.Orders}, nil
	})
}

func secondForm(steps ...codec.Step) form[second] {
	return form[second]{
		codec: codec.Versioned(2, codec.Msgpack[second](), steps...),
		add:   func(t *second, n int64) { t.Sum, t.Orders = t.Sum+n, t.Orders+1 },
		sum:   func(t second) int64 { return t.Sum },
	}
}

func thirdForm(steps ...codec.Step) form[third] {
	return form[third]{
		codec: codec.Versioned(3, codec.JSON[third](), steps...),
		add:   func(t *third, n int64) { t.Euros, t.Orders = t.Euros+float64(n)/100, t.Orders+1 },
		sum:   func(t third) int64 { return int64(t.Euros*100 + 0.5) },
	}
}

// sums returns the sum under each key, and window, of the stores of orders.
func sums[T any](d *streamtest.Driver, f form[T]) string {
	var b strings.Builder
	for _, store := range versioned {
		if store == "calm" {
			continue
		}
		for _, e := range streamtest.Entries[string, T](d.Store(store)) {
			fmt.Fprintln(&b, store, e.Key, e.Window.Start, f.sum(e.Value), e.Time.Unix(), e.Final)
		}
	}
	for _, e := range streamtest.Entries[string, processors.Held[T]](d.Store("calm")) {
		fmt.Fprintln(&b, "calm", e.Key, e.Value.Time, f.sum(e.Value.Result.Value))
	}
	return b.String()
}

// commits lets an upgrade come to its end.
func commits(d *streamtest.Driver) {
	for range 4 * len(versioned) {
		d.Commit()
	}
}

// TestStateOfTheVersionBeforeIsTakenOver goes on from oldRun with programs of the
// second and the third version, from the disk and from changelogs alone: what they
// send is what the first version would have sent. At the end a program without steps
// goes on.
func TestStateOfTheVersionBeforeIsTakenOver(t *testing.T) {
	const more = 60
	for name, disks := range map[string][]streamtest.Option{"changelogs": nil, "disks": {streamtest.Pebble()}} {
		t.Run(name, func(t *testing.T) {
			from := func(dir string) []streamtest.Option {
				return append([]streamtest.Option{streamtest.From(dir)}, disks...)
			}
			truth := streamtest.New(t, build(t, orders(firstForm)), from(oldRun)...)
			same := func(what string, d *streamtest.Driver, got string) {
				t.Helper()
				if want := sums(truth, firstForm); got != want {
					t.Errorf("%s: stores hold\n%s\nwant\n%s", what, got, want)
				}
				if got, want := answers(d), answers(truth); got != want {
					t.Errorf("%s: it has sent\n%s\nwant\n%s", what, got, want)
				}
			}
			var log bytes.Buffer
			logs := streamtest.Logger(slog.New(slog.NewTextHandler(&log, nil)))

			s := secondForm(firstToSecond())
			d := streamtest.New(t, build(t, orders(s)), append(from(oldRun), logs)...)
			same("before an upgrade", d, sums(d, s))
			sendOrders(d, oldOrders, more)
			sendOrders(truth, oldOrders, more)
			same("second", d, sums(d, s))
			if n := strings.Count(log.String(), "all values are of the newest version"); n != len(versioned) {
				t.Errorf("%d stores are upgraded, want %d: %s", n, len(versioned), log.String())
			}
			dir := filepath.Join(t.TempDir(), "second")
			d.Save(dir)

			// The second step alone will do: nothing of the first version is left.
			th := thirdForm(secondToThird())
			d = streamtest.New(t, build(t, orders(th)), from(dir)...)
			sendOrders(d, oldOrders+more, more)
			sendOrders(truth, oldOrders+more, more)
			same("third", d, sums(d, th))
			dir = filepath.Join(t.TempDir(), "third")
			d.Save(dir)
			bare := thirdForm()
			d = streamtest.New(t, build(t, orders(bare)), from(dir)...)
			same("without steps", d, sums(d, bare))

			// Two steps at once.
			both := thirdForm(firstToSecond(), secondToThird())
			d = streamtest.New(t, build(t, orders(both)), from(oldRun)...)
			sendOrders(d, oldOrders, more)
			sendOrders(d, oldOrders+more, more)
			same("two steps", d, sums(d, both))
		})
	}
}

// refusedBy tries to go on from a saved run, and expects an error about a store.
func refusedBy[T any](t *testing.T, f form[T], dir string, parts ...string) {
	t.Helper()
	top := build(t, orders(f))
	for _, opts := range [][]streamtest.Option{{streamtest.From(dir)}, {streamtest.From(dir), streamtest.Pebble()}} {
		d, err := streamtest.Open(top, opts...)
		if err == nil {
			err = errors.Join(errors.New("it was taken"), d.Close())
		}
		for _, part := range append(parts, `store "totals"`, "No value was changed") {
			if !errors.Is(err, topology.ErrIncompatible) || !strings.Contains(err.Error(), part) {
				t.Errorf("error %v, want %q", err, part)
			}
		}
	}
}

// TestWhatCannotBeReadIsRefused: a step is missing, or the state is newer than the
// program, be it one without versions. Whoever can read it still can.
func TestWhatCannotBeReadIsRefused(t *testing.T) {
	refusedBy(t, thirdForm(secondToThird()), oldRun, "read in versions 2 to 3", "written in version 1", "the steps from version 1 on")
	refusedBy(t, secondForm(), oldRun, "written in version 1", "the steps from version 1 on")

	both := thirdForm(firstToSecond(), secondToThird())
	d := streamtest.New(t, build(t, orders(both)), streamtest.From(oldRun), streamtest.Pebble(), streamtest.CommitManually())
	d.Commit()
	half := filepath.Join(t.TempDir(), "half")
	d.Save(half) // one store is done, others have values of the first version
	refusedBy(t, thirdForm(), half, "read in version 3", "written in versions 1 to 3", "the steps from version 1 on")
	refusedBy(t, secondForm(firstToSecond()), half, "A newer program has written it")
	refusedBy(t, firstForm, half, "A newer program has written it")
	commits(d)
	whole := filepath.Join(t.TempDir(), "whole")
	d.Save(whole)
	refusedBy(t, secondForm(firstToSecond()), whole, "written in version 3", "A newer program has written it")
	refusedBy(t, firstForm, whole, "A newer program has written it")
	want := sums(d, both)
	bare := thirdForm()
	if got := sums(streamtest.New(t, build(t, orders(bare)), streamtest.From(whole), streamtest.Pebble()), bare); got != want {
		t.Errorf("the state has changed to\n%s, want\n%s", got, want)
	}
}

// TestAnUpgradeOutlivesCrashes crashes at each step of each commit of an upgrade,
// while orders come, and then again after it has begun anew.
func TestAnUpgradeOutlivesCrashes(t *testing.T) {
	const more = 12
	truth := streamtest.New(t, build(t, orders(firstForm)), streamtest.From(oldRun))
	for i := range more {
		sendOrders(truth, oldOrders+i, 1)
	}
	want := sums(truth, firstForm)
	both, bare := thirdForm(firstToSecond(), secondToThird()), thirdForm()
	top, without := build(t, orders(both)), build(t, orders(bare))
	steps := []streamtest.Step{streamtest.BeforeOutputs, streamtest.BeforeChangelog, streamtest.BeforeOffsets, streamtest.BeforeState, streamtest.AfterCommit}
	for _, step := range steps {
		for before := range 3 * len(versioned) {
			t.Run(fmt.Sprint(step, " of commit ", before), func(t *testing.T) {
				d := streamtest.New(t, top, streamtest.From(oldRun), streamtest.Pebble(), streamtest.CommitManually(), streamtest.Instances(1))
				for i := range more + 2*len(versioned) {
					if i == before {
						d.CrashAt(step)
						if step == streamtest.BeforeOffsets { // an order would count twice: at least once
							d.Commit()
						}
					}
					if i < more {
						sendOrders(d, oldOrders+i, 1)
					}
					d.Commit()
				}
				d.Crash()
				commits(d)
				if d.Crashes() != 1 {
					t.Fatalf("%d crashes", d.Crashes())
				}
				if got := sums(d, both); got != want {
					t.Errorf("stores hold\n%s\nwant\n%s", got, want)
				}
				dir := filepath.Join(t.TempDir(), "done")
				d.Save(dir)
				for _, opts := range [][]streamtest.Option{nil, {streamtest.Pebble()}} {
					if got := sums(streamtest.New(t, without, append(opts, streamtest.From(dir))...), bare); got != want {
						t.Errorf("without steps stores hold\n%s\nwant\n%s", got, want)
					}
				}
			})
		}
	}
}

// TestAnUpgradeGoesOnElsewhere moves the task and kills its instance in the middle.
func TestAnUpgradeGoesOnElsewhere(t *testing.T) {
	both, bare := thirdForm(firstToSecond(), secondToThird()), thirdForm()
	truth := streamtest.New(t, build(t, orders(firstForm)), streamtest.From(oldRun))
	d := streamtest.New(t, build(t, orders(both)), streamtest.From(oldRun), streamtest.Pebble(), streamtest.CommitManually(), streamtest.Instances(3))
	d.Commit()
	d.Move(0, 0, 1)
	d.Commit()
	sendOrders(d, oldOrders, 5)
	sendOrders(truth, oldOrders, 5)
	d.Kill(1)
	commits(d)
	want := sums(truth, firstForm)
	if got := sums(d, both); got != want {
		t.Errorf("stores hold\n%s\nwant\n%s", got, want)
	}
	dir := filepath.Join(t.TempDir(), "done")
	d.Save(dir)
	if got := sums(streamtest.New(t, build(t, orders(bare)), streamtest.From(dir)), bare); got != want {
		t.Errorf("without steps stores hold\n%s\nwant\n%s", got, want)
	}
}

// TestNothingIsNotedTooEarly: when the pass is over, two more commits are done before
// the third says that nothing is left. Values of keys that were deleted meanwhile are
// there until then, and the task's own store may be a commit ahead of the others.
func TestNothingIsNotedTooEarly(t *testing.T) {
	top := build(t, justTotals(secondForm(firstToSecond())))
	var log bytes.Buffer
	d := streamtest.New(t, top, streamtest.From(oldRun), streamtest.CommitManually(), streamtest.Logger(slog.New(slog.NewTextHandler(&log, nil))))
	said := func() bool { return strings.Contains(log.String(), "all values are of the newest version") }
	records := d.ChangelogRecords("totals")
	for i := range 3 {
		if said() {
			t.Errorf("it is said after %d commits", i)
		}
		d.Commit()
		if upgraded := d.ChangelogRecords("totals") - records; upgraded != 6 {
			t.Errorf("%d values upgraded after commit %d, want the 6 of the first", upgraded, i+1)
		}
	}
	if !said() {
		t.Error("nothing is said after the third commit")
	}
	d.Crash()
	log.Reset()
	d.Commit()
	if strings.Contains(log.String(), "upgrading values") {
		t.Errorf("it begins anew: %s", log.String())
	}
}

// justTotals is the part of orders with the store "totals".
func justTotals(f form[second]) func(b *topology.Builder) {
	return func(b *topology.Builder) {
		g := topology.Source(b, "orders", codec.String, codec.Int64).EventTime(nil, window.BoundedDelay(0)).GroupByKey(codec.String, codec.Int64)
		topology.AggregateTable(g, f.codec, topology.Aggregator[int64, second]{
			New: func() *second { return new(second) }, Add: func(s *second, n int64) error { f.add(s, n); return nil },
		}, topology.Store("totals"))
	}
}

// TestAStepThatFailsStopsTheApplication whatever the policy: no record is to blame.
func TestAStepThatFailsStopsTheApplication(t *testing.T) {
	broken := secondForm(codec.From(1, firstForm.codec, func(first) (second, error) { return second{}, errors.New("no idea") }))
	top := build(t, justTotals(broken))
	for name, act := range map[string]func(d *streamtest.Driver){
		"in the background": func(d *streamtest.Driver) { d.Commit() },
		"on a read":         func(d *streamtest.Driver) { sendOrders(d, oldOrders, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			d := streamtest.New(t, top, streamtest.From(oldRun), streamtest.CommitManually(), streamtest.OnError(topology.Skip))
			act(d)
			err := d.Err()
			if !errors.Is(err, codec.ErrUpgrade) || !strings.Contains(err.Error(), "no idea") || !strings.Contains(err.Error(), "customer-") {
				t.Errorf("error %v", err)
			}
		})
	}
}
