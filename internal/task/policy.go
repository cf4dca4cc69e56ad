package task

import (
	"bytes"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// ReplayError asks the owner of a task to throw away every task of its
// commit, add the record to its Skips, and begin again from the committed
// offsets: user code failed after the record had changed live objects, which
// cannot be taken back in place.
type ReplayError struct {
	Position processors.Position
	// Result is set if no record failed but a result that time had made due,
	// and Position is that of the last record; Task is whose it is.
	Result *processors.DueResult
	Task   processors.TaskID
	// Suspect is set if a commit could not encode an aggregate. Nothing is left
	// out then: the replay finds the record or result that is to blame, and asks
	// for another one without it.
	Suspect *Suspect
	// Policy is Skip or DeadLetter.
	Policy processors.ErrorPolicy
	Err    error
}

// Suspect is an aggregate that could not be encoded, by its changelog key.
type Suspect struct {
	Store, Key string
}

// Error names the record and the cause.
func (e *ReplayError) Error() string {
	if e.Suspect != nil {
		return fmt.Sprintf("task %v: replay to find what cannot be encoded: %v", e.Task, e.Err)
	}
	if e.Result != nil {
		return fmt.Sprintf("task %v: replay without the result of node %q for key %q, window %d: %v",
			e.Task, e.Result.Node, e.Result.Key, e.Result.Start, e.Err)
	}
	return fmt.Sprintf("replay without %v: %v", e.Position, e.Err)
}

// Unwrap returns the cause.
func (e *ReplayError) Unwrap() error { return e.Err }

// Skips are the records and results that a replay leaves out, and the aggregates
// that it keeps an eye on. Records are kept until a commit has passed them, over
// any number of replays, the others until the next commit of their task. One
// goroutine uses it.
type Skips struct {
	records  map[processors.Position]*ReplayError
	due      map[skippedResult]struct{}
	suspects map[processors.TaskID][]Suspect
}

// skippedResult names a result.
type skippedResult struct {
	task      processors.TaskID
	node, key string
	start     int64
}

// Add notes the record, result or aggregate that e is about.
func (s *Skips) Add(e *ReplayError) {
	if e.Suspect != nil {
		if s.suspects == nil {
			s.suspects = map[processors.TaskID][]Suspect{}
		}
		s.suspects[e.Task] = append(s.suspects[e.Task], *e.Suspect)
		return
	}
	if r := e.Result; r != nil {
		if s.due == nil {
			s.due = map[skippedResult]struct{}{}
		}
		s.due[skippedResult{e.Task, r.Node, string(r.Key), r.Start}] = struct{}{}
		return
	}
	if s.records == nil {
		s.records = map[processors.Position]*ReplayError{}
	}
	s.records[e.Position] = e
}

func (s *Skips) find(p processors.Position) (*ReplayError, bool) {
	e, ok := s.records[p]
	return e, ok
}

// Passed forgets the records of a partition before the committed offset.
func (s *Skips) Passed(topic string, partition int32, offset int64) {
	for p := range s.records {
		if p.Topic == topic && p.Partition == partition && p.Offset < offset {
			delete(s.records, p)
		}
	}
}

// results returns which results of a task are left out, or nil if none are.
func (s *Skips) results(task processors.TaskID) func(processors.DueResult) bool {
	for r := range s.due {
		if r.task == task {
			return func(r processors.DueResult) bool {
				_, ok := s.due[skippedResult{task, r.Node, string(r.Key), r.Start}]
				return ok
			}
		}
	}
	return nil
}

// committed forgets the results and aggregates of a task.
func (s *Skips) committed(task processors.TaskID) {
	delete(s.suspects, task)
	for r := range s.due {
		if r.task == task {
			delete(s.due, r)
		}
	}
}

// Len returns how many records and results are left out.
func (s *Skips) Len() int { return len(s.records) + len(s.due) }

// PanicError is a panic of user code.
type PanicError struct {
	Value any
	Stack []byte
}

// Error returns the panic's value.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// recovered, deferred, turns a panic into an error of the node that was
// running.
func (t *Task) recovered(err *error) {
	if p := recover(); p != nil {
		*err = &processors.NodeError{Node: t.rt.Node, Err: &PanicError{Value: p, Stack: debug.Stack()}}
	}
}

// policy returns what to do about err. Errors that no record is to blame for
// are Fail whatever the policy.
func (t *Task) policy(err error) (processors.ErrorPolicy, error) {
	ne, ok := errors.AsType[*processors.NodeError](err)
	if !ok {
		return processors.Fail, err
	}
	for _, broken := range []error{stores.ErrDead, stores.ErrClosed, stores.ErrCorrupt, stores.ErrProtocol, processors.ErrOutlet, codec.ErrVersion, codec.ErrUpgrade} {
		if errors.Is(err, broken) {
			return processors.Fail, err
		}
	}
	p := ne.Node.Policy
	if p == processors.DefaultPolicy {
		p = t.cfg.Policy
	}
	if p == processors.DefaultPolicy {
		p = processors.Fail
	}
	return p, err
}

// judge decides on a record that could not be handled.
func (t *Task) judge(r *Fetched, err error) error {
	policy, err := t.policy(err)
	switch {
	case policy == processors.Fail:
		return fmt.Errorf("task %v at %v: %w", t.cfg.ID, t.rt.Position, err)
	case t.rt.Due.Node != "":
		// A result had to go first, and failed: the record is not to blame.
		return t.replayResult(policy, err)
	case t.rt.Touched:
		return &ReplayError{Position: t.rt.Position, Task: t.cfg.ID, Policy: policy, Err: err}
	}
	return t.discard(r, policy, err)
}

// replayResult asks for a replay without the result in flight. An error of
// nothing that can be left out is final.
func (t *Task) replayResult(policy processors.ErrorPolicy, err error) error {
	due := t.rt.Due
	if due.Node == "" {
		return fmt.Errorf("task %v, at watermark %s: %w", t.cfg.ID, window.FormatTime(t.rt.Watermark), err)
	}
	due.Key = bytes.Clone(due.Key)
	return &ReplayError{Position: t.rt.Position, Result: &due, Task: t.cfg.ID, Policy: policy, Err: err}
}

// verify checks the aggregates that the commit before the replay could not
// encode. The first record or result after which one of them cannot be encoded
// is to blame.
func (t *Task) verify() error {
	for _, s := range t.suspects {
		if err := t.db.Check(s.Store, []byte(s.Key)); err != nil {
			t.rt.Touched = true
			return &processors.NodeError{Node: t.rt.Owner(s.Store), Err: err}
		}
	}
	return nil
}

// unencodable decides on an aggregate that a commit could not encode. If nothing
// was to blame for it in a replay that looked out for it, the error is final.
func (t *Task) unencodable(err error) error {
	final := fmt.Errorf("task %v: collect: %w", t.cfg.ID, err)
	e, ok := errors.AsType[*stores.EncodeError](err)
	if !ok || t.rt.Owner(e.Store) == nil {
		return final
	}
	policy, err := t.policy(&processors.NodeError{Node: t.rt.Owner(e.Store), Err: err})
	suspect := Suspect{Store: e.Store, Key: string(e.Key)}
	if policy == processors.Fail || slices.Contains(t.suspects, suspect) {
		return fmt.Errorf("task %v: commit: %w", t.cfg.ID, err)
	}
	return &ReplayError{Position: t.rt.Position, Task: t.cfg.ID, Suspect: &suspect, Policy: policy, Err: err}
}

// discard counts the record and, if the policy says so, sends it to the
// dead-letter topic.
func (t *Task) discard(r *Fetched, policy processors.ErrorPolicy, cause error) error {
	reason := processors.DroppedError
	if policy == processors.DeadLetter {
		reason = processors.DroppedDeadLetter
		if err := t.deadLetter(r, cause); err != nil {
			return fmt.Errorf("task %v at %v: dead letter: %w (for: %w)", t.cfg.ID, t.rt.Position, err, cause)
		}
	}
	t.cfg.Observer.Dropped(nodeName(cause), reason)
	t.cfg.Logger.Warn("record dropped", "task", t.cfg.ID, "at", t.rt.Position, "policy", policy, "error", cause)
	return nil
}
