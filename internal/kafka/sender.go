package kafka

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// requestBytes bounds one produce request, before compression.
const requestBytes = 8 << 20

// sender writes to one broker for a Producer, on a connection of its own with at
// most inFlight requests unanswered.
type sender struct {
	id       int32
	conn     *conn // its goroutine's own
	inFlight int   // its goroutine's own
	wake     chan struct{}

	mu      sync.Mutex
	answers []produced // not looked at yet
}

// produced is the outcome of one produce request: one batch a partition.
type produced struct {
	batches  []*batch
	response *sarama.ProduceResponse
	err      error
}

// assign gives a partition to the sender of its leader. mu is held.
func (p *Producer) assign(o *outgoing, id int32) {
	if p.ctx.Err() != nil {
		return
	}
	addr, ok := p.client.address(id)
	if !ok {
		notify(p.lost)
		return
	}
	o.leader = id
	s := p.senders[id]
	if s == nil {
		s = &sender{id: id, wake: make(chan struct{}, 1), conn: newConn(&p.client.cfg, addr, 2*p.client.cfg.RequestTimeout)}
		p.senders[id] = s
		p.wg.Go(func() { p.run(s) })
	}
	notify(s.wake)
}

// run sends what is queued for one broker and settles the answers.
func (p *Producer) run(s *sender) {
	defer func() { s.conn.close() }()
	for p.ctx.Err() == nil {
		if p.settle(s) {
			s.conn.reset() // all requests without an answer have one now
			p.settle(s)
		}
		if addr, ok := p.client.address(s.id); ok && addr != s.conn.addr && s.inFlight == 0 { // the broker listens elsewhere now
			s.conn.close()
			s.conn = newConn(&p.client.cfg, addr, s.conn.timeout)
		}
		batches := p.take(s)
		if len(batches) == 0 {
			select {
			case <-s.wake:
			case <-p.ctx.Done():
			}
			continue
		}
		p.transmit(s, batches)
	}
}

// take moves the next batch of each partition that a broker leads from its queue
// into flight. The first one goes alone: a broker that has nothing of a producer
// takes any sequence number, so if it refused the first batch (not yet the leader,
// say) and took the second, the first would come too late for ever.
func (p *Producer) take(s *sender) []*batch {
	if s.inFlight >= inFlight {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return nil
	}
	var batches []*batch
	size := 0
	for _, o := range p.order {
		if o.leader != s.id || o.broken || len(o.queue) == 0 || !o.known && o.pending > 0 || p.txn != nil && o.part != inside {
			continue
		}
		b := o.queue[0]
		if size > 0 && size+b.size > requestBytes {
			continue
		}
		size += b.size
		o.queue = slices.Delete(o.queue, 0, 1)
		o.flight = append(o.flight, b)
		o.pending++
		batches = append(batches, b)
	}
	return batches
}

// transmit writes one produce request; its answer arrives in s.answers.
func (p *Producer) transmit(s *sender, batches []*batch) {
	req := &sarama.ProduceRequest{
		Version:      versionProduce,
		RequiredAcks: sarama.WaitForAll,
		Timeout:      int32(p.client.cfg.RequestTimeout.Milliseconds()),
	}
	if p.txn != nil {
		req.TransactionalID = &p.txn.id
	}
	for _, b := range batches {
		req.AddBatch(b.to.tp.Topic, b.to.tp.Partition, &b.wire)
	}
	s.inFlight++
	err := s.conn.call(p.ctx, func(broker *sarama.Broker) error {
		// The callback runs in sarama's reading goroutine, which must not be held up.
		return broker.AsyncProduce(req, func(r *sarama.ProduceResponse, err error) {
			s.answered(produced{batches, r, err})
		})
	})
	if err != nil {
		s.answered(produced{batches, nil, err})
	}
}

func (s *sender) answered(a produced) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers = append(s.answers, a)
	notify(s.wake)
}

// settle takes the answers that have come. broken says that the connection is of
// no more use.
func (p *Producer) settle(s *sender) (broken bool) {
	s.mu.Lock()
	answers := s.answers
	s.answers = nil
	s.mu.Unlock()
	if len(answers) == 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range answers {
		s.inFlight--
		if a.err != nil {
			broken = true
			if !answered(a.err) && !retriable(a.err) {
				a.err = &brokerError{s.conn.addr, a.err}
			}
			p.client.logger.LogAttrs(p.ctx, slog.LevelDebug, "produce failed", slog.String("broker", s.conn.addr), slog.Any("error", a.err))
		}
		for _, b := range a.batches {
			err := a.err
			var block *sarama.ProduceResponseBlock
			if err == nil {
				if block = a.response.GetBlock(b.to.tp.Topic, b.to.tp.Partition); block == nil {
					err = &brokerError{s.conn.addr, sarama.ErrIncompleteResponse}
				}
			}
			p.outcome(b, block, err)
		}
	}
	p.signal()
	return broken
}

// outcome settles one batch by its answer, or by the error in place of one. mu is
// held.
func (p *Producer) outcome(b *batch, block *sarama.ProduceResponseBlock, err error) {
	o := b.to
	o.pending--
	if err == nil {
		switch code := block.Err; {
		case code == sarama.ErrNoError:
			p.acknowledged(b, block.Offset)
		case code == sarama.ErrDuplicateSequenceNumber:
			p.acknowledged(b, -1)
		case code == sarama.ErrMessageSizeTooLarge, code == sarama.ErrMessageSetSizeTooLarge:
			p.fail(&RecordTooLargeError{Topic: o.tp.Topic, Partition: o.tp.Partition, Size: b.size, Records: len(b.records)})
		case code == sarama.ErrOutOfOrderSequenceNumber && o.broken:
			// The batch before this one failed, and both are sent again in order.
		case moved(code), loading(code), code == sarama.ErrUnknownTopicOrPartition:
			o.broken, o.cause = true, answer(code, block.ErrorMessage)
		default:
			p.fail(fmt.Errorf("produce to %v: %w", o.tp, answer(code, block.ErrorMessage)))
		}
	} else if o.broken, o.cause = true, err; !retriable(err) {
		p.fail(fmt.Errorf("produce to %v: %w", o.tp, err))
	}
	if o.broken && o.pending == 0 {
		p.requeue(o)
	}
}

// acknowledged takes a batch out of flight. base is the offset of its first
// record, -1 if the broker did not know it. mu is held.
func (p *Producer) acknowledged(b *batch, base int64) {
	o := b.to
	i := slices.Index(o.flight, b)
	o.flight = slices.Delete(o.flight, i, i+1)
	if !o.broken {
		o.known, o.failures = true, 0
	}
	n := int64(len(b.records))
	switch {
	case o.ack.Records == 0 && base >= 0:
		o.ack.Base, o.ack.Next = base, base+n
	case base < 0 || o.ack.Base < 0:
		o.ack.Base, o.ack.Next = -1, -1
	default:
		o.ack.Base, o.ack.Next = min(o.ack.Base, base), max(o.ack.Next, base+n)
	}
	o.ack.Records += n
	p.recycle(b)
}

// requeue puts what failed back in front of the queue, in order and with the same
// sequence numbers, and has the leader looked up. mu is held.
func (p *Producer) requeue(o *outgoing) {
	o.queue = slices.Insert(o.queue, 0, o.flight...)
	clear(o.flight)
	o.flight = o.flight[:0]
	o.broken, o.known = false, false
	p.lose(o)
}

// lose has a partition's leader looked up again, unless its first batch has been
// tried for too long. mu is held.
func (p *Producer) lose(o *outgoing) {
	o.leader = noLeader
	o.failures++
	if waited := time.Since(o.queue[0].opened); waited >= p.client.cfg.RetryTimeout {
		p.fail(fmt.Errorf("%w: produce to %v: not acknowledged for %v: %w", ErrUnavailable, o.tp, waited.Round(time.Millisecond), o.cause))
		return
	}
	notify(p.lost)
}

// route finds leaders for the partitions that have batches and no leader.
func (p *Producer) route() {
	backoff := p.client.Backoff()
	for {
		select {
		case <-p.lost:
		case <-p.ctx.Done():
			return
		}
		lost, again := p.leaderless()
		if len(lost) == 0 {
			continue
		}
		if !again {
			backoff.Reset()
		} else if backoff.Wait(p.ctx) != nil {
			return
		}
		err := p.client.refresh(p.ctx, topicsOf(lost)...)
		if p.ctx.Err() != nil {
			return
		}
		p.reroute(lost, err)
	}
}

// leaderless returns the partitions to route, and whether one has failed
// repeatedly.
func (p *Producer) leaderless() (lost []TopicPartition, again bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return nil, false
	}
	for _, o := range p.order {
		if o.leader == noLeader && len(o.queue) > 0 {
			lost = append(lost, o.tp)
			again = again || o.failures > 1
		}
	}
	return lost, again
}

// reroute assigns partitions after metadata was asked for, which failed with err
// if it is not nil.
func (p *Producer) reroute(lost []TopicPartition, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, tp := range lost {
		o := p.partitions[tp]
		id, exists := p.client.leader(tp)
		switch {
		case id != noLeader:
			p.assign(o, id)
			continue
		case err != nil:
			o.cause = err
			if !retriable(err) {
				p.fail(fmt.Errorf("produce to %v: %w", tp, err))
				return
			}
		case !exists:
			o.cause = ErrUnknownTopic
		default:
			o.cause = answer(sarama.ErrLeaderNotAvailable, nil)
		}
		p.lose(o)
	}
}
