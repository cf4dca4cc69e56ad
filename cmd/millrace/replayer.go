package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/llm/trace"
)

// asFastAsPossible is the speed that --speed max stands for.
const asFastAsPossible = 0

// parseSpeed reads how many times as fast as they happened events are sent.
func parseSpeed(text string) (float64, error) {
	if text == "max" {
		return asFastAsPossible, nil
	}
	speed, err := strconv.ParseFloat(text, 64)
	if err != nil || !(speed > 0 && speed <= 1e9) {
		return 0, usagef("--speed %q: want a number above 0 such as 120 (times real time), or max", text)
	}
	return speed, nil
}

// replayer writes generated events to a topic, partitioned by request.
type replayer struct {
	producer   *kafka.Producer
	topic      string
	partitions int32
	speed      float64
	// sent is told of each event, with how many were sent before it.
	sent func(n int64, e llm.Performance)
}

// run sends what g generates until it is done or ctx ends, and waits until all
// that was sent is acknowledged. That ctx ended is no error.
func (r *replayer) run(ctx context.Context, g *trace.Generator) (n int64, err error) {
	var key, value []byte
	var first int64
	began := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for d := range g.All() {
		if n == 0 {
			first = d.At
		}
		if r.speed != asFastAsPossible {
			due := began.Add(time.Duration(float64(d.At-first) / r.speed * float64(time.Millisecond)))
			if wait := time.Until(due); wait > time.Millisecond {
				timer.Reset(wait)
				select {
				case <-timer.C:
				case <-ctx.Done():
				}
			}
		}
		if ctx.Err() != nil {
			break
		}
		if key, err = codec.String.Append(key[:0], d.Event.RequestID.String()); err == nil {
			value, err = llm.StrictPerformanceCodec.Append(value[:0], d.Event)
		}
		if err != nil {
			return n, fmt.Errorf("event %d: %w", n, err)
		}
		if err := r.producer.Send(r.topic, codec.Partition(key, r.partitions), key, value, d.Event.Timestamp, nil); err != nil {
			return n, fmt.Errorf("event %d: %w", n, err)
		}
		if r.sent != nil {
			r.sent(n, d.Event)
		}
		n++
	}
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	return n, r.producer.Flush(flush)
}

// flushTimeout is how long what was sent may take to be acknowledged.
const flushTimeout = 30 * time.Second
