package query_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/query"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/streams"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		http.DefaultClient.CloseIdleConnections()
	}))
}

func TestKey(t *testing.T) {
	f := newFleet(t, 1, query.Config{})
	f.members[0].fill(t, 20)
	a := get(t, f.urls[0]+"/v1/stores/counts/keys/k007")
	got := as[query.KeyValue](t, a, 200)
	if string(got.Key) != `"k007"` || string(got.Value) != "7" || got.Time != 7000 || got.Stale || got.Window != nil || got.Store != "counts" {
		t.Errorf("got %s", a.body)
	}
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q", got)
	}
	if a.header.Get("X-Request-Id") == "" || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", a.header)
	}
	wantError(t, get(t, f.urls[0]+"/v1/stores/counts/keys/k999"), 404, query.CodeUnknownKey, "counts", "k999")
}

// TestKeysThatNeedEscaping asks for keys whose text a path cannot hold as it is.
func TestKeysThatNeedEscaping(t *testing.T) {
	f := newFleet(t, 2, query.Config{})
	keys := []string{"a/b", "a b", "ä?#%", ".", "..", "x//y", "+"}
	for i, key := range keys {
		has, _ := f.owner(key)
		h := f.members[has].tasks[streams.TaskID{Partition: codec.Partition([]byte(key), tasks)}]
		l, err := h.opened["counts"].(*stores.Aggregates[string, int64]).Create([]byte(key))
		if err != nil {
			t.Fatal(err)
		}
		*l.Value = int64(i)
		h.commit(t)
	}
	for i, key := range keys {
		escaped := strings.ReplaceAll(url.PathEscape(key), ".", "%2E")
		for n, base := range f.urls { // one of them forwards
			got := as[query.KeyValue](t, get(t, base+"/v1/stores/counts/keys/"+escaped), 200)
			if string(got.Value) != fmt.Sprint(i) {
				t.Errorf("instance %d, key %q: %s", n, key, got.Value)
			}
		}
	}
}

// TestKeyOfAnotherTypeComesBackAsText reads a key that is no string, and asks
// for it with what the answer has.
func TestKeyOfAnotherTypeComesBackAsText(t *testing.T) {
	f := newFleet(t, 1, query.Config{})
	key := []byte("0123456789abcdef")
	h := f.members[0].tasks[streams.TaskID{Sub: 1, Partition: codec.Partition(key, tasks)}]
	if _, err := h.opened["by-uuid"].(*stores.Aggregates[[16]byte, int64]).Create(key); err != nil {
		t.Fatal(err)
	}
	h.commit(t)
	page := as[query.Page](t, get(t, f.urls[0]+"/v1/stores/by-uuid/keys"), 200)
	if len(page.Items) != 1 || string(page.Items[0].Key) != `"30313233-3435-3637-3839-616263646566"` {
		t.Fatalf("got %+v", page)
	}
	var text string
	if err := json.Unmarshal(page.Items[0].Key, &text); err != nil {
		t.Fatal(err)
	}
	as[query.KeyValue](t, get(t, f.urls[0]+"/v1/stores/by-uuid/keys/"+text), 200)
}

func TestBadRequests(t *testing.T) {
	f := newFleet(t, 1, query.Config{MaxItems: 50})
	f.members[0].fill(t, 10)
	first := as[query.Page](t, get(t, f.urls[0]+"/v1/stores/counts/keys?limit=1"), 200)
	long := strings.Repeat("x", 9000)
	for _, c := range []struct {
		path   string
		status int
		code   string
		text   string
	}{
		{"/", 404, query.CodeNoPath, "/v1/openapi.json"},
		{"/v1/nothing", 404, query.CodeNoPath, "/v1/nothing"},
		{"/v1/stores/counts/keys/", 404, query.CodeNoPath, "empty key"},
		{"/v1/stores/counts/keys//windows", 404, query.CodeNoPath, "empty key"},
		{"/v1/stores/counts/keys/a/b", 404, query.CodeNoPath, "%2F"},
		{"/v1/stores/nope/keys", 404, query.CodeUnknownStore, "by-uuid, counts, totals"},
		{"/v1/stores/nope/keys/k", 404, query.CodeUnknownStore, "counts"},
		{"/v1/stores/nope/windows", 404, query.CodeUnknownStore, "counts"},
		{"/v1/stores/nope/owner?key=k", 404, query.CodeUnknownStore, "counts"},
		{"/v1/stores/totals/keys", 400, query.CodeWrongKind, "/v1/stores/totals/windows"},
		{"/v1/stores/totals/keys/k001", 400, query.CodeWrongKind, "/windows"},
		{"/v1/stores/counts/windows", 400, query.CodeWrongKind, "/v1/stores/counts/keys"},
		{"/v1/stores/counts/keys/k001/windows", 400, query.CodeWrongKind, "no windows"},
		{"/v1/stores/by-uuid/keys/seven", 400, query.CodeBadKey, "a UUID"},
		{"/v1/stores/by-uuid/keys?from=seven", 400, query.CodeBadKey, "from"},
		{"/v1/stores/by-uuid/owner?key=seven", 400, query.CodeBadKey, "a UUID"},
		{"/v1/stores/counts/keys/" + long, 400, query.CodeBadKey, "8192"},
		{"/v1/stores/counts/keys?from=b&to=a", 400, query.CodeBadKey, "after"},
		{"/v1/stores/counts/owner", 400, query.CodeBadParameter, "key"},
		{"/v1/stores/totals/windows?from=yesterday", 400, query.CodeBadTime, "RFC 3339"},
		{"/v1/stores/totals/windows?to=2026-13-01T00:00:00Z", 400, query.CodeBadTime, "to="},
		{"/v1/stores/totals/windows?from=5&to=4", 400, query.CodeBadTime, "after"},
		{"/v1/stores/totals/windows?from=99999999999999999999", 400, query.CodeBadTime, "from="},
		{"/v1/stores/totals/keys/k001/windows?from=x", 400, query.CodeBadTime, "from"},
		{"/v1/stores/totals/windows?limit=0", 400, query.CodeBadLimit, "1 to 50"},
		{"/v1/stores/totals/windows?limit=51", 400, query.CodeBadLimit, "1 to 50"},
		{"/v1/stores/totals/windows?limit=-1", 400, query.CodeBadLimit, "limit"},
		{"/v1/stores/counts/keys?limit=many", 400, query.CodeBadLimit, "many"},
		{"/v1/stores/counts/keys?cursor=!", 400, query.CodeBadCursor, "next"},
		{"/v1/stores/counts/keys?cursor=AAAA", 400, query.CodeBadCursor, "next"},
		{"/v1/stores/counts/keys?cursor=" + strings.Repeat("A", 20000), 400, query.CodeBadCursor, "20000"},
		{"/v1/stores/counts/keys?from=k&cursor=" + first.Next, 400, query.CodeBadCursor, "another query"},
		{"/v1/stores/by-uuid/keys?cursor=" + first.Next, 400, query.CodeBadCursor, "another query"},
		{"/v1/stores/totals/windows?cursor=" + first.Next, 400, query.CodeBadCursor, "another query"},
		{"/v1/stores/totals/keys/k001/windows?cursor=" + first.Next, 400, query.CodeBadCursor, "another query"},
		{"/v1/stores/counts/keys?form=a", 400, query.CodeBadParameter, "from, to, limit, cursor, stale"},
		{"/v1/stores/counts/keys?partitions=0", 400, query.CodeBadParameter, "partitions"},
		{"/v1/stores/counts/keys?from=a&from=b", 400, query.CodeBadParameter, "2 times"},
		{"/v1/stores/counts/keys?from=%zz", 400, query.CodeBadParameter, "query string"},
		{"/v1/stores/counts/keys/k001?stale=maybe", 400, query.CodeBadParameter, "true or false"},
		{"/v1/stores?x=1", 400, query.CodeBadParameter, "there is none"},
		{"/v1/topology?format=png", 400, query.CodeBadParameter, "mermaid"},
		{"/metrics", 404, query.CodeNoPath, "Gatherer"},
	} {
		name := c.path
		t.Run(name[:min(len(name), 60)], func(t *testing.T) {
			wantError(t, get(t, f.urls[0]+c.path), c.status, c.code, c.text)
		})
	}
	wantError(t, get(t, f.urls[0]+"/v1/stores/counts/keys?partitions=4", query.ForwardedHeader, "1"), 400, query.CodeBadParameter, "below 4")
}

func TestMethods(t *testing.T) {
	f := newFleet(t, 1, query.Config{})
	for _, path := range []string{"/v1/stores", "/v1/stores/counts/keys/a", "/healthz"} {
		resp, err := http.Post(f.urls[0]+path, "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("POST %s: %d, Allow %q", path, resp.StatusCode, resp.Header.Get("Allow"))
		}
		resp, err = http.Head(f.urls[0] + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == 405 || resp.ContentLength <= 0 {
			t.Errorf("HEAD %s: %d, length %d", path, resp.StatusCode, resp.ContentLength)
		}
	}
}

func TestListsStoresAndTopology(t *testing.T) {
	f := newFleet(t, 1, query.Config{})
	list := as[query.StoreList](t, get(t, f.urls[0]+"/v1/stores"), 200)
	want := []query.Store{
		{Name: "by-uuid", Kind: stores.AggregateKind, SubTopology: 1, Tasks: 4, ChangelogTopic: "shop-by-uuid-changelog"},
		{Name: "counts", Kind: stores.AggregateKind, Tasks: 4, ChangelogTopic: "shop-counts-changelog"},
		{Name: "totals", Kind: stores.WindowedKind, Tasks: 4, ChangelogTopic: "shop-totals-changelog"},
	}
	if fmt.Sprint(list.Stores) != fmt.Sprint(want) || list.Application != "shop" {
		t.Errorf("got %+v", list)
	}
	for format, text := range map[string]string{"": `"sub_topologies"`, "json": `"sub_topologies"`, "text": "Sub-topology: 0", "dot": "digraph", "mermaid": "flowchart"} {
		a := get(t, f.urls[0]+"/v1/topology?format="+format)
		if a.status != 200 || !strings.Contains(string(a.body), text) {
			t.Errorf("format %q: %d %s", format, a.status, a.body)
		}
	}
}

func TestHealthAndReadiness(t *testing.T) {
	f := newFleet(t, 1, query.Config{})
	m := f.members[0]
	status := func(path string) int { return get(t, f.urls[0]+path).status }
	if status("/healthz") != 200 || status("/readyz") != 200 {
		t.Error("a running instance is not ready")
	}
	h := m.tasks[streams.TaskID{Partition: 2}]
	m.set(func() { m.state, h.state, h.remaining = streams.Restoring, streams.TaskRestoring, 77 })
	if status("/healthz") != 200 {
		t.Error("an instance that restores is not healthy")
	}
	e := wantError(t, get(t, f.urls[0]+"/readyz"), 503, query.CodeNotReady)
	if len(e.Tasks) != 1 || e.Tasks[0] != (query.Lag{Task: "0_2", Remaining: 77}) {
		t.Errorf("tasks %v", e.Tasks)
	}
	m.set(func() { h.state = streams.TaskRunning; m.state = streams.Rebalancing })
	if status("/readyz") != 200 {
		t.Error("an instance is not ready though its tasks run through a rebalance")
	}
	m.set(func() { m.generation, m.directory = -1, nil })
	wantError(t, get(t, f.urls[0]+"/readyz"), 503, query.CodeNotReady, "group")
	for _, state := range []streams.State{streams.Created, streams.Starting, streams.Stopping} {
		m.set(func() { m.state = state })
		wantError(t, get(t, f.urls[0]+"/readyz"), 503, query.CodeNotReady, string(state))
		if status("/healthz") != 200 {
			t.Errorf("%s: not healthy", state)
		}
	}
	m.set(func() { m.state = streams.Failed })
	wantError(t, get(t, f.urls[0]+"/healthz"), 503, query.CodeNotReady, "failed")
}

// moving is a member without tasks that comes to another generation while it is
// asked for them.
type moving struct {
	*member
	to int32
}

func (m moving) Tasks() []streams.TaskInfo {
	m.set(func() { m.generation = m.to })
	return nil
}

func TestAnInstanceIsNotReadyForTasksItDoesNotShow(t *testing.T) {
	for from, to := range map[int32]int32{-1: 1, 1: -1} {
		m := newMember(t, shop(t))
		m.generation = from
		s, err := query.New(moving{m, to}, query.Config{})
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
		if w.Code != 503 || !strings.Contains(w.Body.String(), "group") {
			t.Errorf("from generation %d to %d: %d %s", from, to, w.Code, w.Body)
		}
	}
}

func TestStarting(t *testing.T) {
	f := newFleet(t, 1, query.Config{})
	m := f.members[0]
	m.set(func() { m.started, m.tasks, m.directory, m.generation = false, map[streams.TaskID]*heldTask{}, nil, -1 })
	for _, path := range []string{"/v1/stores/counts/keys/k", "/v1/stores/counts/keys", "/v1/stores/totals/windows", "/v1/stores/counts/owner?key=k"} {
		wantError(t, get(t, f.urls[0]+path), 503, query.CodeStarting)
	}
	as[query.StoreList](t, get(t, f.urls[0]+"/v1/stores"), 200)
	m.set(func() { m.started = true })
	wantError(t, get(t, f.urls[0]+"/v1/stores/counts/keys/k"), 503, query.CodeStarting, "group")
}

func TestMetricsAndLog(t *testing.T) {
	registry := prometheus.NewRegistry()
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "millrace_test"})
	registry.MustRegister(gauge)
	var log bytes.Buffer
	m := newMember(t, shop(t))
	s, err := query.New(m, query.Config{
		Gatherer: registry, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil)
	r.Header.Set("X-Request-Id", "req-1")
	s.ServeHTTP(w, r)
	if w.Code != 200 || !strings.Contains(w.Body.String(), "millrace_test 0") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, text := range []string{"path=/metrics", "status=200", "request_id=req-1"} {
		if !strings.Contains(log.String(), text) {
			t.Errorf("log %q lacks %q", log.String(), text)
		}
	}
	r.Header.Set("X-Request-Id", "forged\nline")
	w = httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if id := w.Header().Get("X-Request-Id"); id == "" || strings.Contains(id, "\n") {
		t.Errorf("id %q", id)
	}
}

// TestMountedBelowAPath serves under a prefix of somebody else's mux.
func TestMountedBelowAPath(t *testing.T) {
	m := newMember(t, shop(t))
	m.hold(t, 0, 0, 1, 2, 3)
	m.fill(t, 5)
	s, err := query.New(m, query.Config{})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/state/", http.StripPrefix("/state", s))
	srv := httptest.NewServer(mux)
	defer srv.Close()
	as[query.KeyValue](t, get(t, srv.URL+"/state/v1/stores/counts/keys/k001"), 200)
}

// TestPanicBecomesAnError asks an instance that panics.
func TestPanicBecomesAnError(t *testing.T) {
	m := newMember(t, shop(t))
	s, err := query.New(broken{m}, query.Config{})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/v1/stores", nil))
	if w.Code != 500 || !strings.Contains(w.Body.String(), query.CodeInternal) || strings.Contains(w.Body.String(), "boom") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

type broken struct{ *member }

func (broken) Stores() []streams.StoreInfo { panic("boom") }

func TestInvalidConfig(t *testing.T) {
	m := newMember(t, shop(t))
	_, err := query.New(m, query.Config{Timeout: -1, MaxItems: -1, MaxBytes: 1, Advertise: "10.0.0.7:8080"})
	if !errors.Is(err, query.ErrInvalidConfig) {
		t.Fatalf("got %v", err)
	}
	for _, text := range []string{"timeout", "max items", "max bytes", `"10.0.0.7:8080"`} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q lacks %q", err, text)
		}
	}
}

func TestServeStopsWithItsContext(t *testing.T) {
	m := newMember(t, shop(t))
	s, err := query.New(m, query.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := query.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ListenAndServe(t.Context(), ln.Addr().String()); !errors.Is(err, query.ErrListen) || !strings.Contains(err.Error(), "another process has the port") {
		t.Errorf("port in use: %v", err)
	}
	if _, err := query.Listen(t.Context(), "nonsense"); !errors.Is(err, query.ErrListen) {
		t.Errorf("bad address: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	as[query.StoreList](t, get(t, "http://"+ln.Addr().String()+"/v1/stores"), 200)
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Serve did not return")
	}
}
