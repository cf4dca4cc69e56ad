package kafka

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/IBM/sarama"
)

// abortedTransactions tells the records of aborted transactions from others, as
// Kafka's own consumer does: the broker lists with an answer each aborted
// transaction that overlaps it (producer and first offset); the transaction is
// over at its producer's abort marker.
type abortedTransactions struct {
	upcoming []*sarama.AbortedTransaction // by first offset
	open     map[int64]struct{}           // producers inside one
}

func (a *abortedTransactions) init(listed []*sarama.AbortedTransaction) {
	if len(listed) == 0 {
		return
	}
	a.upcoming = slices.SortedFunc(slices.Values(listed), func(x, y *sarama.AbortedTransaction) int {
		return cmp.Compare(x.FirstOffset, y.FirstOffset)
	})
	a.open = map[int64]struct{}{}
}

// visible reports whether a reader sees the batch. Batches must come in order.
func (a *abortedTransactions) visible(rb *sarama.RecordBatch) bool {
	for len(a.upcoming) > 0 && a.upcoming[0].FirstOffset <= rb.LastOffset() {
		a.open[a.upcoming[0].ProducerID] = struct{}{}
		a.upcoming = a.upcoming[1:]
	}
	if rb.Control {
		if abortMarker(rb) {
			delete(a.open, rb.ProducerID)
		}
		return false
	}
	if !rb.IsTransactional {
		return true
	}
	_, ok := a.open[rb.ProducerID]
	return !ok
}

// abortMarker reports whether a control batch ends a transaction by abort: its
// record's key is a version and a type of two bytes each, type 0 meaning abort.
func abortMarker(rb *sarama.RecordBatch) bool {
	if len(rb.Records) == 0 || len(rb.Records[0].Key) < 4 {
		return false
	}
	return binary.BigEndian.Uint16(rb.Records[0].Key[2:]) == 0
}
