package kafka

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/IBM/sarama"
)

// block makes a fetch answer of batches in which record i has offset first + i.
func block(batches ...*sarama.RecordBatch) *sarama.FetchResponseBlock {
	b := &sarama.FetchResponseBlock{HighWaterMarkOffset: 100, LastStableOffset: 100}
	for _, rb := range batches {
		b.RecordsSet = append(b.RecordsSet, &sarama.Records{RecordBatch: rb})
	}
	return b
}

func records(first int64, n int) *sarama.RecordBatch {
	rb := &sarama.RecordBatch{FirstOffset: first, LastOffsetDelta: int32(n - 1), FirstTimestamp: time.UnixMilli(5)}
	for i := range n {
		rb.Records = append(rb.Records, &sarama.Record{OffsetDelta: int64(i), Value: []byte("v")})
	}
	return rb
}

func TestDecodeMovesPastWholeBatchesOnly(t *testing.T) {
	partial := &sarama.RecordBatch{FirstOffset: 10, LastOffsetDelta: 89, PartialTrailingRecord: true}
	cut := block()
	cut.Partial = true // not even the first batch's header came
	for name, c := range map[string]struct {
		block *sarama.FetchResponseBlock
		next  int64
		count int
		grow  bool
	}{
		"nothing":                 {block(), 5, 0, false},
		"whole":                   {block(records(5, 5)), 10, 5, false},
		"from inside":             {block(records(0, 10)), 10, 5, false},
		"before, then whole":      {block(records(0, 5), records(5, 5)), 10, 5, false},
		"with a gap":              {block(records(20, 5)), 25, 5, false},
		"whole, then cut off":     {block(records(5, 5), partial), 10, 5, false},
		"cut off at once":         {block(partial), 5, 0, true},
		"cut off in the header":   {cut, 5, 0, true},
		"last offset compacted":   {block(&sarama.RecordBatch{FirstOffset: 5, LastOffsetDelta: 9, Records: records(5, 2).Records}), 15, 2, false},
		"all before, a marker":    {block(&sarama.RecordBatch{FirstOffset: 5, Control: true, Records: records(5, 1).Records}), 6, 0, false},
		"everything before asked": {block(records(0, 3)), 5, 0, false},
	} {
		for _, isolation := range []Isolation{ReadUncommitted, ReadCommitted} {
			var d Delivery
			grow, err := d.decode(c.block, 5, isolation)
			count := 0
			for i := range d.Batches {
				count += d.Batches[i].Len()
			}
			if err != nil || d.Next != c.next || grow != c.grow || count != c.count {
				t.Errorf("%s: next %d grow %v records %d error %v, want %d %v %d", name, d.Next, grow, count, err, c.next, c.grow, c.count)
			}
		}
	}
}

func TestDecodeRefusesTheOldFormat(t *testing.T) {
	b := block()
	b.RecordsSet = append(b.RecordsSet, &sarama.Records{MsgSet: &sarama.MessageSet{}})
	d := Delivery{TopicPartition: TopicPartition{"old", 3}}
	if _, err := d.decode(b, 5, ReadUncommitted); !errors.Is(err, ErrUnsupported) || d.Next != 5 {
		t.Errorf("got %v, next %d", err, d.Next)
	}
}

func TestTimesOfRecords(t *testing.T) {
	rb := records(0, 2)
	rb.MaxTimestamp = time.UnixMilli(9)
	rb.Records[1].TimestampDelta = -3 * time.Millisecond
	created := newBatch(rb, 0)
	rb.LogAppendTime = true
	appended := newBatch(rb, 0)
	rb.LogAppendTime, rb.FirstTimestamp = false, time.Time{}
	none := newBatch(rb, 0)
	for name, c := range map[string]struct {
		b    Batch
		want [2]int64
	}{"created": {created, [2]int64{5, 2}}, "appended": {appended, [2]int64{9, 9}}, "none": {none, [2]int64{-1, -1}}} {
		if got := [2]int64{c.b.At(0).Time, c.b.At(1).Time}; got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestSequencesWrap(t *testing.T) {
	for _, c := range []struct{ from, n, want int32 }{
		{0, 5, 5}, {math.MaxInt32 - 5, 5, math.MaxInt32}, {math.MaxInt32, 1, 0}, {math.MaxInt32 - 2, 10, 7},
	} {
		if got := addSequence(c.from, c.n); got != c.want {
			t.Errorf("%d + %d: got %d, want %d", c.from, c.n, got, c.want)
		}
	}
}

func TestBackoffDoublesToItsMaximum(t *testing.T) {
	for jitter, want := range map[float64][]time.Duration{0: {50, 100, 150, 150}, 0.999999: {37, 75, 112, 112}} {
		cfg := Config{RetryBackoff: 50 * time.Millisecond, MaxRetryBackoff: 150 * time.Millisecond, Jitter: func() float64 { return jitter }}.withDefaults()
		b := Backoff{cfg: &cfg}
		for range 2 {
			for i, w := range want {
				if got := b.Next() / time.Millisecond; got != w {
					t.Errorf("jitter %v wait %d: got %d ms, want %d", jitter, i, got, w)
				}
			}
			b.Reset()
		}
	}
}
