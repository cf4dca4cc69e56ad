package streams

import (
	"container/list"
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millrace/millrace/stores"
)

// Limits of what goes to a replica.
const (
	// replicaBatch is how many results go in one exchange.
	replicaBatch = 1000
	// replicaTimeout is how long an exchange may take; a replica that takes longer
	// is away.
	replicaTimeout = 3 * time.Second
	// replicaPause and replicaMostPause are between tries while it is away.
	replicaPause     = 100 * time.Millisecond
	replicaMostPause = 5 * time.Second
	// replicaDrain is how long an instance that stops waits for what is left, and
	// replicaDrainAll at the end of a bounded run.
	replicaDrain    = 2 * time.Second
	replicaDrainAll = time.Minute
)

// replication hands committed results to the replica. Workers offer them and
// never wait; a goroutine writes them. Of each key and window only the latest
// waits, so that what waits is bounded by the keys and windows that there are, and
// beyond that by limit. The methods of a nil replication do nothing.
type replication struct {
	replica stores.Replica
	only    []string // the stores that are replicated; all if empty
	log     *slog.Logger
	limit   int64
	metrics replicaMetrics
	drain   time.Duration
	all     bool          // a bounded run: what is left is tried again while drain lasts
	wake    chan struct{} // capacity 1
	closing chan struct{} // closed when no more is offered

	held atomic.Int64 // bytes that wait or are under way

	refused bool // the log was told; the goroutine's own

	mu      sync.Mutex // guards what follows; never held across a wait
	waiting map[string]*list.Element
	order   list.List // of *waitingResult, the one that has waited longest first
	dropped int64     // since the replica went away, or fell behind
}

// waitingResult is a result and what it is known by.
type waitingResult struct {
	id     string
	result stores.Result
}

func newReplication(cfg Config, log *slog.Logger) *replication {
	r := &replication{
		replica: cfg.Replica, only: cfg.ReplicaStores, log: log, limit: replicaShare(cfg.Memory), drain: replicaDrain,
		wake: make(chan struct{}, 1), closing: make(chan struct{}), waiting: map[string]*list.Element{},
	}
	if cfg.UntilEnd {
		r.drain, r.all = replicaDrainAll, true
	}
	r.metrics = newReplicaMetrics(cfg.Application, func() float64 {
		r.mu.Lock()
		defer r.mu.Unlock()
		return float64(r.order.Len())
	})
	return r
}

// replicaShare is how many bytes of results may wait for the replica.
func replicaShare(memory int64) int64 { return max(1<<20, min(128<<20, memory/16)) }

// wants returns what says which stores are replicated; nil for none.
func (r *replication) wants() func(store string) bool {
	if r == nil {
		return nil
	}
	return func(store string) bool { return len(r.only) == 0 || slices.Contains(r.only, store) }
}

// bytes returns what the results take that are not written yet.
func (r *replication) bytes() int64 {
	if r == nil {
		return 0
	}
	return r.held.Load()
}

// offer takes committed results. Any goroutine may call it; it does not wait.
func (r *replication) offer(results []stores.Result) {
	if r == nil || len(results) == 0 {
		return
	}
	r.mu.Lock()
	for i := range results {
		r.put(string(results[i].AppendID(nil)), results[i], false)
	}
	began := r.bound()
	r.mu.Unlock()
	if began {
		r.log.Warn("the replica is behind: the results that have waited longest are dropped", "limit_bytes", r.limit)
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// put adds a result, in place of an older one of its key and window. One that
// comes back because it could not be written goes first. mu is held.
func (r *replication) put(id string, result stores.Result, back bool) {
	if e, ok := r.waiting[id]; ok {
		w := e.Value.(*waitingResult)
		if !back && !result.Version.Before(w.result.Version) {
			r.held.Add(result.Size() - w.result.Size())
			w.result = result
		}
		return
	}
	w := &waitingResult{id, result}
	if back {
		r.waiting[id] = r.order.PushFront(w)
	} else {
		r.waiting[id] = r.order.PushBack(w)
	}
	r.held.Add(result.Size())
}

// bound drops what has waited longest until the limit is kept. It reports whether
// these are the first since all was written. mu is held.
func (r *replication) bound() (began bool) {
	before := r.dropped
	for r.held.Load() > r.limit && r.order.Len() > 0 {
		r.remove(r.order.Front())
		r.dropped++
		r.metrics.results.WithLabelValues("dropped").Inc()
	}
	return before == 0 && r.dropped > 0
}

func (r *replication) remove(e *list.Element) *waitingResult {
	w := r.order.Remove(e).(*waitingResult)
	delete(r.waiting, w.id)
	r.held.Add(-w.result.Size())
	return w
}

// take returns the results that have waited longest. They count as held until
// release.
func (r *replication) take() []stores.Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	batch := make([]stores.Result, 0, min(replicaBatch, r.order.Len()))
	for len(batch) < replicaBatch && r.order.Len() > 0 {
		w := r.remove(r.order.Front())
		r.held.Add(w.result.Size())
		batch = append(batch, w.result)
	}
	return batch
}

// release ends the exchange of a batch; what could not be written waits again,
// unless something newer does.
func (r *replication) release(batch []stores.Result, failed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range slices.Backward(batch) {
		r.held.Add(-batch[i].Size())
		if failed {
			r.put(string(batch[i].AppendID(nil)), batch[i], true)
		}
	}
	if failed {
		r.bound()
	}
}

// start starts the goroutine, and returns what ends it: it waits a little for
// what is left, and in a bounded run for a replica that is away, too.
func (r *replication) start() (stop func()) {
	if r == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.run(ctx)
	}()
	return func() {
		defer cancel()
		close(r.closing)
		defer time.AfterFunc(r.drain, cancel).Stop()
		<-done
		if n := r.left(); n > 0 {
			r.log.Warn("stopped before the replica had the latest results", "results", n)
		}
	}
}

func (r *replication) left() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.order.Len()
}

// run writes what is offered until ctx ends, or nothing is left when closing is
// closed.
func (r *replication) run(ctx context.Context) {
	var away time.Time // since when; zero if it is not
	pause := replicaPause
	ends := r.closing // what ends the wait for a replica that is away
	if r.all {
		ends = nil
	}
	for {
		batch := r.take()
		if len(batch) == 0 {
			select {
			case <-r.wake:
				continue
			case <-r.closing:
			}
			if r.left() == 0 {
				return
			}
			continue
		}
		err := r.write(ctx, batch)
		r.release(batch, err != nil)
		if err == nil {
			if !away.IsZero() {
				r.metrics.up.Set(1)
				r.log.Info("the replica takes results again", "away", time.Since(away).Round(time.Millisecond))
				away, pause = time.Time{}, replicaPause
			}
			r.caughtUp()
			continue
		}
		if away.IsZero() {
			away = time.Now()
			r.metrics.up.Set(0)
			r.log.Warn("the replica takes no results: processing goes on, and those that wait for it are bounded", "limit_bytes", r.limit, "error", err)
		}
		select {
		case <-ends:
			return // nobody waits for a replica that is away
		case <-ctx.Done():
			return
		case <-time.After(pause):
			pause = min(2*pause, replicaMostPause)
		}
	}
}

// write writes a batch in one exchange.
func (r *replication) write(ctx context.Context, batch []stores.Result) error {
	ctx, cancel := context.WithTimeout(ctx, replicaTimeout)
	defer cancel()
	out, err := r.replica.Write(ctx, batch)
	if err != nil {
		return err
	}
	r.metrics.results.WithLabelValues("written").Add(float64(len(batch) - out.Stale - out.Refused))
	r.metrics.results.WithLabelValues("stale").Add(float64(out.Stale))
	r.metrics.results.WithLabelValues("refused").Add(float64(out.Refused))
	if out.Refused > 0 && !r.refused {
		r.refused = true
		r.log.Warn("the replica refuses results, the first of perhaps many: see millrace_replica_results_total", "error", out.Err)
	}
	return nil
}

// caughtUp tells, when nothing waits any more, how many results were dropped.
func (r *replication) caughtUp() {
	r.mu.Lock()
	dropped := r.dropped
	done := r.order.Len() == 0
	if done {
		r.dropped = 0
	}
	r.mu.Unlock()
	if done && dropped > 0 {
		r.log.Info("the replica has caught up", "dropped", dropped)
	}
}

// replicaMetrics are the collectors of an instance with a replica.
type replicaMetrics struct {
	results *prometheus.CounterVec
	up      prometheus.Gauge
	waiting prometheus.Collector
}

func newReplicaMetrics(application string, waiting func() float64) replicaMetrics {
	labels := prometheus.Labels{"application": application}
	m := replicaMetrics{
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_replica_results_total", Help: "Results for the replica, by what became of them.", ConstLabels: labels,
		}, []string{"outcome"}),
		up: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "millrace_replica_up", Help: "0 while the replica takes no results, else 1.", ConstLabels: labels,
		}),
		waiting: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "millrace_replica_waiting_results", Help: "Results that wait for the replica.", ConstLabels: labels,
		}, waiting),
	}
	m.up.Set(1)
	for _, outcome := range []string{"written", "stale", "refused", "dropped"} {
		m.results.WithLabelValues(outcome)
	}
	return m
}

func (m replicaMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.results, m.up, m.waiting}
}
