package query_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/query"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// order is what the test's topology reads, total what it keeps of a window.
type order struct {
	Size int64 `json:"size"`
	At   int64 `json:"at"`
}

type total struct {
	Orders int64   `json:"orders"`
	Mean   float64 `json:"mean_size"`
}

const tasks = 4

// shop has three stores in sub-topology 0 and one, with keys that are UUIDs, in
// sub-topology 1.
func shop(t testing.TB) *topology.Topology {
	t.Helper()
	b := topology.New("shop")
	orders := topology.Source(b, "orders", codec.String, codec.JSON[order]()).
		EventTime(func(o order) int64 { return o.At }, window.BoundedDelay(time.Minute))
	orders.GroupByKey(codec.String, codec.JSON[order]()).Count(topology.Store("counts"))
	topology.Aggregate(orders.GroupByKey(codec.String, codec.JSON[order]()).WindowedBy(window.Tumbling(time.Minute)),
		codec.JSON[total](), topology.Aggregator[order, total]{
			New: func() *total { return new(total) },
			Add: func(*total, order) error { return nil },
		}, topology.Store("totals"))
	topology.GroupBy(orders, codec.UUID, codec.JSON[order](),
		func(topology.Record[string, order]) [16]byte { return [16]byte{} }, topology.Named("by-id")).
		Count(topology.Store("by-uuid"))
	topo, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return topo
}

// member is a stand-in for a running instance, over real databases.
type member struct {
	topology *topology.Topology

	mu         sync.Mutex
	state      streams.State
	tasks      map[streams.TaskID]*heldTask
	copies     map[streams.TaskID]*heldTask // of tasks that others hold
	started    bool                         // the plan is known
	directory  *streams.Directory
	leader     string
	generation int32
	status     []streams.TaskStatus
	asked      int // calls of Directory
	orders     []string
	refuses    error // StartDrain's
}

func (m *member) order(o string) { m.set(func() { m.orders = append(m.orders, o) }) }
func (m *member) Pause()         { m.order("pause") }
func (m *member) Resume()        { m.order("resume") }

func (m *member) StartDrain(stop bool) error {
	m.order(fmt.Sprintf("drain(%v)", stop))
	return m.refuses
}

func (m *member) SetWorkers(n int) error {
	if n > 100 {
		return streams.ErrInvalidConfig
	}
	m.order(fmt.Sprintf("workers(%d)", n))
	return m.refuses
}

func (m *member) Workers() int { return 2 }

type heldTask struct {
	db        *stores.DB
	opened    topology.Stores
	state     streams.TaskState
	remaining int64
}

func newMember(t testing.TB, topo *topology.Topology) *member {
	m := &member{topology: topo, state: streams.Running, tasks: map[streams.TaskID]*heldTask{}, started: true}
	t.Cleanup(func() {
		for _, h := range m.tasks {
			if h.db != nil {
				h.db.Close()
			}
		}
	})
	return m
}

// hold opens a task's stores.
func (m *member) hold(t testing.TB, sub int, partitions ...int32) {
	t.Helper()
	for _, p := range partitions {
		db, err := stores.Open(stores.Config{Engine: stores.NewMemory()})
		if err != nil {
			t.Fatal(err)
		}
		opened, err := m.topology.OpenStores(sub, db)
		if err != nil {
			t.Fatal(err)
		}
		m.mu.Lock()
		m.tasks[streams.TaskID{Sub: sub, Partition: p}] = &heldTask{db: db, opened: opened, state: streams.TaskRunning}
		m.mu.Unlock()
	}
}

func (h *heldTask) commit(t testing.TB) {
	t.Helper()
	c, err := h.db.Collect()
	if err == nil {
		err = h.db.Commit(c, nil, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// fill puts what belongs into the tasks that the member holds: counts of n
// keys, and two windows of each, the first of them with m's own number of keys.
func (m *member) fill(t testing.TB, n int) {
	t.Helper()
	for i := range n {
		key := fmt.Sprintf("k%03d", i)
		h := m.tasks[streams.TaskID{Partition: codec.Partition([]byte(key), tasks)}]
		if h == nil {
			continue
		}
		count, err := h.opened["counts"].(*stores.Aggregates[string, int64]).Create([]byte(key))
		if err != nil {
			t.Fatal(err)
		}
		*count.Value, count.Time = int64(i), int64(i)*1000
		for _, start := range []int64{-60_000, 0, 60_000} {
			w, err := h.opened["totals"].(*stores.Windowed[string, total]).Create([]byte(key), start)
			if err != nil {
				t.Fatal(err)
			}
			*w.Value, w.Time = total{Orders: int64(i), Mean: 1.5}, start+1
		}
	}
	for id, h := range m.tasks {
		if id.Sub == 0 {
			h.commit(t)
		}
	}
}

func (m *member) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func (m *member) Application() string          { return "shop" }
func (m *member) Topology() *topology.Topology { return m.topology }

func (m *member) State() streams.State {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

func (m *member) Tasks() []streams.TaskInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []streams.TaskInfo
	for id, h := range m.tasks {
		all = append(all, streams.TaskInfo{Task: id, State: h.state, Remaining: h.remaining})
	}
	slices.SortFunc(all, func(a, b streams.TaskInfo) int { return a.Task.Compare(b.Task) })
	return all
}

func (m *member) Watermarks() []streams.TaskStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status
}

func (m *member) Stores() []streams.StoreInfo {
	n := int32(tasks)
	if m.mu.Lock(); !m.started {
		n = 0
	}
	m.mu.Unlock()
	var all []streams.StoreInfo
	for name, sub := range map[string]int{"by-uuid": 1, "counts": 0, "totals": 0} {
		all = append(all, streams.StoreInfo{Name: name, SubTopology: sub, Tasks: n, ChangelogTopic: "shop-" + name + "-changelog"})
	}
	slices.SortFunc(all, func(a, b streams.StoreInfo) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func (m *member) Task(store string, key []byte) (streams.TaskID, error) {
	for _, info := range m.Stores() {
		if info.Name == store {
			return streams.TaskID{Sub: info.SubTopology, Partition: codec.Partition(key, tasks)}, nil
		}
	}
	return streams.TaskID{}, streams.ErrUnknownStore
}

func (m *member) DB(id streams.TaskID) (*stores.DB, int64, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.tasks[id]
	if h == nil || h.db == nil {
		return nil, 0, false
	}
	return h.db, h.remaining, true
}

func (m *member) Standbys() (all []streams.StandbyInfo) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, h := range m.copies {
		all = append(all, streams.StandbyInfo{Task: id, Lag: h.remaining})
	}
	return all
}

// Cold: the fleet has none.
func (m *member) Cold() stores.Cold { return nil }

func (m *member) StandbyDB(id streams.TaskID) (*stores.DB, int64, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.copies[id]
	if h == nil {
		return nil, 0, false
	}
	return h.db, h.remaining, true
}

func (m *member) Directory() (*streams.Directory, string, int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	return m.directory, m.leader, m.generation
}

// fleet is some members with their servers. Member 0 leads.
type fleet struct {
	members []*member
	urls    []string
	// hits counts the requests of each server by path.
	mu   sync.Mutex
	hits []map[string]int
}

func (f *fleet) hit(i int, path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hits[i][path]
}

// newFleet starts a server for each member, which hold the partitions of both
// sub-topologies in turn.
func newFleet(t testing.TB, n int, cfg query.Config) *fleet {
	t.Helper()
	topo := shop(t)
	f := &fleet{hits: make([]map[string]int, n)}
	for i := range n {
		m := newMember(t, topo)
		for p := range int32(tasks) {
			if int(p)%n == i {
				m.hold(t, 0, p)
				m.hold(t, 1, p)
			}
		}
		srv := httptest.NewUnstartedServer(nil)
		c := cfg
		c.Advertise = "http://" + srv.Listener.Addr().String()
		client := &http.Client{Transport: &http.Transport{}}
		t.Cleanup(client.CloseIdleConnections)
		c.Client = client
		s, err := query.New(m, c)
		if err != nil {
			t.Fatal(err)
		}
		f.hits[i] = map[string]int{}
		srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f.mu.Lock()
			f.hits[i][r.URL.Path]++
			f.mu.Unlock()
			s.ServeHTTP(w, r)
		})
		srv.Start()
		t.Cleanup(srv.Close)
		f.members = append(f.members, m)
		f.urls = append(f.urls, c.Advertise)
	}
	f.publish(1)
	return f
}

// publish gives the members the directory of a new generation.
func (f *fleet) publish(generation int32) {
	d := &streams.Directory{Generation: generation}
	for i, m := range f.members {
		entry := streams.DirectoryMember{Endpoint: f.urls[i]}
		for _, t := range m.Tasks() {
			entry.Tasks = append(entry.Tasks, t.Task.String())
		}
		d.Members = append(d.Members, entry)
	}
	for i, m := range f.members {
		m.set(func() {
			m.generation, m.leader, m.directory = generation, f.urls[0], nil
			if i == 0 {
				m.directory = d
			}
		})
	}
}

// owner returns which member holds a key of sub-topology 0, and which does not.
func (f *fleet) owner(key string) (has, hasNot int) {
	id := streams.TaskID{Partition: codec.Partition([]byte(key), tasks)}
	for i, m := range f.members {
		if _, _, ok := m.DB(id); ok {
			has = i
		} else {
			hasNot = i
		}
	}
	return has, hasNot
}

// answer is what a server said.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func get(t testing.TB, url string, header ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, body}
}

// as decodes an answer that must have the status.
func as[T any](t testing.TB, a answer, status int) T {
	t.Helper()
	var v T
	if a.status != status {
		t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return v
}

type failed struct {
	Error query.Error `json:"error"`
}

// wantError checks status and code, and that the message holds each text.
func wantError(t testing.TB, a answer, status int, code string, texts ...string) query.Error {
	t.Helper()
	e := as[failed](t, a, status).Error
	if e.Code != code {
		t.Fatalf("code %q, want %q: %s", e.Code, code, a.body)
	}
	for _, text := range texts {
		if !strings.Contains(e.Message, text) {
			t.Errorf("message %q lacks %q", e.Message, text)
		}
	}
	if got := a.header.Get("Retry-After"); (status == 503) != (got != "") {
		t.Errorf("Retry-After %q with status %d", got, status)
	}
	return e
}

func createCount(h *heldTask, key string) (*int64, error) {
	l, err := h.opened["counts"].(*stores.Aggregates[string, int64]).Create([]byte(key))
	if err != nil {
		return nil, err
	}
	return l.Value, nil
}
