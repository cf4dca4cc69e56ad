package streamtest

import (
	"errors"
	"fmt"

	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/window"
)

// Bounds beyond which a topology is taken not to come to rest, such as one that
// writes to its own source: so many records are processed, and as many more for
// each that was there to begin with. And so often it may be replayed, or be
// asked whether a bounded run has ended.
const (
	maxRounds  = 50_000
	maxEach    = 1_000
	maxReplays = 10_000
)

// settle does everything that there is to do at the clock's time: it reads all
// topics to their ends, lets time have its effect, and commits if that is how
// the driver was set up.
func (d *Driver) settle() {
	if d.batches > 0 || d.closed {
		return
	}
	rounds := maxRounds + maxEach*d.answer()
	for range rounds {
		if d.err != nil {
			return
		}
		if d.processNext() {
			continue
		}
		if !d.rest() {
			return
		}
	}
	d.stop(fmt.Errorf("streamtest: the topology does not come to rest after %d rounds: does it write to a topic that it reads?", rounds))
}

// rest does what is due when all topics are read, and reports whether there is
// more to do.
func (d *Driver) rest() (more bool) {
	d.answer()
	for _, r := range d.tasks {
		d.trace(r, TraceEvent{Kind: TraceTick})
		again, err := r.task.Tick(d.now)
		if err != nil {
			d.handle(r, err)
			return true
		}
		more = more || again
	}
	before := d.written
	d.flush()
	more = more || d.written > before
	if more || d.err != nil {
		return more
	}
	if d.cfg.commit == commitAtRest && d.dirty() {
		d.commit(false)
		return true
	}
	return false
}

// answer tells each input whether it is read to its end, as a broker's answer
// does, and returns how many records are left.
func (d *Driver) answer() (left int) {
	for _, r := range d.tasks {
		for _, in := range r.task.Inputs() {
			behind := len(d.topics[in.Topic()].partitions[in.Partition()]) - int(in.Next())
			left += behind
			atEnd := behind == 0
			d.trace(r, TraceEvent{Kind: TraceAnswer, Topic: in.Topic(), Partition: in.Partition(), AtEnd: atEnd, Ended: d.ending && atEnd})
			in.Answered(d.now, in.Next(), atEnd)
			if d.ending && atEnd {
				in.End()
			}
		}
	}
	return left
}

// processNext processes one record, and reports whether there was one.
func (d *Driver) processNext() bool {
	r, in, rec := d.choose()
	if in == nil {
		return false
	}
	d.traceRecord(r, TraceRead, in.Topic(), rec)
	f, spoil := rec.fetched(d.cfg.keepBytes)
	err := in.Process(&f)
	for i := range spoil {
		spoil[i] = poison
	}
	if err != nil {
		d.handle(r, err)
		return true
	}
	d.flush()
	if d.at(r.owner, AfterRecord) {
		return true
	}
	r.owner.processed++
	if d.cfg.commit == commitEvery && r.owner.processed >= d.cfg.every {
		d.commitInstance(r.owner, false)
	}
	return true
}

// align tells each input whether it may be read, or has run too far ahead of
// others that it is aligned with.
func (d *Driver) align() {
	for _, r := range d.tasks {
		for _, in := range r.task.Inputs() {
			group, _, ok := in.Aligned()
			if !ok {
				continue
			}
			if d.aligned[group] == nil {
				d.aligned[group] = &window.Alignment[place]{}
			}
			w, _ := in.Watermark()
			d.aligned[group].Set(place{in.Topic(), in.Partition()}, w, in.Waits())
		}
	}
	for _, r := range d.tasks {
		for _, in := range r.task.Inputs() {
			if group, within, ok := in.Aligned(); ok {
				w, _ := in.Watermark()
				waiting := d.topics[in.Topic()].at(in.Partition(), in.Next()) != nil
				in.SetAhead(waiting && w > d.aligned[group].Limit(within) && w != window.MaxTime)
			}
		}
	}
}

// choose returns the next record to process, and the task and input that read it.
func (d *Driver) choose() (by *running, input *task.Input, next *record) {
	d.align()
	ready := 0
	for _, r := range d.tasks {
		for _, in := range r.task.Inputs() {
			rec := d.topics[in.Topic()].at(in.Partition(), in.Next())
			if rec == nil || in.Ahead() {
				continue
			}
			ready++
			if d.rng != nil {
				// Each of those that are ready has the same chance.
				if d.rng.IntN(ready) == 0 {
					by, input, next = r, in, rec
				}
			} else if next == nil || rec.order < next.order {
				by, input, next = r, in, rec
			}
		}
	}
	return by, input, next
}

// handle acts on an error of a task.
func (d *Driver) handle(r *running, err error) {
	replay, ok := errors.AsType[*task.ReplayError](err)
	if !ok {
		d.stop(err)
		return
	}
	d.replays++
	if d.replays > maxReplays {
		d.stop(fmt.Errorf("streamtest: %d replays: %w", d.replays, err))
		return
	}
	d.skips.Add(replay)
	d.rebuild(r.owner, false)
}

// dirty reports whether a task has something to commit. A task at rest has upgraded
// its values, too.
func (d *Driver) dirty() bool {
	for _, r := range d.tasks {
		if r.task.Dirty() || r.task.Upgrading() {
			return true
		}
	}
	return false
}

// End is a bounded run's end: everything that was sent is processed, all inputs
// end, every window fires and closes, and the result is committed. If an instance
// crashes meanwhile, the clock moves on until others have repeated their watermark
// markers, which they do every 10 s. Nothing may be sent after it until Restart.
func (d *Driver) End() {
	d.ending = true
	for range maxRounds {
		d.settle()
		if d.err != nil {
			return
		}
		ended := d.ended()
		before := d.written
		d.commit(true)
		if ended && d.err == nil && d.ended() && d.written == before && !d.dirty() {
			if !d.finishCold() {
				continue
			}
			return
		}
		if d.written == before && !ended {
			// One that has crashed waits for others to repeat what they have said.
			d.now = d.now.Add(d.cfg.step)
		}
	}
	d.stop(fmt.Errorf("streamtest: the bounded run does not end: tasks %v wait", d.waiting()))
}

func (d *Driver) ended() bool { return len(d.waiting()) == 0 }

// waiting returns the tasks that have not ended.
func (d *Driver) waiting() []processors.TaskID {
	var ids []processors.TaskID
	for _, r := range d.tasks {
		if !r.task.Ended() {
			ids = append(ids, r.id)
		}
	}
	return ids
}
