package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

const (
	// maxPartitionBytes is how far a partition's request grows for a large batch;
	// sarama takes no answer above 100 MiB.
	maxPartitionBytes = 64 << 20

	// pausedWait replaces FetchConfig.MaxWait while a partition of the broker is
	// paused: it is likely to be resumed soon and must not wait for the others.
	pausedWait = 20 * time.Millisecond
)

// Fetcher reads partitions, wherever their leaders are, and hands what it reads
// to their sinks. It has one goroutine and connection a broker, and one goroutine
// that finds leaders. Its methods are safe for concurrent use.
type Fetcher struct {
	client *Client
	cfg    FetchConfig

	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	mu         sync.Mutex // guards what follows; never held during a request or Deliver
	partitions map[TopicPartition]*fetched
	readers    map[int32]*reader // by broker id
	lost       chan struct{}     // capacity 1: some partition has no leader
}

// fetched is one partition of a Fetcher. Fetcher.mu guards its fields.
type fetched struct {
	tp   TopicPartition
	sink Sink

	// delivering is held while the sink runs, so that Remove and Seek can wait
	// for a delivery under way.
	delivering sync.Mutex

	next     int64 // the offset to ask for
	seeks    int   // tells an answer to a question asked before a Seek
	bytes    int32
	leader   int32
	failures int  // since the last answer
	paused   bool // by the owner
	stopped  bool // out of range, until Seek
	removed  bool

	answered time.Time // last answer, or when the partition was added
	reported error     // the error last delivered since then
}

// reader fetches from one broker.
type reader struct {
	id   int32
	conn *conn         // its goroutine's own
	wake chan struct{} // capacity 1: there may be something to ask for
}

// NewFetcher returns a fetcher without partitions.
func (c *Client) NewFetcher(cfg FetchConfig) (*Fetcher, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	f := &Fetcher{
		client:     c,
		cfg:        cfg,
		partitions: map[TopicPartition]*fetched{},
		readers:    map[int32]*reader{},
		lost:       make(chan struct{}, 1),
	}
	f.ctx, f.cancel = context.WithCancelCause(context.Background())
	f.wg.Go(f.route)
	return f, nil
}

// Add begins to read a partition at an offset. Adding one that is there already
// replaces it, as Remove and Add would.
func (f *Fetcher) Add(tp TopicPartition, offset int64, sink Sink) {
	f.Remove(tp)
	silenceTopic(tp.Topic)
	f.mu.Lock()
	defer f.mu.Unlock()
	p := &fetched{tp: tp, sink: sink, next: offset, bytes: f.cfg.PartitionBytes, leader: noLeader, answered: time.Now()}
	f.partitions[tp] = p
	if id, _ := f.client.leader(tp); id != noLeader {
		f.assign(p, id)
		return
	}
	notify(f.lost)
}

// Remove ends the reading of a partition. Its sink is not called once Remove has
// returned.
func (f *Fetcher) Remove(tp TopicPartition) {
	f.mu.Lock()
	p := f.partitions[tp]
	delete(f.partitions, tp)
	if p != nil {
		p.removed = true
	}
	f.mu.Unlock()
	if p != nil {
		p.delivering.Lock()
		defer p.delivering.Unlock()
	}
}

// Seek continues the reading of a partition at another offset. What was read
// before it is not delivered once Seek has returned. A partition that is not
// there is left alone.
func (f *Fetcher) Seek(tp TopicPartition, offset int64) {
	f.mu.Lock()
	p := f.partitions[tp]
	if p != nil {
		p.next, p.stopped, p.reported = offset, false, nil
		p.seeks++
		f.wake(p)
	}
	f.mu.Unlock()
	if p != nil {
		p.delivering.Lock()
		defer p.delivering.Unlock()
	}
}

// Pause stops asking for a partition. What has been asked for is still delivered.
func (f *Fetcher) Pause(tp TopicPartition) { f.setPaused(tp, true) }

// Resume goes on asking for a partition.
func (f *Fetcher) Resume(tp TopicPartition) { f.setPaused(tp, false) }

func (f *Fetcher) setPaused(tp TopicPartition, paused bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.partitions[tp]; p != nil && p.paused != paused {
		p.paused = paused
		p.answered = time.Now() // a pause is no silence of the broker
		f.wake(p)
	}
}

// Close ends all reading and waits until no sink is being called.
func (f *Fetcher) Close() {
	f.mu.Lock() // no goroutine begins after the end
	f.cancel(ErrClosed)
	f.mu.Unlock()
	f.wg.Wait()
}

// assign gives a partition to the reader of its leader. mu is held.
func (f *Fetcher) assign(p *fetched, id int32) {
	if f.ctx.Err() != nil {
		return
	}
	addr, ok := f.client.address(id)
	if !ok {
		notify(f.lost)
		return
	}
	p.leader = id
	r := f.readers[id]
	if r == nil {
		r = &reader{id: id, wake: make(chan struct{}, 1), conn: newConn(&f.client.cfg, addr, f.client.cfg.RequestTimeout+f.cfg.MaxWait)}
		f.readers[id] = r
		f.wg.Go(func() { f.read(r) })
	}
	notify(r.wake)
}

// wake tells the reader of a partition that its wishes have changed. mu is held.
func (f *Fetcher) wake(p *fetched) {
	if r := f.readers[p.leader]; r != nil {
		notify(r.wake)
	}
}

// lose takes a partition from its reader, to be routed anew. mu is held.
func (f *Fetcher) lose(p *fetched) {
	p.leader = noLeader
	p.failures++
	notify(f.lost)
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// asked is one partition of a request.
type asked struct {
	*fetched
	from  int64
	seeks int
}

// read asks one broker for its partitions, again and again.
func (f *Fetcher) read(r *reader) {
	backoff := f.client.Backoff()
	defer func() { r.conn.close() }()
	for f.ctx.Err() == nil {
		if addr, ok := f.client.address(r.id); ok && addr != r.conn.addr { // the broker listens elsewhere now
			r.conn.close()
			r.conn = newConn(&f.client.cfg, addr, r.conn.timeout)
		}
		req, parts := f.request(r)
		if len(parts) == 0 {
			select {
			case <-r.wake:
			case <-f.ctx.Done():
			}
			continue
		}
		var resp *sarama.FetchResponse
		err := r.conn.call(f.ctx, func(b *sarama.Broker) (err error) {
			resp, err = b.Fetch(req)
			if err != nil {
				return err
			}
			return answer(sarama.KError(resp.ErrorCode), nil)
		})
		if f.ctx.Err() != nil {
			return
		}
		if err != nil {
			f.client.logger.LogAttrs(f.ctx, slog.LevelDebug, "fetch failed", slog.String("broker", r.conn.addr), slog.Any("error", err))
			for _, p := range parts {
				f.failed(p.fetched, err)
			}
			_ = backoff.Wait(f.ctx)
			continue
		}
		backoff.Reset()
		now := time.Now()
		for _, p := range parts {
			if block := resp.GetBlock(p.tp.Topic, p.tp.Partition); block != nil {
				f.handle(p, block, now)
			}
		}
	}
}

// request asks for every partition of a reader that can be read.
func (f *Fetcher) request(r *reader) (*sarama.FetchRequest, []asked) {
	f.mu.Lock()
	defer f.mu.Unlock()
	wait := f.cfg.MaxWait
	var parts []asked
	req := &sarama.FetchRequest{
		Version:      versionFetch,
		MinBytes:     1,
		MaxBytes:     f.cfg.ResponseBytes,
		Isolation:    sarama.IsolationLevel(f.cfg.Isolation),
		SessionEpoch: -1, // no fetch session
	}
	for _, p := range f.partitions {
		switch {
		case p.leader != r.id || p.stopped:
		case p.paused:
			wait = min(wait, pausedWait)
		default:
			req.AddBlock(p.tp.Topic, p.tp.Partition, p.next, p.bytes, -1)
			parts = append(parts, asked{p, p.next, p.seeks})
		}
	}
	req.MaxWaitTime = int32(wait.Milliseconds())
	return req, parts
}

// handle takes the answer about one partition.
func (f *Fetcher) handle(p asked, block *sarama.FetchResponseBlock, now time.Time) {
	switch code := block.Err; {
	case code == sarama.ErrOffsetOutOfRange:
		err := fmt.Errorf("%w: %v at offset %d, log starts at %d and ends at %d: %w",
			ErrOffsetOutOfRange, p.tp, p.from, block.LogStartOffset, block.HighWaterMarkOffset, code)
		f.deliver(p, &Delivery{
			TopicPartition: p.tp, Next: p.from, Err: err, Time: now,
			HighWatermark: block.HighWaterMarkOffset, LastStable: block.LastStableOffset, LogStart: block.LogStartOffset,
		}, false)
		return
	case code != sarama.ErrNoError:
		f.failed(p.fetched, answer(code, nil))
		return
	}
	d := &Delivery{TopicPartition: p.tp, Time: now}
	grow, err := d.decode(block, p.from, f.cfg.Isolation)
	if err != nil {
		d.Err = err
	}
	f.deliver(p, d, grow)
}

// deliver moves a partition on and calls its sink, unless it was removed or
// moved since the question was asked.
func (f *Fetcher) deliver(p asked, d *Delivery, grow bool) {
	p.delivering.Lock()
	defer p.delivering.Unlock()
	f.mu.Lock()
	stale := p.removed || p.seeks != p.fetched.seeks
	if !stale {
		p.next = d.Next
		p.failures, p.answered, p.reported = 0, d.Time, nil
		p.stopped = d.Err != nil
		if grow && p.bytes < maxPartitionBytes {
			p.bytes *= 2
		}
	}
	f.mu.Unlock()
	if !stale {
		p.sink.Deliver(d)
	}
}

// failed gives a partition back to be routed, and tells its sink if the failure
// is one that does not pass by itself, or has lasted too long.
func (f *Fetcher) failed(p *fetched, err error) {
	p.delivering.Lock()
	defer p.delivering.Unlock()
	now := time.Now()
	f.mu.Lock()
	report := error(nil)
	if !p.removed {
		f.lose(p)
		silent := now.Sub(p.answered)
		switch {
		case errors.Is(err, ErrUnauthorized), errors.Is(err, ErrAuthentication), errors.Is(err, ErrUnknownTopic), errors.Is(err, ErrUnsupported):
			report = fmt.Errorf("fetch %v: %w", p.tp, err)
		case silent >= f.client.cfg.RetryTimeout:
			report = fmt.Errorf("%w: fetch %v: no answer for %v: %w", ErrUnavailable, p.tp, silent.Round(time.Millisecond), err)
		}
		if report != nil && p.reported != nil {
			report = nil // told already
		}
		if report != nil {
			p.reported = report
		}
	}
	next := p.next
	f.mu.Unlock()
	if report != nil {
		p.sink.Deliver(&Delivery{TopicPartition: p.tp, Next: next, Time: now, Err: report})
	}
}

// route finds leaders for the partitions that have none.
func (f *Fetcher) route() {
	backoff := f.client.Backoff()
	for {
		select {
		case <-f.lost:
		case <-f.ctx.Done():
			return
		}
		lost, again := f.leaderless()
		if len(lost) == 0 {
			continue
		}
		if !again {
			backoff.Reset()
		} else if backoff.Wait(f.ctx) != nil {
			return
		}
		tps := make([]TopicPartition, len(lost))
		for i, p := range lost {
			tps[i] = p.tp
		}
		err := f.client.refresh(f.ctx, topicsOf(tps)...)
		if f.ctx.Err() != nil {
			return
		}
		for _, p := range lost {
			f.reroute(p, err)
		}
	}
}

// leaderless returns the partitions without a leader, and whether some of them
// has failed repeatedly.
func (f *Fetcher) leaderless() (lost []*fetched, again bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.partitions {
		if p.leader == noLeader {
			lost = append(lost, p)
			again = again || p.failures > 1
		}
	}
	return lost, again
}

// reroute assigns a partition after metadata was asked for, which failed with err
// if it is not nil.
func (f *Fetcher) reroute(p *fetched, err error) {
	id, exists := f.client.leader(p.tp)
	switch {
	case id != noLeader:
		f.mu.Lock()
		defer f.mu.Unlock()
		if !p.removed {
			f.assign(p, id)
		}
		return
	case err != nil:
	case !exists:
		err = fmt.Errorf("%w: %v", ErrUnknownTopic, p.tp)
	default:
		err = answer(sarama.ErrLeaderNotAvailable, nil)
	}
	f.failed(p, err)
}
