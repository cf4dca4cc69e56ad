package task

import (
	"fmt"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/window"
)

// Fetched is one record as it was read. Its bytes stay unchanged for as long
// as anybody refers to them.
type Fetched struct {
	Offset int64
	// Time is the record's timestamp in Unix milliseconds.
	Time       int64
	Key, Value []byte
	Headers    []processors.Header
}

// Input is one partition that a task reads.
type Input struct {
	task   *Task
	index  int
	config InputConfig
	source processors.Source
	// One of these is the input's watermark.
	partition *window.PartitionClock
	upstreams *window.Upstreams

	// next is the offset behind the last record processed, committed the one
	// of the last commit.
	next, committed int64
	ended           bool
}

func newInput(t *Task, index int, c InputConfig) *Input {
	in := &Input{task: t, index: index, config: c, source: t.instance.Source(c.Node), next: c.Offset, committed: c.Offset}
	if c.Upstream == nil {
		in.partition = window.NewPartitionClock(c.Strategy)
		return in
	}
	in.upstreams = window.NewUpstreams(c.Upstream)
	in.upstreams.UseOwnTime()
	return in
}

func (in *Input) clock() window.Input {
	if in.partition != nil {
		return in.partition
	}
	return in.upstreams
}

// restore sets the watermark to the one committed with the offset.
func (in *Input) restore(meta codec.OffsetMetadata, vector []byte) error {
	if in.partition != nil {
		if meta.Time >= 0 {
			in.partition.Restore(meta.Time - in.config.Strategy.DelayMillis())
		}
		return nil
	}
	if vector == nil {
		return nil
	}
	return in.upstreams.Restore(vector)
}

// Topic and Partition say which partition it is.
func (in *Input) Topic() string { return in.config.Topic }

// Partition returns the partition's number.
func (in *Input) Partition() int32 { return in.config.Partition }

// Next returns the offset behind the last record processed.
func (in *Input) Next() int64 { return in.next }

// Watermark returns the input's own watermark, and whether it is idle.
func (in *Input) Watermark() (w int64, idle bool) {
	c := in.clock()
	return c.Watermark(), c.Idle()
}

// Waiting returns the upstream tasks that hold a repartition input back.
func (in *Input) Waiting() []window.Upstream {
	if in.upstreams == nil {
		return nil
	}
	return in.upstreams.Waiting()
}

// Process runs one record through the task. Records come in offset order;
// gaps are allowed.
//
// A nil error means that the record is done with: processed, dropped, or sent
// to the dead-letter topic as the policy says. A [ReplayError] asks the owner
// to throw its tasks away. Any other error is final.
func (in *Input) Process(r *Fetched) error {
	t := in.task
	in.next = r.Offset + 1
	if in.upstreams != nil && r.Key == nil {
		return in.marker(r)
	}
	if !t.markers.begun {
		// A reader that has heard of no marker goes by the records' own times.
		if err := t.markers.send(t.now, false); err != nil {
			return err
		}
	}
	rt := t.rt
	rt.Position = processors.Position{Topic: in.config.Topic, Partition: in.config.Partition, Offset: r.Offset}
	rt.Touched, rt.Due = false, processors.DueResult{}
	if t.cfg.Skips != nil {
		if skip, ok := t.cfg.Skips.find(rt.Position); ok {
			return t.discard(r, skip.Policy, skip.Err)
		}
	}
	if err := in.run(r); err != nil {
		if err = t.judge(r, err); err != nil {
			return err
		}
	}
	return t.fire()
}

// run decodes the record, lets it move time, and sends it through the nodes.
func (in *Input) run(r *Fetched) (err error) {
	defer in.task.recovered(&err)
	at, headers := r.Time, r.Headers
	if in.upstreams != nil {
		at, headers = ownTime(r)
	}
	eventTime, err := in.source.Decode(r.Key, r.Value, at, headers)
	if err != nil {
		return err
	}
	if err := in.observe(eventTime); err != nil {
		return err
	}
	if m := &in.task.markers; m.idle && !in.task.tracker.Idle() {
		// Readers leave an idle task out of account: they must hear that it is
		// awake before they see what woke it.
		if err := m.send(in.task.now, false); err != nil {
			return err
		}
	}
	in.task.db.SetTime(eventTime)
	if err := in.source.Forward(); err != nil || in.task.rt.Verify == nil {
		return err
	}
	return in.task.rt.Verify()
}

// observe moves the input's watermark.
func (in *Input) observe(eventTime int64) error {
	if in.upstreams != nil {
		if in.upstreams.ObserveTime(eventTime) {
			in.task.moved(in.index)
		}
		return nil
	}
	moved, err := in.partition.Observe(eventTime, in.task.now.UnixMilli())
	if moved {
		in.task.moved(in.index)
	}
	if err != nil {
		return &processors.NodeError{Node: in.task.rt.Node, Err: err}
	}
	return nil
}

// marker takes note of an upstream task's watermark.
func (in *Input) marker(r *Fetched) error {
	for _, h := range r.Headers {
		if h.Key != window.MarkerHeader {
			continue
		}
		m, err := window.DecodeMarker(h.Value)
		if err == nil {
			var moved bool
			if moved, err = in.upstreams.Observe(m); moved {
				in.task.moved(in.index)
			}
		}
		if err != nil {
			in.task.cfg.Logger.Warn("watermark marker ignored", "task", in.task.cfg.ID,
				"topic", in.config.Topic, "partition", in.config.Partition, "offset", r.Offset, "error", err)
		}
		return in.task.fire()
	}
	in.task.cfg.Observer.Dropped(in.config.Topic, processors.DroppedNullKey)
	return nil
}

// Answered tells the input that its broker has answered: everything up to
// offset next has been handed to Process, and atEnd says that there was nothing
// more to read.
func (in *Input) Answered(now time.Time, next int64, atEnd bool) {
	in.next = max(in.next, next)
	if in.partition != nil && in.partition.Answered(now.UnixMilli(), atEnd) {
		in.task.moved(in.index)
	}
}

// Pause tells the input that it is not read for now, Resume that it is again.
func (in *Input) Pause() {
	if in.partition != nil && in.partition.Pause() {
		in.task.moved(in.index)
	}
}

// Resume ends what Pause began.
func (in *Input) Resume() {
	if in.partition != nil {
		in.partition.Resume()
	}
}

// ClockSet tells the input that the wall clock was set forward by d, or back if
// d is negative: how long it has been silent does not change by that.
func (in *Input) ClockSet(d time.Duration) {
	if in.partition != nil {
		in.partition.ClockSet(d.Milliseconds())
	}
}

// End tells an input of a bounded run that it is read to where the run stops.
// A repartition input ends by its markers instead.
func (in *Input) End() {
	if in.partition != nil && !in.ended {
		in.ended = true
		in.partition.End()
		in.task.moved(in.index)
	}
}

func (in *Input) tick(now time.Time) {
	moved := false
	if in.partition != nil {
		moved = in.partition.Tick(now.UnixMilli())
	} else {
		moved = in.upstreams.Tick(now.UnixMilli())
	}
	if moved {
		in.task.moved(in.index)
	}
}

// metadata is what goes with the input's committed offset.
func (in *Input) metadata() string {
	m := codec.OffsetMetadata{Time: -1}
	if in.partition != nil && in.partition.Durable() != window.MinTime {
		// Kafka Streams reads it as the partition's highest time.
		m.Time = in.partition.Durable() + in.config.Strategy.DelayMillis()
	}
	m.Processors = map[string]int64{}
	if w := in.task.durable; w != window.MinTime {
		m.Processors[watermarkName] = w
	}
	if n := in.task.progress.number; n > 0 {
		m.Processors[numberName] = n
	}
	return m.Encode()
}

// String returns "topic/partition".
func (in *Input) String() string { return fmt.Sprintf("%s/%d", in.config.Topic, in.config.Partition) }
