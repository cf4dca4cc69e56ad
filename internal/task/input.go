package task

import (
	"fmt"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/window"
)

// earlyTimeName is the name under which a partition's highest event time rides in
// the metadata of its committed offset if it lies before 1970: for Kafka Streams a
// negative time there is one that is not known.
const earlyTimeName = "millrace.time"

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
	// generator makes the watermark of partition, unless that follows event times.
	// mark is what it has said of the record in process; kept is the watermark that
	// is committed of it, and keeping that of the commit in work.
	generator     processors.Generator
	mark          int64
	kept, keeping int64

	// next is the offset behind the last record processed, committed the one
	// of the last commit.
	next, committed int64
	ended           bool
	// ahead is set while the input is not read because it is too far ahead of
	// those that it is aligned with.
	ahead bool
	// rose is when its watermark was last seen to rise, at which it was then;
	// answered is set with the first answer.
	rose     time.Time
	roseTo   int64
	answered bool
}

func newInput(t *Task, index int, c InputConfig) *Input {
	in := &Input{
		task: t, index: index, config: c, source: t.instance.Source(c.Node), next: c.Offset, committed: c.Offset,
		mark: window.MinTime, kept: window.MinTime, keeping: window.MinTime, rose: t.now, roseTo: window.MinTime,
	}
	if c.Fresh {
		in.committed = -1
	}
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

// CommittedWatermark returns the watermark of a partition of a source as of an
// offset that some task has committed with this metadata; window.MinTime if it
// tells none.
func CommittedWatermark(s window.Strategy, metadata string) int64 {
	meta, err := codec.DecodeOffsetMetadata(metadata)
	if err != nil {
		return window.MinTime // of another program
	}
	c := window.NewPartitionClock(s)
	restoreClock(c, s, meta)
	return c.Watermark()
}

// restoreClock brings a partition's clock to what was committed.
func restoreClock(c *window.PartitionClock, s window.Strategy, meta codec.OffsetMetadata) {
	if meta.Time >= 0 {
		c.RestoreHighest(meta.Time)
	}
	if early, ok := meta.Processors[earlyTimeName]; ok {
		c.RestoreHighest(early)
	}
	if w, ok := meta.Processors[generatedName]; ok && s.Generates() {
		c.Restore(w)
	}
}

// generatedName is the name under which the watermark of a partition that has a
// generator rides in the metadata of its committed offset, since it does not
// follow from the highest event time.
const generatedName = "millrace.generated"

// restore sets the watermark to the one committed with the offset.
func (in *Input) restore(meta codec.OffsetMetadata, vector []byte) error {
	if in.partition != nil {
		restoreClock(in.partition, in.config.Strategy, meta)
		var err error
		in.generator, err = in.source.Generator(in.partition.Watermark())
		in.kept = in.generated()
		return err
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

// Aligned reports whether the input is aligned with others: with those of its
// group, and read at most within milliseconds ahead of the slowest of them.
func (in *Input) Aligned() (group int, within int64, ok bool) {
	if in.partition == nil {
		return 0, 0, false
	}
	within, ok = in.config.Strategy.AlignMillis()
	return in.config.Group, within, ok
}

// Waits reports whether inputs that are aligned with this one must not run ahead
// of it.
func (in *Input) Waits() bool { return in.partition != nil && in.partition.Waits() }

// SetAhead tells the input whether its owner does not read it because it is too
// far ahead of those that it is aligned with. It keeps a record back: the input
// is not idle, even if it was before that record came.
func (in *Input) SetAhead(ahead bool) {
	in.ahead = ahead
	if ahead && in.partition != nil && in.partition.Wake() {
		in.task.moved(in.index)
	}
}

// Ahead reports what SetAhead was told.
func (in *Input) Ahead() bool { return in.ahead }

// Heard reports whether there was an answer about the input since the task was
// made. Of a repartition input every upstream task must have been heard.
func (in *Input) Heard() bool {
	if in.upstreams == nil {
		return in.answered
	}
	heard, expected := in.upstreams.Heard()
	return heard == expected
}

// Rose returns when the input's watermark was last seen to rise: the time of the
// task's making if it has not risen since.
func (in *Input) Rose() time.Time { return in.rose }

// look takes note of the watermark's rise.
func (in *Input) look(now time.Time) {
	if w := in.clock().Watermark(); w > in.roseTo {
		in.rose, in.roseTo = now, w
	}
}

// Unheard returns the upstream tasks of a repartition input that no marker has
// come from yet.
func (in *Input) Unheard() []window.Upstream {
	if in.upstreams == nil {
		return nil
	}
	return in.upstreams.Unheard()
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
	in.next, in.answered = r.Offset+1, true
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
	in.mark = window.MinTime
	if err := in.run(r); err != nil {
		if err = t.judge(r, err); err != nil {
			return err
		}
	}
	if in.mark != window.MinTime && in.partition.Advance(in.mark) {
		t.moved(in.index)
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
	if err == nil && in.generator != nil {
		// The record is judged by the watermark before its own: the one that it
		// brings counts when it is processed.
		now := in.task.now.UnixMilli()
		mark := in.generator.Event(now)
		if err = in.partition.Check(mark, now); err == nil {
			in.mark = mark
		}
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
	in.next, in.answered = max(in.next, next), true
	if in.partition != nil && in.partition.Answered(now.UnixMilli(), atEnd) {
		in.task.moved(in.index)
	}
}

// Empty tells the input, behind Answered, that there is nothing to read, where its
// owner does not say so to have it wait a little for its first event.
func (in *Input) Empty() {
	if in.partition != nil {
		in.partition.Empty()
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

func (in *Input) tick(now time.Time) error {
	moved := false
	if in.partition != nil {
		moved = in.partition.Tick(now.UnixMilli())
	} else {
		moved = in.upstreams.Tick(now.UnixMilli())
	}
	if in.generator != nil {
		generated, err := in.generate(now.UnixMilli())
		if err != nil {
			return fmt.Errorf("task %v, input %v: %w", in.task.cfg.ID, in, err)
		}
		moved = moved || generated
	}
	if moved {
		in.task.moved(in.index)
	}
	in.look(now)
	return nil
}

// generate asks the generator for the watermark by the clock.
func (in *Input) generate(now int64) (moved bool, err error) {
	defer in.task.recovered(&err)
	w := in.generator.Tick(now)
	if err := in.partition.Check(w, now); err != nil {
		return false, &processors.NodeError{Node: in.task.rt.Node, Err: err}
	}
	return in.partition.Advance(w), nil
}

// generated is the watermark that a generator has made; MinTime without one.
func (in *Input) generated() int64 {
	if in.generator == nil {
		return window.MinTime
	}
	return in.partition.Durable()
}

// metadata is what goes with the input's committed offset.
func (in *Input) metadata() codec.OffsetMetadata {
	m := codec.OffsetMetadata{Time: -1, Processors: map[string]int64{}}
	if in.partition != nil {
		switch highest := in.partition.Highest(); {
		case highest >= 0:
			// Kafka Streams reads it as the partition's highest time.
			m.Time = highest
		case highest != window.MinTime:
			m.Processors[earlyTimeName] = highest
		}
		if w := in.generated(); w != window.MinTime {
			m.Processors[generatedName] = w
		}
	}
	if w := in.task.durable; w != window.MinTime {
		m.Processors[watermarkName] = w
	}
	if n := in.task.progress.number; n > 0 {
		m.Processors[numberName] = n
	}
	return m
}

// String returns "topic/partition".
func (in *Input) String() string { return fmt.Sprintf("%s/%d", in.config.Topic, in.config.Partition) }
