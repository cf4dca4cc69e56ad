package kafka

import (
	"errors"
	"fmt"

	"github.com/IBM/sarama"
)

// Errors of opening and reaching a cluster.
var (
	// ErrInvalidConfig: a configuration or an argument cannot work as it stands.
	ErrInvalidConfig = errors.New("kafka: invalid configuration")
	// ErrClosed: the client, fetcher, producer or member was closed.
	ErrClosed = errors.New("kafka: closed")
	// ErrUnavailable: an operation was retried until its time was over. The
	// error says what was tried, how often, and the last cause.
	ErrUnavailable = errors.New("kafka: unavailable")
	// ErrAuthentication: the broker refused the user or the mechanism.
	ErrAuthentication = errors.New("kafka: authentication failed")
	// ErrUnauthorized: the user may not do this; an ACL is missing.
	ErrUnauthorized = errors.New("kafka: not authorized")
	// ErrUnsupported: the broker is too old, or a log is in a format from
	// before Kafka 0.11.
	ErrUnsupported = errors.New("kafka: not supported")
)

// Errors about topics and positions.
var (
	// ErrUnknownTopic: the topic, or a partition of it, does not exist.
	ErrUnknownTopic = errors.New("kafka: unknown topic or partition")
	// ErrOffsetOutOfRange: the offset is below the log's start or above its end.
	ErrOffsetOutOfRange = errors.New("kafka: offset out of range")
)

// Errors of a group's members and their commits. What each asks of the member is
// part of its contract.
var (
	// ErrRebalanceInProgress: the group is rebalancing; join again.
	ErrRebalanceInProgress = errors.New("kafka: rebalance in progress")
	// ErrIllegalGeneration: the group has moved on; what was owned may now be
	// somebody else's. Join again.
	ErrIllegalGeneration = errors.New("kafka: illegal generation")
	// ErrUnknownMember: the coordinator expelled or never knew this member;
	// nothing is owned any more. Join again, as a new member.
	ErrUnknownMember = errors.New("kafka: unknown member")
	// ErrFencedInstance: another process joined with the same instance id. This
	// one must stop.
	ErrFencedInstance = errors.New("kafka: instance id taken over by another process")
	// ErrInconsistentProtocol: the group's members have no assignment protocol
	// in common with this one; another application uses the group's name.
	ErrInconsistentProtocol = errors.New("kafka: group uses another protocol")
	// ErrGroupNotEmpty: the group still has members; stop them first.
	ErrGroupNotEmpty = errors.New("kafka: group has members")
)

// Errors of a producer.
var (
	// ErrRecordTooLarge: a record or batch exceeds what may be sent; see
	// RecordTooLargeError.
	ErrRecordTooLarge = errors.New("kafka: record too large")
	// ErrInvalidTimestamp: a record's time is negative or after the year 2262.
	ErrInvalidTimestamp = errors.New("kafka: invalid timestamp")
	// ErrProducerFailed: the producer has failed before, over another record than
	// the one at hand. The error wraps the cause, which names its topic.
	ErrProducerFailed = errors.New("kafka: the producer has failed over an earlier record")
	// ErrProducerState: the broker's and this producer's view of what was
	// written disagree (sequence, epoch or fencing). Nothing more can be sent;
	// throw the producer away and make another.
	ErrProducerState = errors.New("kafka: producer state lost")
	// ErrProducerFenced: a newer producer has the transactional id, or the
	// transaction was open for too long. It is an ErrProducerState.
	ErrProducerFenced = fmt.Errorf("%w: fenced", ErrProducerState)
)

// RecordTooLargeError names the record that was refused. It is an
// ErrRecordTooLarge.
type RecordTooLargeError struct {
	Topic     string
	Partition int32
	Size      int // bytes of key, value and headers; of the whole batch if the broker refused it
	Limit     int // bytes; 0 if only the broker knows
	Records   int // of the batch that the broker refused; 0 if it was not sent
}

func (e *RecordTooLargeError) Error() string {
	if e.Limit == 0 {
		return fmt.Sprintf("%v: topic %q partition %d refused a batch of %d records with %d bytes (before compression); raise the topic's max.message.bytes",
			ErrRecordTooLarge, e.Topic, e.Partition, e.Records, e.Size)
	}
	return fmt.Sprintf("%v: topic %q partition %d: %d bytes, at most %d are allowed", ErrRecordTooLarge, e.Topic, e.Partition, e.Size, e.Limit)
}

// Is makes the error an ErrRecordTooLarge.
func (e *RecordTooLargeError) Is(target error) bool { return target == ErrRecordTooLarge }

// errTransactionAbortable is the code TRANSACTION_ABORTABLE, which sarama does not
// know: the transaction can only be aborted.
const errTransactionAbortable sarama.KError = 120

// sentinel returns the error by which callers know an answer, nil if it means
// nothing to them.
func sentinel(code sarama.KError) error {
	switch code {
	case sarama.ErrUnknownTopicOrPartition:
		return ErrUnknownTopic
	case sarama.ErrOffsetOutOfRange:
		return ErrOffsetOutOfRange
	case sarama.ErrRebalanceInProgress:
		return ErrRebalanceInProgress
	case sarama.ErrIllegalGeneration:
		return ErrIllegalGeneration
	case sarama.ErrUnknownMemberId:
		return ErrUnknownMember
	case sarama.ErrFencedInstancedId:
		return ErrFencedInstance
	case sarama.ErrInconsistentGroupProtocol:
		return ErrInconsistentProtocol
	case sarama.ErrNonEmptyGroup, sarama.ErrGroupSubscribedToTopic:
		return ErrGroupNotEmpty
	case sarama.ErrTopicAuthorizationFailed, sarama.ErrGroupAuthorizationFailed, sarama.ErrClusterAuthorizationFailed,
		sarama.ErrTransactionalIDAuthorizationFailed:
		return ErrUnauthorized
	case sarama.ErrSASLAuthenticationFailed, sarama.ErrUnsupportedSASLMechanism, sarama.ErrIllegalSASLState:
		return ErrAuthentication
	case sarama.ErrUnsupportedVersion:
		return ErrUnsupported
	case sarama.ErrInvalidProducerEpoch, sarama.ErrProducerFenced:
		return ErrProducerFenced
	case sarama.ErrOutOfOrderSequenceNumber, sarama.ErrUnknownProducerID, sarama.ErrInvalidProducerIDMapping, sarama.ErrInvalidTxnState,
		errTransactionAbortable:
		return ErrProducerState
	case sarama.ErrInvalidConfig, sarama.ErrInvalidPartitions, sarama.ErrInvalidReplicationFactor, sarama.ErrPolicyViolation,
		sarama.ErrInvalidTopic, sarama.ErrInvalidTransactionTimeout:
		return ErrInvalidConfig
	}
	return nil
}

// answer turns an error code of a broker into an error: nil for none, else one
// that wraps the code and, where there is one, its sentinel. detail is the
// broker's own text or nil.
func answer(code sarama.KError, detail *string) error {
	if code == sarama.ErrNoError {
		return nil
	}
	err := error(code)
	if code == sarama.ErrProducerFenced { // sarama has no text for it
		err = fmt.Errorf("a newer producer has taken over: %w", code)
	}
	if s := sentinel(code); s != nil {
		err = fmt.Errorf("%w: %w", s, err)
	}
	if detail != nil && *detail != "" {
		err = fmt.Errorf("%w (%s)", err, *detail)
	}
	return err
}

// brokerError is a failure of a connection rather than an answer: retried, on a
// new connection.
type brokerError struct {
	addr string
	err  error
}

func (e *brokerError) Error() string { return fmt.Sprintf("broker %s: %v", e.addr, e.err) }
func (e *brokerError) Unwrap() error { return e.err }

// passingError is an answer that passes where it is given, though the same answer
// elsewhere is for good.
type passingError struct{ error }

func (e passingError) Unwrap() error { return e.error }

// retriable reports whether trying again, perhaps on another broker, may help.
func retriable(err error) bool {
	for _, permanent := range []error{ErrAuthentication, ErrUnsupported, ErrClosed} {
		if errors.Is(err, permanent) {
			return false
		}
	}
	if _, ok := errors.AsType[passingError](err); ok {
		return true
	}
	if code, ok := errors.AsType[sarama.KError](err); ok {
		return moved(code) || loading(code)
	}
	if _, ok := errors.AsType[sarama.PacketEncodingError](err); ok {
		return false
	}
	_, ok := errors.AsType[*brokerError](err)
	return ok
}

// moved reports an answer that says: ask another broker.
func moved(code sarama.KError) bool {
	switch code {
	case sarama.ErrNotLeaderForPartition, sarama.ErrLeaderNotAvailable, sarama.ErrReplicaNotAvailable, sarama.ErrBrokerNotAvailable,
		sarama.ErrFencedLeaderEpoch, sarama.ErrUnknownLeaderEpoch, sarama.ErrKafkaStorageError, sarama.ErrListenerNotFound,
		sarama.ErrNotController, sarama.ErrNotCoordinatorForConsumer, sarama.ErrConsumerCoordinatorNotAvailable:
		return true
	}
	return false
}

// loading reports an answer that says: ask again later.
func loading(code sarama.KError) bool {
	switch code {
	case sarama.ErrOffsetsLoadInProgress, sarama.ErrRequestTimedOut, sarama.ErrNetworkException, sarama.ErrNotEnoughReplicas,
		sarama.ErrNotEnoughReplicasAfterAppend, sarama.ErrUnstableOffsetCommit, sarama.ErrConcurrentTransactions,
		sarama.ErrOffsetNotAvailable, sarama.ErrThrottlingQuotaExceeded, sarama.ErrInvalidMessage:
		return true
	}
	return false
}
