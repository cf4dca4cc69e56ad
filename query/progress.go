package query

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/window"
)

// Watermarks is the answer of /v1/watermarks: how far every task of the
// application has come.
type Watermarks struct {
	Application string         `json:"application"`
	Tasks       []TaskProgress `json:"tasks"`
	// Missing are the instances that did not answer; their tasks are not in
	// Tasks.
	Missing []Missing `json:"missing,omitempty"`
}

// Missing is an instance that did not answer.
type Missing struct {
	// Endpoint is empty if it is not known which instances there are.
	Endpoint string `json:"endpoint"`
	Error    string `json:"error"`
}

// TaskProgress is how far a task has come.
type TaskProgress struct {
	Task        string `json:"task"`
	SubTopology int    `json:"sub_topology"`
	Partition   int32  `json:"partition"`
	// Endpoint is the URL of the instance that runs the task.
	Endpoint string            `json:"endpoint"`
	State    streams.TaskState `json:"state"`
	// Remaining is how many changelog offsets a restore has to go.
	Remaining int64 `json:"remaining"`
	Watermark
	// Ended: a bounded run is over for the task.
	Ended bool `json:"ended"`
	// Idle: every input is idle. FollowsClock: the watermark then follows the wall
	// clock, else it stands still.
	Idle         bool `json:"idle"`
	FollowsClock bool `json:"follows_clock"`
	// HeldBackBy names the inputs that the watermark waits for.
	HeldBackBy []string `json:"held_back_by"`
	// Origins are the partitions, as topic/partition, from which the watermark does
	// not come, here or in the upstream tasks that it waits for; a task that does not
	// run stands for itself. An open window closes when these go on.
	Origins []string `json:"origins"`
	// Why says for people why the watermark, and so each open window, waits.
	Why    string          `json:"why"`
	Inputs []InputProgress `json:"inputs"`
}

// InputProgress is how far an input partition of a task has come.
type InputProgress struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	// Next is the offset behind the last record processed.
	Next int64 `json:"next"`
	Watermark
	Idle bool `json:"idle"`
	// Heard is false while the first answer of a broker is waited for or, of a
	// repartition topic, the first word of an upstream task.
	Heard bool `json:"heard"`
	// Paused: the partition is not read for now, because it is too far ahead of
	// PausedFor, which it is aligned with.
	Paused    bool   `json:"paused"`
	PausedFor string `json:"paused_for,omitempty"`
	// Unreadable is why the partition cannot be read for now.
	Unreadable string `json:"unreadable,omitempty"`
	// Waiting are the upstream tasks that hold a repartition topic back, Unheard
	// those that have not told a watermark yet.
	Waiting []string `json:"waiting,omitempty"`
	Unheard []string `json:"unheard,omitempty"`
}

// Watermark is a point on the scale of event time.
type Watermark struct {
	// Millis is in Unix milliseconds, and nil before the first record and at
	// the end of a bounded run.
	Millis *int64 `json:"watermark"`
	// Time is RFC 3339, "-infinity" before the first record, or "infinity" at
	// the end of a bounded run.
	Time string `json:"watermark_time"`
	// Since is when the watermark was last seen to rise, or the task began to run,
	// by the instance's clock, in RFC 3339; empty if the task does not run.
	Since string `json:"since,omitempty"`
}

func toWatermark(w int64, since time.Time) Watermark {
	out := Watermark{Time: window.FormatTime(w)}
	if !since.IsZero() {
		out.Since = window.FormatTime(since.UnixMilli())
	}
	if w != window.MinTime && w != window.MaxTime {
		out.Millis = &w
	}
	return out
}

// serveWatermarks answers /v1/watermarks for all instances that answer, or for
// this one alone if the request is forwarded.
func (s *Server) serveWatermarks(q *request) (any, error) {
	answer := Watermarks{Application: s.inst.Application(), Tasks: s.progress()}
	if q.forwarded {
		return answer, nil
	}
	s.addOthers(q, &answer)
	trace(answer.Tasks)
	return answer, nil
}

// addOthers adds what the other instances answer.
func (s *Server) addOthers(q *request, answer *Watermarks) {
	d, err := s.directory(q.ctx, q)
	if err != nil {
		answer.Missing = []Missing{{Error: s.toFailure(q.ctx, err).detail.Message}}
		return
	}
	others := slices.DeleteFunc(d.endpoints(), func(e string) bool { return e == s.cfg.Advertise })
	answers := make([]Watermarks, len(others))
	errs := make([]error, len(others))
	s.each(others, func(i int, endpoint string) {
		answers[i], errs[i] = s.askWatermarks(q, endpoint)
	})
	for i, endpoint := range others {
		if errs[i] != nil {
			answer.Missing = append(answer.Missing, Missing{Endpoint: endpoint, Error: s.toFailure(q.ctx, errs[i]).detail.Message})
			continue
		}
		answer.Tasks = append(answer.Tasks, answers[i].Tasks...)
	}
	for _, m := range d.answer.Members {
		if m.Endpoint == "" && len(m.Tasks) > 0 && !s.holdsAll(m.Tasks) {
			answer.Missing = append(answer.Missing, Missing{Error: "the instance that runs " + strings.Join(m.Tasks, ", ") + " advertises no endpoint"})
		}
	}
	slices.SortStableFunc(answer.Tasks, func(a, b TaskProgress) int {
		return cmp.Or(cmp.Compare(a.SubTopology, b.SubTopology), cmp.Compare(a.Partition, b.Partition))
	})
}

func (s *Server) holdsAll(tasks []string) bool {
	held := map[string]bool{}
	for _, t := range s.inst.Tasks() {
		held[t.Task.String()] = true
	}
	return !slices.ContainsFunc(tasks, func(t string) bool { return !held[t] })
}

func (s *Server) askWatermarks(q *request, endpoint string) (Watermarks, error) {
	var w Watermarks
	answer, err := s.call(q.ctx, q, endpoint, q.http.URL.EscapedPath(), "")
	if err == nil {
		err = answer.failure()
	}
	if err != nil {
		return w, err
	}
	if err := json.Unmarshal(answer.body, &w); err != nil {
		return w, unavailable(CodeUnavailable, "the answer of the instance at %s cannot be read: %v", endpoint, err)
	}
	return w, nil
}

// progress returns how far the tasks that are held here have come.
func (s *Server) progress() []TaskProgress {
	running := map[streams.TaskID]streams.TaskStatus{}
	for _, st := range s.inst.Watermarks() {
		running[st.Task] = st
	}
	all := []TaskProgress{}
	for _, t := range s.inst.Tasks() {
		p := TaskProgress{
			Task: t.Task.String(), SubTopology: t.Task.Sub, Partition: t.Task.Partition, Endpoint: s.cfg.Advertise,
			State: t.State, Remaining: t.Remaining, Watermark: toWatermark(window.MinTime, time.Time{}),
			HeldBackBy: []string{}, Origins: []string{}, Inputs: []InputProgress{},
		}
		if st, ok := running[t.Task]; ok && t.State == streams.TaskRunning {
			p.describe(st)
		} else {
			p.Why = fmt.Sprintf("the task does not run yet: %d changelog records are to be restored", t.Remaining)
		}
		all = append(all, p)
	}
	return all
}

// describe fills in what is known of a running task.
func (p *TaskProgress) describe(st streams.TaskStatus) {
	p.Watermark, p.Ended = toWatermark(st.Watermark, st.Since), st.Ended
	p.Idle, p.FollowsClock = st.Idle, st.Clocked
	least := window.MaxTime
	for _, in := range st.Inputs {
		if !in.Idle {
			least = min(least, in.Watermark)
		}
	}
	var reasons []string
	for _, in := range st.Inputs {
		out := InputProgress{
			Topic: in.Topic, Partition: in.Partition, Next: in.Next, Watermark: toWatermark(in.Watermark, in.Since), Idle: in.Idle,
			Heard: in.Heard, Paused: in.Paused, PausedFor: in.PausedFor, Unreadable: in.Unreadable,
			Waiting: taskNames(in.Waiting), Unheard: taskNames(in.Unheard),
		}
		p.Inputs = append(p.Inputs, out)
		if in.Idle || in.Watermark > least || least == window.MaxTime {
			continue
		}
		p.HeldBackBy = append(p.HeldBackBy, out.name())
		reasons = append(reasons, out.reason())
	}
	switch {
	case st.Ended:
		p.Why = "the bounded run is over: every window has closed"
	case len(reasons) > 0:
		p.Why = strings.Join(reasons, "; ")
	case st.Clocked:
		p.Why = "every input is idle: the watermark follows the clock"
	default:
		p.Why = "every input is idle: the watermark stands still until a record comes"
	}
}

func taskNames(ups []window.Upstream) []string {
	var names []string
	for _, up := range ups {
		names = append(names, streams.TaskID{Sub: int(up.SubTopology), Partition: up.Task}.String())
	}
	return names
}

// trace finds for each task, through the upstream tasks that it waits for, the
// partitions from which its watermark does not come.
func trace(tasks []TaskProgress) {
	byName := map[string]*TaskProgress{}
	for i := range tasks {
		byName[tasks[i].Task] = &tasks[i]
	}
	for i := range tasks {
		seen := map[string]bool{}
		tasks[i].Origins = append(tasks[i].Origins, origins(tasks[i].Task, byName, seen)...)
		slices.Sort(tasks[i].Origins)
		tasks[i].Origins = slices.Compact(tasks[i].Origins)
	}
}

func origins(task string, byName map[string]*TaskProgress, seen map[string]bool) (found []string) {
	p := byName[task]
	switch {
	case seen[task]:
		return nil
	case p == nil || len(p.Inputs) == 0 && !p.Ended: // it does not run yet
		return []string{"task " + task}
	}
	seen[task] = true
	for _, in := range p.Inputs {
		name := in.name()
		if !slices.Contains(p.HeldBackBy, name) {
			continue
		}
		if len(in.Waiting) == 0 {
			found = append(found, name)
		}
		for _, up := range in.Waiting {
			found = append(found, origins(up, byName, seen)...)
		}
	}
	return found
}

func (in *InputProgress) name() string { return fmt.Sprintf("%s/%d", in.Topic, in.Partition) }

// reason says why an input that is not idle is where it is.
func (in *InputProgress) reason() string {
	name := in.name()
	switch {
	case in.Unreadable != "":
		return fmt.Sprintf("%s, at %s, cannot be read: %s", name, in.Time, in.Unreadable)
	case len(in.Unheard) > 0:
		return fmt.Sprintf("%s, at %s, has not heard yet of the upstream tasks %s", name, in.Time, strings.Join(in.Unheard, ", "))
	case len(in.Waiting) > 0:
		return fmt.Sprintf("%s, at %s, waits for the watermark of the upstream tasks %s", name, in.Time, strings.Join(in.Waiting, ", "))
	case in.Paused:
		return fmt.Sprintf("%s, at %s, is paused until %s, which it is aligned with, has caught up", name, in.Time, in.PausedFor)
	case !in.Heard:
		return fmt.Sprintf("%s, at %s, waits for the first answer of its broker", name, in.Time)
	case in.Millis == nil:
		return name + " has had no record yet and is not known to be empty"
	}
	return fmt.Sprintf("%s is furthest behind: no record has moved its watermark past %s", name, in.Time)
}
