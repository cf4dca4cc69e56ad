package streams

import (
	"fmt"
	"sync"
	"time"

	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/window"
)

// TaskStatus is how far a running task has come, as of a moment ago.
type TaskStatus struct {
	Task processors.TaskID
	// Watermark is in Unix milliseconds; window.MinTime if nothing is known,
	// window.MaxTime at the end of a bounded run.
	Watermark int64
	// Since is when the watermark last rose, or the task began to run.
	Since  time.Time
	Inputs []InputStatus
	// Holder is the input, by its index, that the watermark waits for; -1 if all
	// are idle or have ended.
	Holder int
	// Idle: all inputs are idle. Clocked: the watermark then follows the clock.
	Idle, Clocked bool
	// Ended: a bounded run is over for the task, and committed.
	Ended bool
}

// InputStatus is how far one input partition of a task has come.
type InputStatus struct {
	Topic     string
	Partition int32
	// Next is the offset behind the last record processed.
	Next      int64
	Watermark int64
	// Since is when the watermark was last seen to rise, or the task began to run.
	Since time.Time
	// Idle: the partition has nothing to say for now and holds no window back.
	Idle bool
	// Heard: a broker has answered for the partition since the task began to run;
	// of a repartition, that every upstream task has told its watermark.
	Heard bool
	// Paused: the partition is not read for now, since it has run too far ahead of
	// PausedFor, "topic/partition", which it is aligned with.
	Paused    bool
	PausedFor string
	// Unreadable is why the partition cannot be read for now; empty if it can.
	Unreadable string
	// Waiting are the upstream tasks that hold a repartition input back, Unheard
	// those that have told no watermark yet.
	Waiting, Unheard []window.Upstream
}

// statusInterval is how old a status may be.
const statusInterval = 100 * time.Millisecond

// status keeps what queries and metrics may know of the running tasks.
type status struct {
	// observe is told of a task's new status, gone of the last status of a task
	// that ran here; both of how many input partitions of all tasks are idle, and
	// how many are paused by alignment.
	observe, gone func(st TaskStatus, idle, paused int)

	mu    sync.Mutex
	tasks map[processors.TaskID]TaskStatus
	taken map[processors.TaskID]time.Time
}

// update takes note of a task, unless it was done a moment ago.
func (s *status) update(r *running, now time.Time) {
	t := r.task
	ended := t.Ended() && !t.Dirty()
	s.mu.Lock()
	fresh := now.Sub(s.taken[t.ID()]) < statusInterval && s.tasks[t.ID()].Ended == ended
	s.mu.Unlock()
	if fresh {
		return
	}
	st := r.status()
	st.Ended = ended
	s.mu.Lock()
	s.tasks[t.ID()], s.taken[t.ID()] = st, now
	idle, paused := s.count()
	s.mu.Unlock()
	s.observe(st, idle, paused)
}

// expire makes every status count as old.
func (s *status) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.taken)
}

// status tells how far the task has come.
func (r *running) status() TaskStatus {
	t := r.task
	st := TaskStatus{Task: t.ID(), Watermark: t.Watermark(), Since: t.Rose(), Holder: t.Holder()}
	st.Idle, st.Clocked = t.Idle()
	for _, f := range r.feeds {
		in := f.input
		w, idle := in.Watermark()
		is := InputStatus{
			Topic: in.Topic(), Partition: in.Partition(), Next: in.Next(), Watermark: w, Since: in.Rose(), Idle: idle,
			Heard: in.Heard(), Paused: in.Ahead(), Waiting: in.Waiting(), Unheard: in.Unheard(),
		}
		if f.cause != nil {
			is.Unreadable = f.cause.Error()
		}
		if is.Paused {
			group, _, _ := in.Aligned()
			if tp, ok := r.worker.in.alignment.slowest(group); ok {
				is.PausedFor = fmt.Sprintf("%s/%d", tp.Topic, tp.Partition)
			}
		}
		st.Inputs = append(st.Inputs, is)
	}
	return st
}

// count counts the idle and the paused inputs. mu is held.
func (s *status) count() (idle, paused int) {
	for _, st := range s.tasks {
		for _, in := range st.Inputs {
			if in.Idle {
				idle++
			}
			if in.Paused {
				paused++
			}
		}
	}
	return idle, paused
}

func (s *status) forget(id processors.TaskID) {
	s.mu.Lock()
	last := s.tasks[id]
	delete(s.tasks, id)
	delete(s.taken, id)
	idle, paused := s.count()
	s.mu.Unlock()
	s.gone(last, idle, paused)
}

// all returns the statuses of the running tasks.
func (s *status) all() map[processors.TaskID]TaskStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[processors.TaskID]TaskStatus, len(s.tasks))
	for id, st := range s.tasks {
		out[id] = st
	}
	return out
}
