package shuffle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/kafka"
)

// threads is how many each engine works with.
const threads = 2

// The engines.
const (
	Millrace     = "millrace"
	KafkaStreams = "kafka-streams"
)

// Outcome is what an engine has made of a load.
type Outcome struct {
	Engine string
	// In is how many events it has read by its committed offsets, Dropped how many
	// of them it has dropped by its own count.
	In, Dropped int64
	// Counts are its last results of all windows. Truth are the right ones.
	Counts, Truth Counts
	// Seconds is how long it took, its start included.
	Seconds float64
}

// Write prints an outcome.
func (o Outcome) Write(w io.Writer) {
	fmt.Fprintf(w, "%-14s %d events in = %d in %d windows + %d dropped; %d of %d windows differ from the direct computation; %.1f s\n",
		o.Engine, o.In, o.Counts.Total(), len(o.Counts), o.Dropped, o.Counts.Differing(o.Truth), len(o.Truth), o.Seconds)
}

// ErrDiffers is wrapped by what Check finds.
var ErrDiffers = errors.New("shuffle: not every event is in its window")

// Check returns an error unless the engine has read all events, has dropped none
// and has counted as the direct computation has.
func (o Outcome) Check() error {
	differing := o.Counts.Differing(o.Truth)
	if o.In == o.Truth.Total() && o.Dropped == 0 && differing == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s has read %d of %d events, has dropped %d, and %d of %d windows differ",
		ErrDiffers, o.Engine, o.In, o.Truth.Total(), o.Dropped, differing, len(o.Truth))
}

// report is what an engine says of its own run.
type report struct {
	Dropped int64   `json:"dropped"`
	Seconds float64 `json:"seconds"`
}

// site is where engines run: a broker, and a folder that is removed.
type site struct {
	broker string
	client *kafka.Client
	dir    string
}

// Run writes a load to a broker and has engines count it, one after the other.
func Run(ctx context.Context, broker string, l Load, engines ...string) (outcomes []Outcome, err error) {
	client, err := kafka.Open(ctx, kafka.Config{Brokers: []string{broker}, ClientID: "shuffle"})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	dir, err := os.MkdirTemp("", "millrace-shuffle-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s := site{broker, client, dir}
	input := fmt.Sprintf("shuffle-%d", time.Now().UnixMilli())
	defer func() { err = errors.Join(err, s.clear(context.WithoutCancel(ctx), input)) }()
	if err := l.write(ctx, client, input); err != nil {
		return nil, err
	}
	truth := l.Truth()
	for _, name := range engines {
		run, ok := map[string]func(context.Context, string, string, string, Load) (report, error){
			Millrace: s.millrace, KafkaStreams: s.kafkaStreams,
		}[name]
		if !ok {
			return nil, fmt.Errorf("shuffle: there is no engine %q", name)
		}
		application := input + "-" + name
		output := application + "-results"
		if err := create(ctx, client, output, 1); err != nil {
			return nil, err
		}
		r, err := run(ctx, input, output, application, l)
		if err != nil {
			return nil, err
		}
		o := Outcome{Engine: name, Dropped: r.Dropped, Seconds: r.Seconds, Truth: truth}
		if o.In, err = s.read(ctx, application, input); err != nil {
			return nil, err
		}
		if o.Counts, err = s.results(ctx, output); err != nil {
			return nil, err
		}
		outcomes = append(outcomes, o)
	}
	return outcomes, nil
}

// read returns how many events a group has committed.
func (s site) read(ctx context.Context, group, topic string) (n int64, err error) {
	var tps []kafka.TopicPartition
	for p := range int32(partitions) {
		tps = append(tps, kafka.TopicPartition{Topic: topic, Partition: p})
	}
	offsets, err := s.client.CommittedOffsets(ctx, group, tps...)
	for _, at := range offsets {
		n += at.Offset
	}
	return n, err
}

// results reads the last count of each window, with a client of neither engine.
func (s site) results(ctx context.Context, topic string) (Counts, error) {
	tp := kafka.TopicPartition{Topic: topic}
	ends, err := s.client.ListOffsets(ctx, kafka.Latest, tp)
	if err != nil {
		return nil, err
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(s.broker), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	counts := Counts{}
	for next := int64(0); next < ends[tp]; {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		for r := range fetches.RecordsAll() {
			next = r.Offset + 1
			model, start, err := codec.SplitTimeWindowedKey(r.Key)
			if err != nil {
				return nil, err
			}
			count, err := codec.Int64.Decode(r.Value)
			if err != nil {
				return nil, err
			}
			counts[windowID{string(model), start}] = count
		}
	}
	return counts, nil
}

// clear deletes the topics of a run, whatever the engines have named theirs.
func (s site) clear(ctx context.Context, prefix string) error {
	topics, err := s.client.Topics(ctx)
	for topic := range topics {
		if strings.HasPrefix(topic, prefix) {
			err = errors.Join(err, s.client.DeleteTopic(ctx, topic))
		}
	}
	return err
}
