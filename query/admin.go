package query

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/millrace/millrace/streams"
)

// Control is what an operator asks of an instance; [streams.Instance] has it. No
// method waits.
type Control interface {
	// Pause stops processing, and Resume ends a pause or a drain.
	Pause()
	Resume()
	// StartDrain begins to give all tasks away; with stop the instance stops after
	// that.
	StartDrain(stop bool) error
	// SetWorkers changes how many workers there are to be, and Workers returns how
	// many there are.
	SetWorkers(n int) error
	Workers() int
}

// leastToken is how long a token must be, in bytes: nobody is to guess it.
const leastToken = 16

// Status is how an instance stands.
type Status struct {
	Application string        `json:"application"`
	State       streams.State `json:"state"`
	// Generation is the group's, -1 outside of it.
	Generation int32 `json:"generation"`
	// Workers is how many there are now; 0 if the instance does not say.
	Workers int          `json:"workers"`
	Tasks   []TaskStatus `json:"tasks"`
}

// TaskStatus is how a task of the instance stands.
type TaskStatus struct {
	Task      string            `json:"task"`
	State     streams.TaskState `json:"state"`
	Remaining int64             `json:"remaining"`
}

// serveStatus answers /v1/status.
func (s *Server) serveStatus(*request) (any, error) { return s.status(), nil }

func (s *Server) status() Status {
	_, _, generation := s.inst.Directory()
	st := Status{Application: s.inst.Application(), State: s.inst.State(), Generation: generation, Tasks: []TaskStatus{}}
	if c, ok := s.inst.(Control); ok {
		st.Workers = c.Workers()
	}
	for _, t := range s.inst.Tasks() {
		st.Tasks = append(st.Tasks, TaskStatus{Task: t.Task.String(), State: t.State, Remaining: t.Remaining})
	}
	return st
}

// adminRoutes are the paths that change something. They are in the document
// whether they are on or not.
func (s *Server) adminRoutes() []*route {
	fails := []int{http.StatusUnauthorized, http.StatusNotFound, http.StatusServiceUnavailable}
	post := func(id, summary string, do func(*request, Control) error, params ...param) *route {
		return &route{
			path: "/v1/admin/" + id, id: id, method: http.MethodPost, summary: summary, params: params, answer: Status{}, fails: fails,
			serve: func(q *request) (any, error) { return s.administer(q, do) },
		}
	}
	return []*route{
		post("pause", "Stop processing; the instance keeps its tasks and answers queries.", func(_ *request, c Control) error {
			c.Pause()
			return nil
		}),
		post("resume", "End a pause or a drain.", func(_ *request, c Control) error {
			c.Resume()
			return nil
		}),
		post("drain", "Give all tasks to other instances, and stay in the group without any. The answer does not wait for it.",
			func(q *request, c Control) error {
				stop, err := strconv.ParseBool(q.params.Get("stop"))
				if q.params.Get("stop") != "" && err != nil {
					return bad(CodeBadParameter, "stop=%q: want true or false", q.params.Get("stop"))
				}
				return c.StartDrain(stop)
			}, param{name: "stop", schema: map[string]any{"type": "boolean", "default": false}, about: "Whether the instance leaves and stops when its last task is gone."}),
		post("workers", "Change how many workers process tasks. The answer does not wait for it.", func(q *request, c Control) error {
			n, err := strconv.Atoi(q.params.Get("count"))
			if err != nil {
				return bad(CodeBadParameter, "count=%q: want a number from 1 on", q.params.Get("count"))
			}
			if err := c.SetWorkers(n); errors.Is(err, streams.ErrInvalidConfig) {
				return bad(CodeBadParameter, "count=%d: %v", n, err)
			} else if err != nil {
				return err
			}
			return nil
		}, param{name: "count", must: true, schema: map[string]any{"type": "integer", "minimum": 1}, about: "How many workers there are to be."}),
	}
}

// administer does what an operator who has the token asks for.
func (s *Server) administer(q *request, do func(*request, Control) error) (any, error) {
	control, ok := s.inst.(Control)
	if s.cfg.AdminToken == "" || !ok {
		return nil, fail(http.StatusNotFound, CodeNoPath, "this instance takes no orders over HTTP: give it a token (http.admin_token_file, or the environment)")
	}
	if !s.authorized(q.http) {
		return nil, fail(http.StatusUnauthorized, CodeUnauthorized, "send the header 'Authorization: Bearer TOKEN' with the token that the instance was given")
	}
	s.cfg.Logger.Info("order over HTTP", "path", q.http.URL.Path, "from", q.http.RemoteAddr, "request_id", q.http.Header.Get(requestIDHeader))
	err := do(q, control)
	if errors.Is(err, streams.ErrNotRunning) {
		return nil, unavailable(CodeNotReady, "the instance is %s", s.inst.State())
	}
	if err != nil {
		return nil, err
	}
	return s.status(), nil
}

// authorized compares the token of a request in a time that does not depend on
// it.
func (s *Server) authorized(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	got, want := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(s.cfg.AdminToken))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(got[:], want[:]) == 1
}
