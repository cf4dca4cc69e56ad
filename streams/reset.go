package streams

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/topology"
)

// ErrLostRecords is wrapped by the errors of inputs whose records are gone, or
// whose topic is another one than that which was read before.
var ErrLostRecords = errors.New("streams: records are gone that were not read")

// resetOf returns where an input goes on if its position is lost. A repartition
// is the application's own: everything in it counts.
func (in *Instance) resetOf(c task.InputConfig) topology.OffsetReset {
	if c.Upstream != nil {
		return topology.Earliest
	}
	return cmp.Or(c.Reset, in.cfg.OffsetReset)
}

// beginning returns where an input begins that was never read, as ListOffsets
// takes it.
func (in *Instance) beginning(c task.InputConfig) int64 {
	switch {
	case c.Upstream == nil && !in.cfg.From.IsZero():
		return max(0, in.cfg.From.UnixMilli())
	case in.resetOf(c) == topology.Latest:
		return kafka.Latest
	}
	return kafka.Earliest
}

// lost decides where an input goes on whose position is not in the log any more.
// Before the log's start the records were deleted before they were read, and the
// input's reset counts; behind its end it is another log, which the state does not
// stand for.
func (w *worker) lost(r *running, f *feed, d *kafka.Delivery) error {
	ctx, tp := w.in.limit, d.TopicPartition
	ends, err := w.in.client.ListOffsets(ctx, kafka.Latest, tp)
	if err != nil {
		return err
	}
	starts, err := w.in.client.ListOffsets(ctx, kafka.Earliest, tp)
	if err != nil {
		return err
	}
	from, start, end := f.input.Next(), starts[tp], ends[tp]
	if from > end {
		return fmt.Errorf("%w: task %v: input %v ends at %d, before the committed offset %d: the topic was made anew, or its brokers lost data; reset the application with 'millrace reset': %w",
			ErrLostRecords, r.id, f.input, end, from, d.Err)
	}
	if from >= start { // it has grown meanwhile
		w.in.fetcher.Seek(tp, from)
		return nil
	}
	reset, to := f.reset, start
	switch reset {
	case topology.FailOnLoss:
		return fmt.Errorf("%w: task %v: input %v: the records from %d to %d were deleted before they were read: raise the topic's retention; to go on without them start once with the offset reset earliest (offset_reset, topology.OnLostOffset), to begin anew use 'millrace reset': %w",
			ErrLostRecords, r.id, f.input, from, start, d.Err)
	case topology.Latest:
		to, w.fresh = end, true
	}
	w.in.log.Error("records were deleted before they were read", "task", r.id.String(), "topic", tp.Topic, "partition", tp.Partition,
		"from", from, "to", start, "reset", reset.String(), "next", to)
	w.in.metrics.expiredRecords.WithLabelValues(tp.Topic).Add(float64(to - from))
	w.in.life.tell(func(l Listener) {
		if l.Lost != nil {
			l.Lost(tp.Topic, tp.Partition, from, to)
		}
	})
	f.answered(w.arrived(d), to, false)
	w.in.fetcher.Seek(tp, to)
	return nil
}
