package streams

import (
	"fmt"

	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/processors"
)

// A broker may refuse a batch that this program found small enough: the topic's
// max.message.bytes is lower. Nobody knows then which record is to blame, and the
// producer is done for. So the batches of that topic become smaller and the
// tasks are replayed, until the batch that is refused holds one record. From then
// on a record as large as that one is known to be too large when it is sent, and
// the error policy of its node decides.

// refused takes note of a batch that a broker has refused.
func (w *worker) refused(e *kafka.RecordTooLargeError) {
	if e.Records > 1 {
		if w.batchBytes == nil {
			w.batchBytes = map[string]int{}
		}
		w.batchBytes[e.Topic] = max(1, e.Size/2)
		return
	}
	if w.recordBytes == nil {
		w.recordBytes = map[string]int{}
	}
	size, known := w.recordBytes[e.Topic]
	if !known || e.Size < size {
		w.recordBytes[e.Topic] = e.Size
	}
}

// tooLarge reports a record that the topic's broker would refuse.
func (w *worker) tooLarge(topic string, key, value []byte, headers []processors.Header) error {
	limit, ok := w.recordBytes[topic]
	if !ok {
		return nil
	}
	sizes := 0
	for _, h := range headers {
		sizes += kafka.HeaderSize(len(h.Key), len(h.Value))
	}
	if size := kafka.RecordSize(len(key), len(value)) + sizes; size >= limit {
		return fmt.Errorf("%w: %d bytes for topic %q, which has refused %d; raise its max.message.bytes", processors.ErrTooLarge, size, topic, limit)
	}
	return nil
}
