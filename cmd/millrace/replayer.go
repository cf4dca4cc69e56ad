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

// replayer writes generated events to the topics of their sources, partitioned
// by request.
type replayer struct {
	producer *kafka.Producer
	targets  map[string]target // by source
	speed    float64
	// sent is told of each event, with how many of its source were sent before it.
	sent func(n int64, i trace.Item)
}

// target is a topic to write to.
type target struct {
	topic      string
	partitions int32
}

// run sends what t generates until it is done or ctx ends, and waits until all
// that was sent is acknowledged. It returns how many events of each source were
// sent. That ctx ended is no error.
func (r *replayer) run(ctx context.Context, t *trace.Traffic) (sent map[string]int64, err error) {
	var key, value []byte
	sent = map[string]int64{}
	first := int64(-1)
	began := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for item := range t.All() {
		if first < 0 {
			first = item.At
		}
		if r.speed != asFastAsPossible {
			due := began.Add(time.Duration(float64(item.At-first) / r.speed * float64(time.Millisecond)))
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
		n, to := sent[item.Source], r.targets[item.Source]
		event, encoded, err := encode(item, value[:0])
		if value = encoded; err == nil {
			key, err = codec.String.Append(key[:0], event.RequestID.String())
		}
		if err == nil {
			err = r.producer.Send(to.topic, codec.Partition(key, to.partitions), key, value, event.Timestamp, nil)
		}
		if err != nil {
			return sent, fmt.Errorf("%s event %d: %w", item.Source, n, err)
		}
		if r.sent != nil {
			r.sent(n, item)
		}
		sent[item.Source] = n + 1
	}
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	return sent, r.producer.Flush(flush)
}

// encode appends an event in its strict form, and returns what all events have.
func encode(i trace.Item, dst []byte) (event llm.Event, value []byte, err error) {
	switch v := i.Event.(type) {
	case llm.Performance:
		event = v.Event
		value, err = llm.StrictPerformanceCodec.Append(dst, v)
	case llm.Feedback:
		event = v.Event
		value, err = llm.StrictFeedbackCodec.Append(dst, v)
	case llm.Response:
		event = v.Event
		value, err = llm.StrictResponseCodec.Append(dst, v)
	case llm.Health:
		event = v.Event
		value, err = llm.StrictHealthCodec.Append(dst, v)
	case llm.Experiment:
		event = v.Event
		value, err = llm.StrictExperimentCodec.Append(dst, v)
	default:
		err = fmt.Errorf("no events of type %T are known", v)
	}
	return event, value, err
}

// flushTimeout is how long what was sent may take to be acknowledged.
const flushTimeout = 30 * time.Second
