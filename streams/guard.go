package streams

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
)

// A process that was stopped and wakes up may have changelog records on their
// way that arrive when another member has the task. No broker refuses them, and
// whoever restores from the changelog next would take them for the truth. So
// each task knows where its changelogs must end. If one ends elsewhere, the
// owner reads what is there and writes its own values of those keys again.
//
// It looks when it has written, when it gives the task away, and from time to
// time. What arrives when it has looked for the last time, because it crashes or
// hands the task over, is its successor's to find: the owner's last commit says
// who has made it and where the changelogs ended, and a restore ends before the
// first record behind that which is another producer's.

// guardInterval is how often the ends of changelogs that are not written to are
// looked at.
const guardInterval = 10 * time.Second

// mendRounds is how often a changelog is mended at a time, in case it is written
// to again meanwhile.
const mendRounds = 10

// guard looks at the ends of all changelogs of some tasks.
func (w *worker) guard(ctx context.Context, tasks []*running) error {
	var tps []kafka.TopicPartition
	for _, r := range tasks {
		for store := range r.ends {
			tps = append(tps, w.in.changelogOf(store, r.id))
		}
	}
	if len(tps) == 0 {
		return nil
	}
	ends, err := w.in.client.ListOffsets(ctx, kafka.Latest, tps...)
	if err != nil {
		return err
	}
	for _, r := range tasks {
		for store, want := range r.ends {
			if ends[w.in.changelogOf(store, r.id)] == want {
				continue
			}
			if r.ends[store], err = w.mend(ctx, r, store, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// affirm notes of stores that have not changed for a quarter of the time for which
// their changelogs keep deletes that they have everything: what is on the disk, and
// the checkpoints of it, would count as outdated when it is over. The changelog must
// end where the store stands, or at the control record behind that, and this member
// must be in the group: then nobody else has written to it.
func (w *worker) affirm(ctx context.Context) error {
	now := w.in.cfg.Clock()
	quiet := map[*running][]string{}
	var tps []kafka.TopicPartition
	for _, r := range w.tasks {
		for store, tp := range w.in.changelogsOf(w.in.currentPlan(), r.id) {
			_, appliedAt, ok := r.state.DB.Offset(store)
			keeps := cmp.Or(w.in.deleteRetention(tp.Topic), changelog.DefaultDeleteRetention)
			if ok && now.Sub(time.UnixMilli(appliedAt)) > keeps/4 {
				quiet[r] = append(quiet[r], store)
				tps = append(tps, tp)
			}
		}
	}
	if len(tps) == 0 {
		return nil
	}
	ends, err := w.in.client.ListOffsets(ctx, kafka.Latest, tps...)
	if err != nil {
		return err
	}
	var control int64
	if w.in.cfg.Guarantee == ExactlyOnce {
		control = 1
	}
	for r, names := range quiet {
		names = slices.DeleteFunc(names, func(store string) bool {
			next, _, _ := r.state.DB.Offset(store)
			beyond := ends[w.in.changelogOf(store, r.id)] - next
			return beyond < 0 || beyond > control
		})
		if len(names) == 0 {
			continue
		}
		if err := w.in.member.alive(ctx, r.epoch); err != nil {
			return err
		}
		if err := r.state.DB.Affirm(names, now.UnixMilli()); err != nil {
			return fmt.Errorf("task %v: %w", r.id, err)
		}
	}
	return nil
}

func (in *Instance) changelogOf(store string, id TaskID) kafka.TopicPartition {
	return kafka.TopicPartition{Topic: changelog.TopicName(in.cfg.Application, store), Partition: id.Partition}
}

// mend writes the task's own values of the keys that somebody else has written
// to its changelog, until the last record of each of them is the task's, and
// returns where the changelog then ends. changes are those of the commit under
// way, if there is one: they count for what the changelog is to hold.
func (w *worker) mend(ctx context.Context, r *running, store string, changes *stores.Changes) (end int64, err error) {
	tp := w.in.changelogOf(store, r.id)
	own := map[string]stores.LogRecord{}
	if changes != nil {
		for rec := range changes.Records(store) {
			own[string(rec.Key)] = rec
		}
	}
	for range mendRounds {
		var last map[string]stores.LogRecord
		if last, end, err = w.lastRecords(ctx, tp, r.ends[store]); err != nil {
			return 0, fmt.Errorf("changelog %v: %w", tp, err)
		}
		var wrong []stores.LogRecord
		for key, rec := range last {
			mine, ok := own[key]
			if !ok {
				if mine, err = r.state.DB.LogRecord(store, rec.Key); err != nil {
					return 0, err
				}
			}
			if !mine.Equal(rec) {
				wrong = append(wrong, mine)
			}
		}
		if len(wrong) == 0 {
			return end, nil
		}
		w.in.log.Warn("another process has written to the changelog of a task: overwriting it", "task", r.id.String(),
			"topic", tp.Topic, "partition", tp.Partition, "from", r.ends[store], "to", end, "keys", len(wrong))
		if err := w.in.member.alive(ctx, r.epoch); err != nil {
			return 0, err
		}
		for _, rec := range wrong {
			if err := w.log(tp, rec); err != nil {
				return 0, err
			}
		}
		if err := w.producer.Flush(ctx); err != nil {
			return 0, err
		}
		w.producer.TakeAck(tp)
	}
	return 0, fmt.Errorf("changelog %v is being written by another process: is another application running under the name %q?", tp, w.in.cfg.Application)
}

// lastRecords reads a changelog from an offset to its end and returns the last
// record of each key there.
func (w *worker) lastRecords(ctx context.Context, tp kafka.TopicPartition, from int64) (last map[string]stores.LogRecord, end int64, err error) {
	ends, err := w.in.client.ListOffsets(ctx, kafka.Latest, tp)
	if err != nil {
		return nil, 0, err
	}
	end = ends[tp]
	last = map[string]stores.LogRecord{}
	if end < from {
		w.in.log.Error("a changelog ends before what was written to it: its brokers have lost data, and a restore would lack it",
			"topic", tp.Topic, "partition", tp.Partition, "end", end, "written", from)
	}
	if end <= from {
		return last, end, nil
	}
	feed, err := w.in.reader.Open(tp.Topic, tp.Partition, from, 1<<20)
	if err != nil {
		return nil, 0, err
	}
	defer feed.Close()
	for next := from; next < end; {
		chunk, err := feed.Read(ctx)
		if err != nil {
			return nil, 0, err
		}
		for _, rec := range chunk.Records {
			last[string(rec.Key)] = rec.LogRecord
			end = max(end, rec.Offset+1)
		}
		next = chunk.Next
	}
	return last, end, nil
}

// log appends a record to a changelog.
func (w *worker) log(tp kafka.TopicPartition, rec stores.LogRecord) error {
	var headers []kafka.Header
	if rec.Header != nil {
		w.header[0].Value = rec.Header
		headers = w.header[:]
	}
	if err := w.tooLarge(tp.Topic, rec.Key, rec.Value, []processors.Header{{Key: stores.StateHeader, Value: rec.Header}}); err != nil {
		return fmt.Errorf("changelog %v: %w", tp, err)
	}
	err := w.producer.Send(tp.Topic, tp.Partition, rec.Key, rec.Value, task.Clamp(rec.Time, w.in.cfg.Clock()), headers)
	if err != nil {
		return fmt.Errorf("changelog %v: %w", tp, err)
	}
	return nil
}
