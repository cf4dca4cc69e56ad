package task

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
)

// DeadLetterTopic returns the name of an application's dead-letter topic.
func DeadLetterTopic(application string) string { return application + "-dlq" }

// The headers of a dead letter, which come behind those of the record. The names
// are Kafka Streams' (KIP-1034), but for the node, which has none there. Values
// are text, numbers in decimal.
const (
	errorsPrefix    = "__streams.errors."
	exceptionHeader = errorsPrefix + "exception"
	messageHeader   = errorsPrefix + "message"
	stackHeader     = errorsPrefix + "stacktrace"
	topicHeader     = errorsPrefix + "topic"
	partitionHeader = errorsPrefix + "partition"
	offsetHeader    = errorsPrefix + "offset"
	nodeHeader      = "__millrace.errors.node"
)

// Limits of what a dead letter says of the error, in bytes: a record that its own
// topic took must fit into the dead-letter topic.
const (
	messageBytes = 4 << 10
	stackBytes   = 16 << 10
)

// DeadLetter is what the headers of a dead letter say.
type DeadLetter struct {
	// Node is the node that failed; empty in a letter of Kafka Streams.
	Node string
	// Exception is the type of the error, Message its text, Stack that of a panic.
	Exception, Message, Stack string
	// Position is where the record was read.
	Position processors.Position
	// Headers are those that the record came with.
	Headers []processors.Header
}

// ParseDeadLetter takes the headers of a dead letter apart; ok is false if they
// are not those of one.
func ParseDeadLetter(headers []processors.Header) (l DeadLetter, ok bool) {
	seen := 0
	var err error
	for _, h := range headers {
		text := string(h.Value)
		switch h.Key {
		case exceptionHeader:
			l.Exception = text
		case messageHeader:
			l.Message = text
		case stackHeader:
			l.Stack = text
		case nodeHeader:
			l.Node = text
		case topicHeader:
			l.Position.Topic = text
			seen++
		case partitionHeader:
			n, e := strconv.ParseInt(text, 10, 32)
			l.Position.Partition, err = int32(n), errors.Join(err, e)
			seen++
		case offsetHeader:
			n, e := strconv.ParseInt(text, 10, 64)
			l.Position.Offset, err = n, errors.Join(err, e)
			seen++
		default:
			l.Headers = append(l.Headers, h)
		}
	}
	return l, seen == 3 && err == nil && l.Position.Partition >= 0
}

// deadLetter sends the record as it was read, with the error in its headers.
func (t *Task) deadLetter(r *Fetched, cause error) error {
	topic := DeadLetterTopic(t.cfg.Application)
	partitions, err := t.cfg.Outlet.Partitions(topic)
	if err != nil {
		return err
	}
	var partition int32
	if r.Key != nil {
		partition = codec.Partition(r.Key, partitions)
	}
	at := t.rt.Position
	headers := slices.DeleteFunc(slices.Clone(r.Headers), isErrorHeader) // of a letter before
	add := func(key, value string) { headers = append(headers, processors.Header{Key: key, Value: []byte(value)}) }
	add(exceptionHeader, fmt.Sprintf("%T", rootOf(cause)))
	add(messageHeader, cut(cause.Error(), messageBytes))
	add(stackHeader, cut(stackOf(cause), stackBytes))
	add(topicHeader, at.Topic)
	add(partitionHeader, strconv.FormatInt(int64(at.Partition), 10))
	add(offsetHeader, strconv.FormatInt(at.Offset, 10))
	add(nodeHeader, nodeName(cause))
	err = t.rt.Outlet.Send(topic, partition, r.Key, r.Value, r.Time, headers)
	if errors.Is(err, processors.ErrTooLarge) {
		return fmt.Errorf("%w: give topic %q a max.message.bytes of 64 KiB more than that of %q, or choose the policy skip", err, topic, at.Topic)
	}
	return err
}

func isErrorHeader(h processors.Header) bool {
	return strings.HasPrefix(h.Key, errorsPrefix) || h.Key == nodeHeader
}

// rootOf returns the error at the bottom of a chain.
func rootOf(err error) error {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err
}

// stackOf returns the stack of the panic that err is about, or nothing.
func stackOf(err error) string {
	if p, ok := errors.AsType[*PanicError](err); ok {
		return string(p.Stack)
	}
	if e, ok := errors.AsType[*stores.EncodeError](err); ok {
		return string(e.Stack)
	}
	return ""
}

// cut shortens a text to so many bytes, between characters.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most] + "…"
}
