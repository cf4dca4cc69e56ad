package query

import (
	"net/http"

	"github.com/millrace/millrace/streams"
)

// Health is the answer of /healthz and /readyz when all is well.
type Health struct {
	Status string        `json:"status"`
	State  streams.State `json:"state"`
}

// serveHealth answers /healthz: an instance that restores is healthy, for
// restarting it would not help.
func (s *Server) serveHealth(*request) (any, error) {
	state := s.inst.State()
	if state == streams.Failed || state == streams.Stopped {
		return nil, unavailable(CodeNotReady, "the instance is %s", state)
	}
	return Health{Status: "ok", State: state}, nil
}

// serveReady answers /readyz: each owned task runs, and the instance is in its
// group and stays there. One that is paused answers queries as ever, and is ready;
// one that gives its tasks away is not.
func (s *Server) serveReady(*request) (any, error) {
	state := s.inst.State()
	switch state {
	case streams.Rebalancing, streams.Restoring, streams.Running, streams.Paused:
	default:
		return nil, unavailable(CodeNotReady, "the instance is %s", state)
	}
	// Tasks are shown before the instance is in its group, and until it is not any
	// more: one that is in it at both looks has shown them all.
	_, _, before := s.inst.Directory()
	tasks := s.inst.Tasks()
	_, _, after := s.inst.Directory()
	if before < 0 || after < 0 {
		return nil, unavailable(CodeNotReady, "the instance is not in its group")
	}
	var missing []Lag
	for _, t := range tasks {
		if t.State != streams.TaskRunning {
			missing = append(missing, Lag{Task: t.Task.String(), Remaining: t.Remaining})
		}
	}
	if len(missing) > 0 {
		return nil, &failure{http.StatusServiceUnavailable, Error{
			Code: CodeNotReady, Message: "tasks are being restored", Tasks: missing,
		}}
	}
	return Health{Status: "ready", State: state}, nil
}

// serveStores answers /v1/stores.
func (s *Server) serveStores(*request) (any, error) {
	list := StoreList{Application: s.inst.Application(), Stores: []Store{}}
	for _, info := range s.inst.Stores() {
		st := s.catalog[info.Name]
		if st == nil {
			continue // no part of the topology, so not to be asked
		}
		entry := Store{
			Name: info.Name, Kind: st.kind, SubTopology: info.SubTopology, Tasks: info.Tasks, ChangelogTopic: info.ChangelogTopic,
		}
		for _, copied := range s.inst.Standbys() {
			if copied.Task.Sub == info.SubTopology {
				entry.Standbys = append(entry.Standbys, Lag{Task: copied.Task.String(), Remaining: copied.Lag})
			}
		}
		list.Stores = append(list.Stores, entry)
	}
	return list, nil
}
