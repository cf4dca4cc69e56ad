package query

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"

	"github.com/millrace/millrace/streams"
)

// directory is a streams.Directory ready to be asked.
type directory struct {
	answer *streams.Directory
	owners map[string]string // endpoint by task
	// copies are, by task, the endpoints of those who keep a copy of its state.
	copies map[string][]string
}

func newDirectory(d *streams.Directory) *directory {
	dir := &directory{answer: d, owners: map[string]string{}, copies: map[string][]string{}}
	for _, m := range d.Members {
		for _, task := range m.Tasks {
			dir.owners[task] = m.Endpoint
		}
		for _, task := range m.Standbys {
			if m.Endpoint != "" {
				dir.copies[task] = append(dir.copies[task], m.Endpoint)
			}
		}
	}
	return dir
}

// endpoints returns those of all members that have one, in order.
func (d *directory) endpoints() []string {
	var all []string
	for _, m := range d.answer.Members {
		if m.Endpoint != "" {
			all = append(all, m.Endpoint)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// directories keeps the directory of a generation. Requests that find none at
// the same time share one look-up.
type directories struct {
	mu      sync.Mutex // guards what follows; never held across a wait
	cached  *directory
	looking *lookup
}

// lookup is a request to the leader under way. The fields are set before done
// is closed.
type lookup struct {
	generation int32
	done       chan struct{}
	found      *directory
	err        error
}

// directory returns who runs which tasks: from the instance if it leads, else
// from memory if it is of the current generation, else from the leader.
func (s *Server) directory(ctx context.Context, q *request) (*directory, error) {
	own, leader, generation := s.inst.Directory()
	if own != nil {
		return s.directories.of(own), nil
	}
	switch {
	case generation < 0:
		return nil, unavailable(CodeStarting, "the instance is not in its group at the moment")
	case leader == "" || leader == s.cfg.Advertise:
		return nil, unavailable(CodeUnavailable, "who runs the other tasks is not known: the group's leader advertises no endpoint (set it on every instance), or is joining again")
	}
	ds := &s.directories
	ds.mu.Lock()
	if ds.cached != nil && ds.cached.answer.Generation == generation {
		defer ds.mu.Unlock()
		return ds.cached, nil
	}
	l := ds.looking
	if l == nil || l.generation != generation {
		l = &lookup{generation: generation, done: make(chan struct{})}
		ds.looking = l
		ds.mu.Unlock()
		s.lookUp(ctx, q, leader, l)
	} else {
		ds.mu.Unlock()
	}
	select {
	case <-l.done:
		return l.found, l.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// lookUp asks the leader on behalf of everybody who waits for l, and so goes on
// when the client that was first is gone. A directory of another generation is
// used, but not kept: the group is changing.
func (s *Server) lookUp(ctx context.Context, q *request, leader string, l *lookup) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Timeout)
	defer cancel()
	answer, err := s.call(ctx, q, leader, directoryPath, "")
	if err == nil {
		err = answer.failure()
	}
	if err == nil {
		d := new(streams.Directory)
		if err = json.Unmarshal(answer.body, d); err != nil {
			err = unavailable(CodeUnavailable, "the directory of the leader at %s cannot be read: %v", leader, err)
		} else {
			l.found = newDirectory(d)
		}
	}
	l.err = err
	ds := &s.directories
	ds.mu.Lock()
	if err == nil && l.found.answer.Generation == l.generation {
		ds.cached = l.found
	}
	if ds.looking == l {
		ds.looking = nil
	}
	ds.mu.Unlock()
	close(l.done)
}

// of returns the directory that the instance itself has as the leader. It is
// not changed once it is published, so its address tells it from others.
func (ds *directories) of(own *streams.Directory) *directory {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if ds.cached == nil || ds.cached.answer != own {
		ds.cached = newDirectory(own)
	}
	return ds.cached
}

// forget has the next request ask the leader again.
func (s *Server) forget() {
	s.directories.mu.Lock()
	defer s.directories.mu.Unlock()
	s.directories.cached = nil
}

// elsewhere returns the endpoint of the other instance that runs a task.
func (s *Server) elsewhere(d *directory, task streams.TaskID) (string, error) {
	endpoint, known := d.owners[task.String()]
	switch {
	case !known, endpoint != "" && endpoint == s.cfg.Advertise:
		return "", &failure{http.StatusServiceUnavailable, Error{
			Code: CodeMoving, Message: "task " + task.String() + " is moving between instances: ask again",
			Tasks: []Lag{{Task: task.String(), Remaining: -1}},
		}}
	case endpoint == "":
		return "", unavailable(CodeUnavailable, "task %v is run by an instance that advertises no endpoint: set it there", task)
	}
	return endpoint, nil
}

// notOwner answers a forwarded request for a task that is not held here.
func (s *Server) notOwner(task streams.TaskID) *failure {
	f := fail(http.StatusMisdirectedRequest, CodeNotOwner, "task %v is not run by this instance", task)
	if d, _, _ := s.inst.Directory(); d != nil {
		f.detail.Owner = s.directories.of(d).owners[task.String()]
	}
	return f
}

// serveDirectory answers instances from what the leader has, and users from
// what this instance knows.
func (s *Server) serveDirectory(q *request) (any, error) {
	own, leader, _ := s.inst.Directory()
	if own == nil && q.forwarded {
		f := fail(http.StatusMisdirectedRequest, CodeNotOwner, "this instance does not lead the group")
		f.detail.Owner = leader
		return nil, f
	}
	d, err := s.directory(q.ctx, q)
	if err != nil {
		return nil, err
	}
	return d.answer, nil
}
