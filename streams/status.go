package streams

import (
	"sync"
	"time"

	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/window"
)

// TaskStatus is how far a running task has come, as of a moment ago.
type TaskStatus struct {
	Task processors.TaskID
	// Watermark is in Unix milliseconds; window.MinTime if nothing is known,
	// window.MaxTime at the end of a bounded run.
	Watermark int64
	Inputs    []InputStatus
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
	// Idle: the partition has nothing to say for now and holds no window back.
	Idle bool
	// Waiting are the upstream tasks that hold a repartition input back.
	Waiting []window.Upstream
}

// statusInterval is how old a status may be.
const statusInterval = 100 * time.Millisecond

// status keeps what queries and metrics may know of the running tasks.
type status struct {
	// observe is told of a task's new status, gone of the last status of a task
	// that ran here; both of how many input partitions of all tasks are idle.
	observe, gone func(st TaskStatus, idle int)

	mu    sync.Mutex
	tasks map[processors.TaskID]TaskStatus
	taken map[processors.TaskID]time.Time
}

// update takes note of a task, unless it was done a moment ago.
func (s *status) update(t *task.Task, now time.Time) {
	ended := t.Ended() && !t.Dirty()
	s.mu.Lock()
	fresh := now.Sub(s.taken[t.ID()]) < statusInterval && s.tasks[t.ID()].Ended == ended
	s.mu.Unlock()
	if fresh {
		return
	}
	st := TaskStatus{Task: t.ID(), Watermark: t.Watermark(), Ended: ended}
	for _, in := range t.Inputs() {
		w, idle := in.Watermark()
		st.Inputs = append(st.Inputs, InputStatus{
			Topic: in.Topic(), Partition: in.Partition(), Next: in.Next(), Watermark: w, Idle: idle, Waiting: in.Waiting(),
		})
	}
	s.mu.Lock()
	s.tasks[t.ID()], s.taken[t.ID()] = st, now
	idle := s.idle()
	s.mu.Unlock()
	s.observe(st, idle)
}

// expire makes every status count as old.
func (s *status) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.taken)
}

// idle counts the idle inputs. mu is held.
func (s *status) idle() (n int) {
	for _, st := range s.tasks {
		for _, in := range st.Inputs {
			if in.Idle {
				n++
			}
		}
	}
	return n
}

func (s *status) forget(id processors.TaskID) {
	s.mu.Lock()
	last := s.tasks[id]
	delete(s.tasks, id)
	delete(s.taken, id)
	idle := s.idle()
	s.mu.Unlock()
	s.gone(last, idle)
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
