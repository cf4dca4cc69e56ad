package streams

import (
	"sync"

	"github.com/millrace/millrace/processors"
)

// State is where an instance is in its life.
type State string

// An instance goes from Created to Starting, then between Rebalancing,
// Restoring and Running, and at last to Stopping and then Stopped or Failed. It is
// Paused instead of Running after [Instance.Pause], and after [Instance.Drain]
// first Draining, then Drained when its last task is gone.
const (
	Created     State = "created"
	Starting    State = "starting"
	Rebalancing State = "rebalancing"
	Restoring   State = "restoring"
	Running     State = "running"
	Paused      State = "paused"
	Draining    State = "draining"
	Drained     State = "drained"
	Stopping    State = "stopping"
	Stopped     State = "stopped"
	Failed      State = "failed"
)

// TaskState is where a task of this instance is in its life here.
type TaskState string

// A task is restored and then runs; Closed ends its life on this instance.
const (
	TaskRestoring TaskState = "restoring"
	TaskRunning   TaskState = "running"
	TaskClosed    TaskState = "closed"
)

// TaskStandby is not a state of a task of this instance: others run the task, and
// a copy of its state is kept here.
const TaskStandby TaskState = "standby"

// lifecycle keeps the states and tells the listener, in order.
type lifecycle struct {
	listener Listener
	log      func(msg string, args ...any)
	// count is told how many tasks are in each state, and enter of the instance's
	// new state.
	count func(map[TaskState]int)
	enter func(State)
	// control is what the operator wants.
	control *control

	// telling is held while the listener is called; mu, the inner one, guards
	// the fields. Neither is held across a wait.
	telling sync.Mutex
	mu      sync.Mutex
	state   State
	tasks   map[processors.TaskID]TaskState
	// changed is closed, and replaced, when the state changes; nil if nobody
	// waits.
	changed chan struct{}
}

func (l *lifecycle) get() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// tell calls the listener while no other call to it is under way.
func (l *lifecycle) tell(call func(Listener)) {
	l.telling.Lock()
	defer l.telling.Unlock()
	call(l.listener)
}

// set changes the instance's state, unless it has ended.
func (l *lifecycle) set(to State) {
	l.telling.Lock()
	defer l.telling.Unlock()
	l.change(func() State { return to })
}

// change sets the state to what choose says of the fields. telling is held.
func (l *lifecycle) change(choose func() State) {
	l.mu.Lock()
	from, to := l.state, choose()
	ended := from == Stopped || from == Failed || from == Stopping && to != Stopped && to != Failed
	if from == to || ended {
		l.mu.Unlock()
		return
	}
	l.state = to
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
	l.mu.Unlock()
	l.enter(to)
	l.log("instance", "state", to, "was", from)
	if l.listener.State != nil {
		l.listener.State(from, to)
	}
}

// setTask changes a task's state, and with it the instance's: it runs when all
// its tasks run.
func (l *lifecycle) setTask(id processors.TaskID, s TaskState) {
	l.telling.Lock()
	defer l.telling.Unlock()
	l.mu.Lock()
	if l.tasks[id] == s || s == TaskClosed && l.tasks[id] == "" {
		l.mu.Unlock()
		return
	}
	if s == TaskClosed {
		delete(l.tasks, id)
	} else {
		l.tasks[id] = s
	}
	counts := map[TaskState]int{}
	for _, state := range l.tasks {
		counts[state]++
	}
	l.mu.Unlock()
	l.count(counts)
	l.log("task", "task", id.String(), "state", s)
	if l.listener.Task != nil {
		l.listener.Task(id, s)
	}
	l.change(l.meanwhile)
}

// meanwhile is the state that follows from the tasks', unless a rebalance is
// under way. mu is held.
func (l *lifecycle) meanwhile() State {
	if l.state == Rebalancing {
		return Rebalancing
	}
	return l.ofTasks()
}

// review sets the state anew after a wish of the operator's.
func (l *lifecycle) review() {
	l.telling.Lock()
	defer l.telling.Unlock()
	l.change(l.meanwhile)
}

// settle ends a rebalance: the instance's state is that of its tasks.
func (l *lifecycle) settle() {
	l.telling.Lock()
	defer l.telling.Unlock()
	l.change(l.ofTasks)
}

// ofTasks is the state that follows from the tasks' and from what the operator
// wants. mu is held.
func (l *lifecycle) ofTasks() State {
	switch l.state {
	case Running, Restoring, Rebalancing, Paused, Draining, Drained:
	default:
		return l.state
	}
	for _, s := range l.tasks {
		if s == TaskRestoring {
			return Restoring
		}
	}
	switch {
	case l.control.isTold() && len(l.tasks) == 0:
		return Drained
	case l.control.isDraining():
		return Draining
	case l.control.isPaused():
		return Paused
	}
	return Running
}

// watch reports whether the instance is in a state, and returns what is closed
// when that may have changed.
func (l *lifecycle) watch(s State) (changed <-chan struct{}, in bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.changed, l.state == s
}

// ended reports whether the instance stops or has stopped.
func (l *lifecycle) ended() bool {
	s := l.get()
	return s == Stopping || s == Stopped || s == Failed
}

// taskStates returns a copy of the tasks' states.
func (l *lifecycle) taskStates() map[processors.TaskID]TaskState {
	l.mu.Lock()
	defer l.mu.Unlock()
	states := make(map[processors.TaskID]TaskState, len(l.tasks))
	for id, s := range l.tasks {
		states[id] = s
	}
	return states
}
