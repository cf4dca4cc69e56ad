package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync"

	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/llm"
)

// outcome is the last result of each key and window.
type outcome map[windowID]llm.Result

// put notes a result that takes the place of earlier ones. One that is retracted
// takes its window away: a session that has grown is another one.
func (o outcome) put(r llm.Result) {
	r.Key = strings.Clone(r.Key)
	id := windowID{r.Key, r.WindowStart, r.WindowEnd}
	if r.Retracted {
		delete(o, id)
		return
	}
	o[id] = r
}

// ErrVoid means that a run does not count: its results differ from those of the
// floor.
var ErrVoid = errors.New("bench: the run is void")

// tolerance is by how much numbers may differ that two languages have rounded,
// as a share.
const tolerance = 1e-9

// equal compares window by window what two contenders have computed.
func (o outcome) equal(want outcome) error {
	if len(o) != len(want) {
		return fmt.Errorf("%w: %d windows, want %d", ErrVoid, len(o), len(want))
	}
	for id, w := range want {
		g, ok := o[id]
		if !ok {
			return fmt.Errorf("%w: nothing of %s, window %d to %d", ErrVoid, id.key, id.start, id.end)
		}
		if g.Count != w.Count || g.Errors != w.Errors || g.PromptTokens != w.PromptTokens || g.CompletionTokens != w.CompletionTokens ||
			!sameNumbers(g, w) {
			return fmt.Errorf("%w: %s, window %d to %d:\n%+v, want\n%+v", ErrVoid, id.key, id.start, id.end, g, w)
		}
	}
	return nil
}

func sameNumbers(a, b llm.Result) bool {
	qa, oka := a.QualityMean.Get()
	qb, okb := b.QualityMean.Get()
	if oka != okb {
		return false
	}
	for _, pair := range [][2]float64{
		{qa, qb}, {a.ErrorRate, b.ErrorRate}, {a.CostUSD, b.CostUSD}, {a.LatencyMS.Mean, b.LatencyMS.Mean}, {a.LatencyMS.Max, b.LatencyMS.Max},
		{a.LatencyMS.P50, b.LatencyMS.P50}, {a.LatencyMS.P95, b.LatencyMS.P95}, {a.LatencyMS.P99, b.LatencyMS.P99},
	} {
		if math.Abs(pair[0]-pair[1]) > tolerance*max(math.Abs(pair[0]), math.Abs(pair[1])) {
			return false
		}
	}
	return true
}

// writeOutcome writes what a floor has computed to a file, which readOutcome
// reads: each result in MessagePack behind its length.
func writeOutcome(path string, sums map[int32]totals) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	var buf, length []byte
	for _, t := range sums {
		for r := range t.results {
			if buf, err = llm.ResultCodec.Append(buf[:0], r); err != nil {
				return errors.Join(err, f.Close())
			}
			length = binary.AppendUvarint(length[:0], uint64(len(buf)))
			_, _ = w.Write(length) // Flush returns the error
			_, _ = w.Write(buf)
		}
	}
	return errors.Join(w.Flush(), f.Close())
}

func readOutcome(path string) (outcome, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	o := outcome{}
	for {
		n, err := binary.ReadUvarint(in)
		if errors.Is(err, io.EOF) {
			return o, nil
		}
		if err != nil {
			return nil, err
		}
		buf := make([]byte, n)
		if _, err := io.ReadFull(in, buf); err != nil {
			return nil, err
		}
		r, err := llm.ResultCodec.Decode(buf)
		if err != nil {
			return nil, err
		}
		o.put(r)
	}
}

// readTopic returns the last result of each key and window that a topic holds.
func readTopic(ctx context.Context, c *kafka.Client, topic string) (outcome, error) {
	n, err := c.Partitions(ctx, topic)
	if err != nil {
		return nil, err
	}
	var tps []kafka.TopicPartition
	for p := range n {
		tps = append(tps, kafka.TopicPartition{Topic: topic, Partition: p})
	}
	starts, err := c.ListOffsets(ctx, kafka.Earliest, tps...)
	if err != nil {
		return nil, err
	}
	ends, err := c.ListOffsets(ctx, kafka.Latest, tps...)
	if err != nil {
		return nil, err
	}
	fetcher, err := c.NewFetcher(kafka.FetchConfig{Isolation: kafka.ReadCommitted})
	if err != nil {
		return nil, err
	}
	defer fetcher.Close()
	r := &resultReader{outcome: outcome{}, ends: ends, done: make(chan struct{})}
	for _, tp := range tps {
		if starts[tp] >= ends[tp] {
			delete(ends, tp)
		}
	}
	if len(ends) == 0 {
		return r.outcome, nil
	}
	for tp := range ends {
		fetcher.Add(tp, starts[tp], r)
	}
	select {
	case <-r.done:
		return r.outcome, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// resultReader takes results until it has all.
type resultReader struct {
	mu      sync.Mutex // guards what follows
	outcome outcome
	ends    map[kafka.TopicPartition]int64 // of the partitions that are not read yet
	err     error
	ended   bool
	done    chan struct{} // closed at the end; then nothing changes any more
}

// Deliver takes what was fetched of a partition.
func (r *resultReader) Deliver(d *kafka.Delivery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return
	}
	r.err = d.Err
	for i := range d.Batches {
		for record := range d.Batches[i].All() {
			result, err := llm.ResultCodec.Decode(record.Value)
			if err != nil {
				r.err = fmt.Errorf("%v at offset %d: %w", d.TopicPartition, record.Offset, err)
				break
			}
			r.outcome.put(result)
		}
	}
	if d.Next >= r.ends[d.TopicPartition] {
		delete(r.ends, d.TopicPartition)
	}
	if r.err != nil || len(r.ends) == 0 {
		r.ended = true
		close(r.done)
	}
}
