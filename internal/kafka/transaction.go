package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"
)

// TransactionConfig is a transactional producer.
type TransactionConfig struct {
	ProducerConfig

	// ID names the producer over its restarts, and no other one at the same
	// time: making a producer fences the one before it.
	ID string

	// Timeout is how long a transaction may stay open before its coordinator
	// aborts it, which fences the producer. Readers wait that long for a producer
	// that nobody replaces. At most the broker's transaction.max.timeout.ms.
	// Default 20 s.
	Timeout time.Duration
}

// TransactionalProducer is a Producer whose records are seen together, with the
// offsets that they stand for, or never (KIP-98, KIP-447). The owner of the
// Producer calls its other methods too.
//
// A transaction begins with the first Send or SendOffsets after the one before
// it, and ends with Commit. There is no abort: Close leaves the transaction open,
// and a new producer of the same ID, or Client.FenceProducer, aborts it. Either
// also settles a Commit of unknown outcome: when they return it has happened or
// never will.
type TransactionalProducer struct {
	*Producer
}

// transaction is what makes a Producer transactional.
type transaction struct {
	id          string
	timeout     time.Duration
	coordinator *transactionCoordinator
	wake        chan struct{} // capacity 1: a partition wants to take part

	// Producer.mu guards what follows.
	open    bool        // something was sent since the last commit
	joining []*outgoing // partitions that the coordinator is to be told of
}

// participation is a partition's part in the transaction under way. The broker
// takes no records of a partition that the coordinator does not know of.
type participation int8

const (
	outside participation = iota
	joining
	inside
)

// NewTransactionalProducer fences every earlier producer of the ID, waits until
// what it has left open is committed or aborted, and returns a producer.
func (c *Client) NewTransactionalProducer(ctx context.Context, cfg TransactionConfig) (*TransactionalProducer, error) {
	if cfg.ID == "" {
		return nil, fmt.Errorf("%w: transactional producer without an id", ErrInvalidConfig)
	}
	if cfg.Timeout < 0 {
		return nil, fmt.Errorf("%w: transactional producer %q: timeout %v is negative", ErrInvalidConfig, cfg.ID, cfg.Timeout)
	}
	orDefault(&cfg.Timeout, 20*time.Second)
	p, err := c.newProducer(ctx, cfg.ProducerConfig, &transaction{
		id: cfg.ID, timeout: cfg.Timeout, coordinator: c.transactionCoordinator(cfg.ID), wake: make(chan struct{}, 1),
	})
	if err != nil {
		return nil, err
	}
	return &TransactionalProducer{p}, nil
}

// fenceTimeout is the timeout of a producer that is only there to fence another:
// it begins no transaction, and no broker's transaction.max.timeout.ms is shorter.
const fenceTimeout = time.Second

// FenceProducer aborts what a producer of the transactional ID has left open,
// and fences the producer if it is still there. Its readers go on at once, and
// not after the transaction's timeout.
func (c *Client) FenceProducer(ctx context.Context, transactionalID string) error {
	if transactionalID == "" {
		return fmt.Errorf("%w: no transactional id to fence", ErrInvalidConfig)
	}
	tc := c.transactionCoordinator(transactionalID)
	defer tc.close()
	_, _, err := tc.identify(ctx, fenceTimeout)
	return err
}

// Open reports whether a transaction has begun that is not committed.
func (p *TransactionalProducer) Open() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.txn.open
}

// SendOffsets makes a member's positions a part of the transaction: they count
// once it is committed.
//
// ErrIllegalGeneration, ErrRebalanceInProgress, ErrUnknownMember and
// ErrFencedInstance say that the coordinator of the group did not take them from
// this member. The transaction stays open then, and they may be sent again under
// another generation. Any other error fails the producer.
func (p *TransactionalProducer) SendOffsets(ctx context.Context, commit Commit) error {
	if commit.MemberID == "" || commit.Generation < 0 {
		return fmt.Errorf("%w: offsets for group %q without a member id and generation", ErrInvalidConfig, commit.Group)
	}
	if len(commit.Offsets) == 0 {
		return nil
	}
	p.mu.Lock()
	err := p.err
	p.txn.open = true
	p.mu.Unlock()
	if err != nil {
		return err
	}
	ctx, cancel := p.bound(ctx)
	defer cancel()
	if err = p.addGroup(ctx, commit.Group); err == nil {
		err = p.commitOffsets(ctx, commit)
	}
	for _, refused := range []error{ErrIllegalGeneration, ErrRebalanceInProgress, ErrUnknownMember, ErrFencedInstance} {
		if errors.Is(err, refused) {
			return err
		}
	}
	return p.failed(err)
}

// Commit flushes and ends the transaction. Without one it does nothing. An error
// fails the producer; whether the transaction was committed is then unknown, and
// known again once another producer of the same ID was made.
func (p *TransactionalProducer) Commit(ctx context.Context) error {
	if err := p.Flush(ctx); err != nil {
		return p.failed(err)
	}
	if !p.Open() {
		return nil
	}
	ctx, cancel := p.bound(ctx)
	defer cancel()
	// What was asked and not answered may have been done: the coordinator takes
	// the repeat of a commit, until another transaction begins.
	err := p.txn.coordinator.call(ctx, "commit the transaction", func(b *sarama.Broker) error {
		r, err := b.EndTxn(&sarama.EndTxnRequest{
			Version: versionEndTxn, TransactionalID: p.txn.id, ProducerID: p.id, ProducerEpoch: p.epoch, TransactionResult: true,
		})
		if err != nil {
			return err
		}
		return answer(r.Err, nil)
	})
	if err != nil {
		return p.failed(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.txn.open = false
	for _, o := range p.order {
		o.part = outside
	}
	return nil
}

// failed fails the producer with err, if there is one.
func (p *TransactionalProducer) failed(err error) error {
	if err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.fail(err)
	}
	return err
}

// bound returns a context that ends with ctx and with the producer.
func (p *TransactionalProducer) bound(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(p.ctx, func() { cancel(context.Cause(p.ctx)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// takePart has the coordinator told of a partition before its first batch of
// the transaction is sent. mu is held.
func (p *Producer) takePart(o *outgoing) {
	p.txn.open = true
	if o.part == outside {
		o.part = joining
		p.txn.joining = append(p.txn.joining, o)
		notify(p.txn.wake)
	}
}

// enlist tells the coordinator of partitions until the producer is closed.
func (p *Producer) enlist() {
	defer p.txn.coordinator.close()
	for {
		select {
		case <-p.txn.wake:
		case <-p.ctx.Done():
			return
		}
		p.mu.Lock()
		strangers := p.txn.joining
		p.txn.joining = nil
		p.mu.Unlock()
		if len(strangers) == 0 {
			continue
		}
		err := p.addPartitions(p.ctx, strangers)
		p.mu.Lock()
		if err != nil {
			p.fail(err)
		}
		for _, o := range strangers {
			o.part = inside
			if err == nil && len(o.queue) > 0 {
				p.dispatch(o)
			}
		}
		p.mu.Unlock()
	}
}
