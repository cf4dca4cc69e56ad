package query_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/embedded"
	"github.com/millrace/millrace/query"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
)

// group is an application of real instances on loopback.
type group struct {
	t        *testing.T
	topology *topology.Topology
	brokers  []string

	mu      sync.Mutex
	changed chan struct{} // closed when an instance tells its listener something
}

// node is one instance with its server, which counts what others forward to it.
type node struct {
	instance *streams.Instance
	url      string
	storage  *gated

	mu        sync.Mutex
	forwarded int
}

// gated is a storage whose tasks do not finish their restore while the gate is
// shut: what belongs to the store held is not written.
type gated struct {
	streams.Storage
	held string
	gate chan struct{}
}

type gatedEngine struct {
	stores.Engine
	*gated
}

func (g *gated) Open(id streams.TaskID, onFailure func(error)) (stores.Engine, error) {
	e, err := g.Storage.Open(id, onFailure)
	return gatedEngine{e, g}, err
}

func (e gatedEngine) Ingest(ctx context.Context, entries []stores.Pair) error {
	h := fnv.New32a()
	h.Write([]byte(e.held))
	prefix := string(binary.BigEndian.AppendUint32(nil, h.Sum32()))
	for _, p := range entries {
		if strings.HasPrefix(string(p.Key), prefix) {
			select {
			case <-e.gate:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return e.Engine.Ingest(ctx, entries)
}

// start runs an instance and its server until the test ends.
func (g *group) start() *node {
	g.t.Helper()
	server := httptest.NewUnstartedServer(nil)
	n := &node{
		url:     "http://" + server.Listener.Addr().String(),
		storage: &gated{Storage: streams.NewMemoryStorage(), held: "held", gate: make(chan struct{})},
	}
	var err error
	n.instance, err = streams.New(g.topology, streams.Config{
		Brokers: g.brokers, Advertise: n.url, Storage: n.storage, Workers: 1, CommitInterval: 50 * time.Millisecond,
		Logger: slog.New(slog.DiscardHandler),
		Listener: streams.Listener{
			State:     func(_, _ streams.State) { g.notify() },
			Task:      func(streams.TaskID, streams.TaskState) { g.notify() },
			Restoring: func(streams.TaskID, string, int64) { g.notify() },
			Committed: func([]streams.TaskID) { g.notify() },
		},
	})
	if err != nil {
		g.t.Fatal(err)
	}
	handler, err := query.New(n.instance, query.Config{Advertise: n.url})
	if err != nil {
		g.t.Fatal(err)
	}
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(query.ForwardedHeader) != "" && strings.Contains(r.URL.Path, "/keys/") {
			n.mu.Lock()
			n.forwarded++
			n.mu.Unlock()
		}
		handler.ServeHTTP(w, r)
	})
	server.Start()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.instance.Run(ctx) }()
	g.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			g.t.Error(err)
		}
		server.Close()
	})
	return n
}

func (g *group) notify() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.changed)
	g.changed = make(chan struct{})
}

// until waits for a condition, which is looked at when an instance has told
// something.
func (g *group) until(what string, done func() bool) {
	g.t.Helper()
	timeout := time.After(time.Minute)
	for {
		g.mu.Lock()
		changed := g.changed
		g.mu.Unlock()
		if done() {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			g.t.Fatalf("waited for: %s", what)
		}
	}
}

// hops returns how often a key was asked for by forwarding since the last call.
func (n *node) hops() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	hops := n.forwarded
	n.forwarded = 0
	return hops
}

// ofState returns how many tasks of the node are in a state and readable.
func (n *node) ofState(s streams.TaskState) (count int) {
	for _, t := range n.instance.Tasks() {
		if _, _, open := n.instance.DB(t.Task); open && t.State == s {
			count++
		}
	}
	return count
}

// TestInstancesAnswerForOneAnother starts a second instance, which takes over half
// of the tasks, and asks the first for what the second has.
func TestInstancesAnswerForOneAnother(t *testing.T) {
	const partitions = 4
	cluster, err := embedded.Start(embedded.Config{Topics: map[string]int32{"clicks": partitions}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	b := topology.New("shared")
	clicks := topology.Source(b, "clicks", codec.String, codec.String).GroupByKey(codec.String, codec.String)
	clicks.Count(topology.Store("counts"))
	clicks.Count(topology.Store("held"))
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	keys := writeClicks(t, cluster.Addrs(), 20)
	g := &group{t: t, topology: top, brokers: cluster.Addrs(), changed: make(chan struct{})}
	path := func(n *node, key string) string { return n.url + "/v1/stores/counts/keys/" + key }

	a := g.start()
	close(a.storage.gate)
	g.until("a counts everything", func() bool {
		for _, key := range keys {
			if get(t, path(a, key)).status != 200 {
				return false
			}
		}
		return true
	})

	second := g.start()
	g.until("b restores", func() bool { return second.ofState(streams.TaskRestoring) == partitions/2 })
	var moved string
	for _, key := range keys {
		if id, err := second.instance.Task("counts", []byte(key)); err != nil {
			t.Fatal(err)
		} else if _, _, ok := second.instance.DB(id); ok {
			moved = key
		}
	}
	for _, n := range []*node{a, second} {
		g.until("it is known what is missing", func() bool {
			e := wantError(t, get(t, path(n, moved)), 503, query.CodeRestoring, "stale=true")
			return len(e.Tasks) == 1 && e.Tasks[0].Remaining > 0
		})
	}
	g.until("what is restored is there for those who take it", func() bool {
		answer := get(t, path(a, moved)+"?stale=true")
		if answer.status != 200 {
			return false
		}
		got := as[query.KeyValue](t, answer, 200)
		if !got.Stale || string(got.Value) != "3" {
			t.Errorf("a stale answer: %+v", got)
		}
		return true
	})

	close(second.storage.gate)
	g.until("b runs", func() bool { return second.ofState(streams.TaskRunning) == partitions/2 })
	a.hops()
	second.hops()
	if got := as[query.KeyValue](t, get(t, path(a, moved)), 200); got.Stale || string(got.Value) != "3" {
		t.Errorf("by way of a: %+v", got)
	}
	if there, back := second.hops(), a.hops(); there != 1 || back != 0 {
		t.Errorf("forwarded %d times, and %d times back, want once", there, back)
	}
	e := wantError(t, get(t, path(a, moved), query.ForwardedHeader, "1"), 421, query.CodeNotOwner)
	if e.Owner != second.url {
		t.Errorf("the owner is %q, want %q", e.Owner, second.url)
	}
	if n := second.hops(); n != 0 {
		t.Errorf("a request that was forwarded was forwarded again")
	}
	for _, key := range keys {
		for _, n := range []*node{a, second} {
			if got := as[query.KeyValue](t, get(t, path(n, key)), 200); string(got.Value) != "3" {
				t.Errorf("%s by way of %s: %+v", key, n.url, got)
			}
		}
	}
}

// writeClicks writes three clicks of each of n users and returns their names.
func writeClicks(t *testing.T, brokers []string, n int) []string {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var keys []string
	var errs []error
	for i := range n {
		key := fmt.Sprint("user", i)
		keys = append(keys, key)
		for range 3 {
			errs = append(errs, client.ProduceSync(t.Context(), &kgo.Record{Topic: "clicks", Key: []byte(key), Value: []byte("/")}).FirstErr())
		}
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return keys
}
