package changelog

import (
	"context"
	"errors"

	"github.com/millrace/millrace/stores"
)

// This file is the contract between a task, a log and a restore.
//
// # Writing
//
// A task appends the records of a commit, which copies or queues them, and
// flushes: when Flush returns nil, every record appended before is acknowledged
// by all in-sync replicas, and Next says where each partition stands. Only then
// does the task commit its stores. After an error nothing is known about what
// was appended since the last Flush, and the task is thrown away.
//
// # Reading
//
// A reader moves from one fetch offset to the next. The end of a partition is
// its high watermark, and a reader has reached it when its next fetch offset
// has, not when it has seen a record there: control records and compaction
// leave gaps, and a whole chunk may be empty. Offset 0 is an offset.

// Appender writes changelog records. It belongs to one goroutine, unless an
// implementation says otherwise.
type Appender interface {
	// Append queues r for a partition. It keeps no reference to r's bytes after
	// the next Flush.
	Append(topic string, partition int32, r stores.LogRecord) error

	// Flush waits until everything appended is acknowledged, or ctx ends.
	Flush(ctx context.Context) error

	// Next returns the offset after the last record of a partition that this
	// appender had acknowledged; ok is false if it had none.
	Next(topic string, partition int32) (next int64, ok bool)
}

// Reader reads changelogs. It is safe for use by several goroutines at once.
type Reader interface {
	// Bounds returns the offsets of the log's start and of its end, which is
	// the high watermark. Errors wrap ErrNoTopic if there is no such partition.
	Bounds(ctx context.Context, topic string, partition int32) (start, end int64, err error)

	// LogID returns what tells a topic from another one of the same name, made
	// before or after it; "" if the log cannot tell.
	LogID(ctx context.Context, topic string) (string, error)

	// Open returns a feed of the records from an offset on. The feed may read
	// ahead, up to about maxBytes.
	Open(topic string, partition int32, from int64, maxBytes int) (Feed, error)
}

// Feed reads one partition onward. It belongs to one goroutine.
type Feed interface {
	// Read returns the next chunk: about as many bytes as Open was told, but at
	// least one batch. If there is nothing yet it waits until there is, ctx
	// ends, or a short time has passed, well below a second; then the chunk's
	// Next has not moved. Errors wrap ErrOutOfRange if the offset is not within
	// the log's bounds, and ErrNoTopic.
	Read(ctx context.Context) (Chunk, error)

	// Close releases the feed. It waits for what the feed runs.
	Close()
}

// Log is what replication needs of a log.
type Log interface {
	Appender
	Reader
}

// Record is a changelog record with its place.
type Record struct {
	Offset int64
	// Producer is the id of the producer that wrote it, if the log knows.
	Producer int64
	stores.LogRecord
}

// Chunk is what one Read returns.
type Chunk struct {
	// Records are in ascending order of offsets, none below the one asked for.
	// Their bytes must not be changed; they stay valid.
	Records []Record
	// Next is the next fetch offset. It can be ahead of the last record, and
	// move without any.
	Next int64
	// End is the end of the log as of this chunk, or -1 if the log has not said.
	End int64
}

// Errors of logs.
var (
	// ErrNoTopic: the topic or partition does not exist.
	ErrNoTopic = errors.New("changelog: no such topic or partition")

	// ErrOutOfRange: the offset is before the log's start or after its end.
	ErrOutOfRange = errors.New("changelog: offset out of range")
)

// Errors of CheckTopic.
var (
	// ErrPartitions: a changelog topic has the wrong number of partitions.
	ErrPartitions = errors.New("changelog: topic has the wrong number of partitions")

	// ErrPolicy: a changelog topic is not compacted, or not only compacted.
	ErrPolicy = errors.New("changelog: topic has the wrong cleanup policy")

	// ErrTimestamps: brokers overwrite the times of records.
	ErrTimestamps = errors.New("changelog: topic does not keep the records' times")
)
