package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"
)

// The waits while a coordinator still writes the markers of a transaction: it
// answers CONCURRENT_TRANSACTIONS for a few milliseconds after each commit.
const (
	leastMarkerWait = time.Millisecond
	mostMarkerWait  = 20 * time.Millisecond
)

// transactionCoordinator sends the requests of one transactional id to the
// broker that coordinates it, on a connection of its own.
type transactionCoordinator struct {
	client *Client
	id     string
	turn   chan struct{} // holds one token while a call is under way
	conn   *conn         // belongs to the holder of the turn; nil while the broker is not known
	closed bool          // the same
}

func (c *Client) transactionCoordinator(id string) *transactionCoordinator {
	return &transactionCoordinator{client: c, id: id, turn: make(chan struct{}, 1)}
}

// close waits for the call under way. Later calls fail with ErrClosed.
func (t *transactionCoordinator) close() {
	t.turn <- struct{}{}
	defer func() { <-t.turn }()
	t.closed = true
	t.drop()
}

func (t *transactionCoordinator) drop() {
	if t.conn != nil {
		t.conn.close()
		t.conn = nil
	}
}

// call sends a request until it has an answer that another attempt, or another
// broker, would not change.
func (t *transactionCoordinator) call(ctx context.Context, what string, request func(*sarama.Broker) error) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case t.turn <- struct{}{}:
	}
	defer func() { <-t.turn }()
	if t.closed {
		return ErrClosed
	}
	return t.client.Retry(ctx, fmt.Sprintf("%s of transactional id %q", what, t.id), func(ctx context.Context) error {
		if t.conn == nil {
			addr, err := t.client.findCoordinator(ctx, t.id, sarama.CoordinatorTransaction)
			if err != nil {
				return err
			}
			t.conn = newConn(&t.client.cfg, addr, t.client.cfg.RequestTimeout)
		}
		err := t.patient(ctx, request)
		if err != nil && retriable(err) {
			t.drop()
		}
		return err
	})
}

// patient sends a request again while markers are being written.
func (t *transactionCoordinator) patient(ctx context.Context, request func(*sarama.Broker) error) error {
	began := time.Now()
	for wait := leastMarkerWait; ; wait = min(2*wait, mostMarkerWait) {
		err := t.conn.call(ctx, request)
		if !errors.Is(err, sarama.ErrConcurrentTransactions) || time.Since(began) > t.client.cfg.RetryTimeout {
			return err
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// identify fences the earlier producers of the id, has what they left open
// settled, and returns the id and epoch that the next one writes under.
func (t *transactionCoordinator) identify(ctx context.Context, timeout time.Duration) (id int64, epoch int16, err error) {
	err = t.call(ctx, "get a producer id", func(b *sarama.Broker) error {
		r, err := b.InitProducerID(&sarama.InitProducerIDRequest{
			Version: versionInitProducerID, TransactionalID: &t.id, TransactionTimeout: timeout, ProducerID: -1, ProducerEpoch: -1,
		})
		if err != nil {
			return err
		}
		id, epoch = r.ProducerID, r.ProducerEpoch
		return answer(r.Err, nil)
	})
	return id, epoch, err
}

// addPartitions makes partitions a part of the transaction.
func (p *Producer) addPartitions(ctx context.Context, strangers []*outgoing) error {
	topics := map[string][]int32{}
	for _, o := range strangers {
		topics[o.tp.Topic] = append(topics[o.tp.Topic], o.tp.Partition)
	}
	return p.txn.coordinator.call(ctx, "add partitions to the transaction", func(b *sarama.Broker) error {
		r, err := b.AddPartitionsToTxn(&sarama.AddPartitionsToTxnRequest{
			Version: versionAddPartitionsToTxn, TransactionalID: p.txn.id, ProducerID: p.id, ProducerEpoch: p.epoch, TopicPartitions: topics,
		})
		if err != nil {
			return err
		}
		return partitionErrors(topics, r.Errors)
	})
}

// addGroup makes a group's offsets a part of the transaction.
func (p *Producer) addGroup(ctx context.Context, group string) error {
	return p.txn.coordinator.call(ctx, "add offsets to the transaction", func(b *sarama.Broker) error {
		r, err := b.AddOffsetsToTxn(&sarama.AddOffsetsToTxnRequest{
			Version: versionAddOffsetsToTxn, TransactionalID: p.txn.id, ProducerID: p.id, ProducerEpoch: p.epoch, GroupID: group,
		})
		if err != nil {
			return err
		}
		return answer(r.Err, nil)
	})
}

// commitOffsets hands the coordinator of the group the offsets that count when
// the transaction is committed.
func (p *Producer) commitOffsets(ctx context.Context, commit Commit) error {
	req := &sarama.TxnOffsetCommitRequest{
		Version: versionTxnOffsetCommit, TransactionalID: p.txn.id, GroupID: commit.Group, ProducerID: p.id, ProducerEpoch: p.epoch,
		GenerationID: commit.Generation, MemberID: commit.MemberID, GroupInstanceID: optional(commit.InstanceID),
		Topics: map[string][]*sarama.PartitionOffsetMetadata{},
	}
	asked := map[string][]int32{}
	for tp, position := range commit.Offsets {
		asked[tp.Topic] = append(asked[tp.Topic], tp.Partition)
		req.Topics[tp.Topic] = append(req.Topics[tp.Topic], &sarama.PartitionOffsetMetadata{
			Partition: tp.Partition, Offset: position.Offset, LeaderEpoch: -1, Metadata: &position.Metadata,
		})
	}
	what := fmt.Sprintf("commit offsets of group %q with transactional id %q", commit.Group, p.txn.id)
	return p.client.onCoordinator(ctx, what, commit.Group, func(b *sarama.Broker) error {
		r, err := b.TxnOffsetCommit(req)
		if err != nil {
			return err
		}
		return partitionErrors(asked, r.Topics)
	})
}

// partitionErrors returns what an answer says of the partitions that were asked
// about: rather an error that another attempt does not change than one that it
// may.
func partitionErrors(asked map[string][]int32, answers map[string][]*sarama.PartitionError) error {
	codes := map[TopicPartition]sarama.KError{}
	for topic, partitions := range answers {
		for _, a := range partitions {
			codes[TopicPartition{topic, a.Partition}] = a.Err
		}
	}
	var passing error
	for topic, partitions := range asked {
		for _, p := range partitions {
			tp := TopicPartition{topic, p}
			code, ok := codes[tp]
			var err error
			switch {
			case !ok:
				err = passingError{sarama.ErrIncompleteResponse}
			case code == sarama.ErrUnknownTopicOrPartition, code == sarama.ErrOperationNotAttempted:
				// A new topic is not yet known to every broker, and one partition's
				// error keeps the others from being looked at.
				err = passingError{answer(code, nil)}
			default:
				err = answer(code, nil)
			}
			switch {
			case err == nil:
			case !retriable(err):
				return fmt.Errorf("%v: %w", tp, err)
			case passing == nil || code != sarama.ErrOperationNotAttempted:
				passing = fmt.Errorf("%v: %w", tp, err)
			}
		}
	}
	return passing
}
