package bench

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/IBM/sarama"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/millrace/millrace/llm"
)

// part is what is read of a partition.
type part struct {
	partition  int32
	start, end int64
}

// parts returns what a topic holds now.
func parts(c sarama.Client, topic string) ([]part, error) {
	partitions, err := c.Partitions(topic)
	if err != nil {
		return nil, err
	}
	var all []part
	for _, p := range partitions {
		start, err := c.GetOffset(topic, p, sarama.OffsetOldest)
		if err != nil {
			return nil, err
		}
		end, err := c.GetOffset(topic, p, sarama.OffsetNewest)
		if err != nil {
			return nil, err
		}
		if start < end {
			all = append(all, part{p, start, end})
		}
	}
	return all, nil
}

func floorConfig() *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.V3_6_0_0
	c.Consumer.Fetch.Default = 1 << 20
	return c
}

// RawFloor is the least that a Go program must do: fetch requests of its own,
// on one connection a worker, the decoder that the contender has, and windows in
// memory. It commits nothing, writes nothing and never forgets a window.
func RawFloor(broker, topic string, shape llm.Shape, workers int) (map[int32]totals, error) {
	client, err := sarama.NewClient([]string{broker}, floorConfig())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	all, err := parts(client, topic)
	if err != nil {
		return nil, err
	}
	return inParallel(all, workers, func(mine []part) (map[int32]totals, error) {
		b := sarama.NewBroker(broker)
		if err := b.Open(floorConfig()); err != nil {
			return nil, err
		}
		defer b.Close()
		return rawFloor(b, topic, shape, mine)
	})
}

// rawFloor reads some partitions over one connection. The next answer is on its
// way while one is worked at.
func rawFloor(b *sarama.Broker, topic string, shape llm.Shape, mine []part) (map[int32]totals, error) {
	sums := map[int32]totals{}
	for _, s := range mine {
		sums[s.partition] = newTotals(shape)
	}
	type answer struct {
		*sarama.FetchResponse
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		defer close(answers)
		next := map[int32]int64{}
		for {
			req := &sarama.FetchRequest{Version: 11, MaxWaitTime: 500, MinBytes: 1, MaxBytes: 50 << 20, SessionEpoch: -1}
			done := true
			for _, s := range mine {
				if at := max(s.start, next[s.partition]); at < s.end {
					req.AddBlock(topic, s.partition, at, 1<<20, -1)
					done = false
				}
			}
			if done {
				return
			}
			resp, err := b.Fetch(req)
			if err == nil {
				err = advance(resp, topic, next)
			}
			answers <- answer{resp, err}
			if err != nil {
				return
			}
		}
	}()
	for a := range answers {
		if a.err != nil {
			return nil, a.err
		}
		for _, s := range mine {
			if err := addBlock(sums[s.partition], a.GetBlock(topic, s.partition), s); err != nil {
				return nil, err
			}
		}
	}
	return sums, nil
}

// advance notes the offsets behind an answer.
func advance(resp *sarama.FetchResponse, topic string, next map[int32]int64) error {
	for p, block := range resp.Blocks[topic] {
		if block.Err != sarama.ErrNoError {
			return block.Err
		}
		for _, set := range block.RecordsSet {
			next[p] = set.RecordBatch.LastOffset() + 1
		}
	}
	return nil
}

func addBlock(t totals, block *sarama.FetchResponseBlock, s part) error {
	if block == nil {
		return nil
	}
	for _, set := range block.RecordsSet {
		for _, r := range set.RecordBatch.Records {
			if set.RecordBatch.FirstOffset+r.OffsetDelta >= s.end {
				return nil
			}
			v, err := llm.PerformanceCodec.Decode(r.Value)
			if err != nil {
				return err
			}
			if err := t.add(r.Key, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// reflected is an event as msgpack's own struct decoder wants it.
type reflected struct {
	Timestamp        int64    `msgpack:"timestamp"`
	RequestID        [16]byte `msgpack:"request_id"`
	SessionID        *string  `msgpack:"session_id"`
	Model            string   `msgpack:"model"`
	LatencyMS        float64  `msgpack:"latency_ms"`
	PromptTokens     int64    `msgpack:"prompt_tokens"`
	CompletionTokens int64    `msgpack:"completion_tokens"`
	CostUSD          *float64 `msgpack:"cost_usd"`
	Error            bool     `msgpack:"error"`
	Quality          *float64 `msgpack:"quality"`
}

func (r *reflected) event() llm.Performance {
	v := llm.Performance{
		Event:     llm.Event{Timestamp: r.Timestamp, RequestID: r.RequestID, Model: r.Model},
		LatencyMS: r.LatencyMS, PromptTokens: r.PromptTokens, CompletionTokens: r.CompletionTokens, Error: r.Error,
	}
	if r.SessionID != nil {
		v.SessionID = llm.Some(*r.SessionID)
	}
	if r.CostUSD != nil {
		v.CostUSD = llm.Some(*r.CostUSD)
	}
	if r.Quality != nil {
		v.Quality = llm.Some(*r.Quality)
	}
	return v
}

// PlainFloor is what a Go program does that takes the usual libraries as they
// are: sarama's consumer and msgpack by reflection, with windows in memory.
func PlainFloor(broker, topic string, shape llm.Shape, workers int) (map[int32]totals, error) {
	client, err := sarama.NewClient([]string{broker}, floorConfig())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	all, err := parts(client, topic)
	if err != nil {
		return nil, err
	}
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	return inParallel(all, workers, func(mine []part) (map[int32]totals, error) {
		sums := map[int32]totals{}
		for _, s := range mine {
			sums[s.partition] = newTotals(shape)
			if err := consume(sums[s.partition], consumer, topic, s); err != nil {
				return nil, err
			}
		}
		return sums, nil
	})
}

// consume reads one partition to its end.
func consume(t totals, c sarama.Consumer, topic string, s part) error {
	partition, err := c.ConsumePartition(topic, s.partition, s.start)
	if err != nil {
		return err
	}
	defer partition.Close()
	decoder := msgpack.NewDecoder(nil)
	var r reflected
	for m := range partition.Messages() {
		r = reflected{}
		decoder.Reset(bytes.NewReader(m.Value))
		if err := decoder.Decode(&r); err != nil {
			return err
		}
		if err := t.add(m.Key, r.event()); err != nil {
			return err
		}
		if m.Offset == s.end-1 {
			break
		}
	}
	return nil
}

// inParallel gives each worker its share of the partitions.
func inParallel(all []part, workers int, work func([]part) (map[int32]totals, error)) (map[int32]totals, error) {
	var mu sync.Mutex
	var failed error
	sums := map[int32]totals{}
	var wg sync.WaitGroup
	for w := range workers {
		var mine []part
		for i := w; i < len(all); i += workers {
			mine = append(mine, all[i])
		}
		wg.Go(func() {
			got, err := work(mine)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = fmt.Errorf("floor: %w", err)
			}
			for p, t := range got {
				sums[p] = t
			}
		})
	}
	wg.Wait()
	return sums, failed
}
