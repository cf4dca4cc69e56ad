package query

import (
	"math"
	"net/http"

	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/streams"
)

// held returns the tasks that are held here.
func (s *Server) held() map[streams.TaskID]streams.TaskInfo {
	held := map[streams.TaskID]streams.TaskInfo{}
	for _, t := range s.inst.Tasks() {
		held[t.Task] = t
	}
	return held
}

// readable returns the tasks whose state a request may read here: those that are
// held and, if it takes stale answers, those of which there is a copy.
func (s *Server) readable(q *request) map[streams.TaskID]streams.TaskInfo {
	held := s.held()
	if !q.stale {
		return held
	}
	for _, info := range s.inst.Standbys() {
		if _, ok := held[info.Task]; !ok && info.Lag >= 0 {
			held[info.Task] = streams.TaskInfo{Task: info.Task, State: streams.TaskStandby, Remaining: info.Lag}
		}
	}
	return held
}

// db returns the state of a task that is held here, or of which there is a copy.
func (s *Server) db(t streams.TaskInfo) (db *stores.DB, remaining int64, ok bool) {
	if t.State == streams.TaskStandby {
		return s.inst.StandbyDB(t.Task)
	}
	return s.inst.DB(t.Task)
}

// part is a store's state in one task, open for a query.
type part struct {
	task  streams.TaskID
	state stores.Queryable
	view  *stores.View
	// tier is the store's cold one, or nil.
	tier *stores.Tier
}

func (p *part) close() error { return p.view.Close() }

// open opens the state of tasks that are held here. What is still restored is
// refused, unless the request takes stale answers.
func (s *Server) open(q *request, st *store, tasks []streams.TaskInfo) (parts []*part, behind Staleness, err error) {
	defer func() {
		if err != nil {
			for _, p := range parts {
				err = firstError(err, p.close())
			}
		}
	}()
	var closed []Lag
	for _, t := range tasks {
		db, remaining, ok := s.db(t)
		running := t.State == streams.TaskRunning
		if !running || !ok {
			lag := Lag{Task: t.Task.String(), Remaining: -1}
			if ok {
				lag.Remaining = remaining
			}
			behind.Lag = append(behind.Lag, lag)
			if !ok {
				closed = append(closed, lag)
			}
		}
		if !ok || !running && !q.stale {
			continue
		}
		state, err := db.Queryable(st.name)
		if err != nil {
			return parts, behind, err
		}
		view, err := db.View(q.ctx)
		if err != nil {
			return parts, behind, err
		}
		parts = append(parts, &part{task: t.Task, state: state, view: view, tier: db.Tier(st.name)})
	}
	if behind.Stale = len(behind.Lag) > 0; !behind.Stale || q.stale && len(closed) == 0 {
		return parts, behind, nil
	}
	f := unavailable(CodeRestoring, "the state is being restored from the changelog: wait, or take what there is with stale=true")
	f.detail.Tasks = behind.Lag
	if len(closed) > 0 {
		f.detail.Message, f.detail.Tasks = "the state is not open yet: wait", closed
	}
	return parts, behind, f
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// owner finds the store, the encoded key and the task of a request for a key.
func (s *Server) owner(q *request, param, text string) (*store, []byte, streams.TaskID, error) {
	st, err := s.catalog.find(q.http.PathValue("store"))
	if err != nil {
		return nil, nil, streams.TaskID{}, err
	}
	key, err := st.parse(param, text)
	if err != nil {
		return nil, nil, streams.TaskID{}, err
	}
	if _, err := s.info(st); err != nil {
		return nil, nil, streams.TaskID{}, err
	}
	task, err := s.inst.Task(st.name, key)
	return st, key, task, err
}

// serveKey answers /v1/stores/{store}/keys/{key}.
func (s *Server) serveKey(q *request) (any, error) {
	text := q.http.PathValue("key")
	st, key, task, err := s.owner(q, "key", text)
	if err != nil {
		return nil, err
	}
	if err := st.mustHaveNone(); err != nil {
		return nil, err
	}
	info, here := s.readable(q)[task]
	if !here {
		return s.forward(q, task)
	}
	parts, behind, err := s.open(q, st, []streams.TaskInfo{info})
	if err != nil {
		return nil, err
	}
	defer parts[0].close()
	item, ok, err := parts[0].state.Get(parts[0].view, key)
	if err != nil {
		return nil, err
	}
	if !ok {
		f := fail(http.StatusNotFound, CodeUnknownKey, "store %q has no key %q", st.name, text)
		if behind.Stale {
			f.detail.Message += " in what is restored so far"
			f.detail.Tasks = behind.Lag
		}
		return nil, f
	}
	e, err := st.entry(item, task.Partition)
	if err == nil && e.size() > s.cfg.MaxBytes {
		err = s.tooLarge(st, task.Partition, e)
	}
	return KeyValue{Store: st.name, Entry: e, Staleness: behind}, err
}

func (s *Server) tooLarge(st *store, partition int32, e Entry) error {
	return fail(http.StatusRequestEntityTooLarge, CodeTooLarge,
		"an entry of store %q in partition %d has %d bytes as JSON: answers are limited to %d", st.name, partition, e.size(), s.cfg.MaxBytes)
}

// serveKeyWindows answers /v1/stores/{store}/keys/{key}/windows.
func (s *Server) serveKeyWindows(q *request) (any, error) {
	st, key, task, err := s.owner(q, "key", q.http.PathValue("key"))
	if err != nil {
		return nil, err
	}
	sc, err := s.windowScan(q, st)
	if err != nil {
		return nil, err
	}
	sc.key = key
	sc.query = fingerprint("key windows", st.name, string(key), q.params.Get("from"), q.params.Get("to"))
	if sc.after, err = parseCursor(q.params.Get("cursor"), sc.query, math.MaxInt32); err != nil {
		return nil, err
	}
	info, here := s.readable(q)[task]
	if !here {
		return s.forward(q, task)
	}
	return s.scan(q, sc, []streams.TaskInfo{info}, nil)
}

// serveOwner answers /v1/stores/{store}/owner.
func (s *Server) serveOwner(q *request) (any, error) {
	if !q.params.Has("key") {
		return nil, bad(CodeBadParameter, "the parameter key is missing")
	}
	text := q.params.Get("key")
	st, _, task, err := s.owner(q, "key", text)
	if err != nil {
		return nil, err
	}
	o := Owner{Store: st.name, Key: text, Task: task.String(), Partition: task.Partition}
	if _, o.Here = s.held()[task]; o.Here {
		o.Endpoint = s.cfg.Advertise
		return o, nil
	}
	d, err := s.directory(q.ctx, q)
	if err != nil {
		return nil, err
	}
	o.Endpoint, err = s.elsewhere(d, task)
	return o, err
}
