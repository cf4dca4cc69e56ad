package main

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"strings"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/llm/trace"
	"github.com/millrace/millrace/llm/truth"
)

// accounts gathers what the application has written of all kinds, to be compared
// with what is computed directly from the events. One goroutine at a time may
// tell it of events, and another one of what was written; report comes after both.
type accounts struct {
	performance *account
	// others are by the name of the source, kinds in the order of reports.
	others map[string]kindAccount
	kinds  []string
	// byOutput are the sources by the topics of their results.
	byOutput map[string]string
}

// kindAccount is the account of one kind of events.
type kindAccount interface {
	// sent takes an event, and event the value of its record.
	sent(event any)
	event(value []byte) error
	// late and result take the value of a record that was written.
	late(value []byte) error
	result(value []byte) error
	// report compares. It is the end of the account.
	report() truth.Report
}

// newAccounts returns the accounts of the sources that c reads. final is called
// for each final result of performance that is not a repeat.
func newAccounts(c llm.Config, final func(llm.Result)) *accounts {
	a := &accounts{performance: newAccount(c, final), others: map[string]kindAccount{}, byOutput: map[string]string{}}
	topics := c.Topics()
	add := func(source, output string, k kindAccount) {
		if _, ok := topics[source]; ok {
			a.others[source], a.byOutput[output] = k, source
			a.kinds = append(a.kinds, source)
		}
	}
	sessions := truth.NewSessions(c.SessionGap, c.SessionAtMost)
	add(llm.FeedbackSource, llm.FeedbackStatsTopic, &typedAccount[llm.Feedback, llm.FeedbackSummary]{
		events: llm.FeedbackCodec, results: form(c, llm.FeedbackSummaryJSON, llm.FeedbackSummaryCodec),
		add: sessions.Add, drop: sessions.Drop, compare: sessions.Compare,
		place: func(r *llm.FeedbackSummary) *llm.Place { return &r.Place },
	})
	responses := truth.NewResponses(c.Size)
	add(llm.ResponseSource, llm.ResponseStatsTopic, &typedAccount[llm.Response, llm.ResponseSummary]{
		events: llm.ResponseCodec, results: form(c, llm.ResponseSummaryJSON, llm.ResponseSummaryCodec),
		add: responses.Add, drop: responses.Drop, compare: responses.Compare,
		place: func(r *llm.ResponseSummary) *llm.Place { return &r.Place },
	})
	components := truth.NewComponents(c.Size)
	add(llm.SystemSource, llm.HealthStatsTopic, &typedAccount[llm.Health, llm.HealthSummary]{
		events: llm.HealthCodec, results: form(c, llm.HealthSummaryJSON, llm.HealthSummaryCodec),
		add: components.Add, drop: components.Drop, compare: components.Compare,
		place: func(r *llm.HealthSummary) *llm.Place { return &r.Place },
	})
	experiments := truth.NewExperiments(c.ExperimentSize)
	add(llm.ExperimentSource, llm.ExperimentStatsTopic, &typedAccount[llm.Experiment, llm.ExperimentSummary]{
		events: llm.ExperimentCodec, results: form(c, llm.ExperimentSummaryJSON, llm.ExperimentSummaryCodec),
		add: experiments.Add, drop: experiments.Drop, compare: experiments.Compare,
		place: func(r *llm.ExperimentSummary) *llm.Place { return &r.Place },
	})
	return a
}

// form chooses how results are written.
func form[R any](c llm.Config, text, packed codec.Codec[R]) codec.Codec[R] {
	if c.PackedResults {
		return packed
	}
	return text
}

// outputs are the topics that take reads.
func (a *accounts) outputs() []string {
	topics := []string{llm.LateTopic}
	if a.performance.read {
		topics = append(topics, llm.StatsTopic)
	}
	for topic := range a.byOutput {
		topics = append(topics, topic)
	}
	return topics
}

// take notes a record of an output.
func (a *accounts) take(tp kafka.TopicPartition, r kafka.Record) error {
	// What comes in is a view of what was fetched, and what is decoded aliases it.
	value := append([]byte(nil), r.Value...)
	if tp.Topic == llm.LateTopic {
		kind := llm.PerformanceSource
		for _, h := range r.Headers {
			if string(h.Key) == llm.LateHeader {
				kind = string(h.Value)
			}
		}
		if k, ok := a.others[kind]; ok {
			return k.late(value)
		}
		return a.performance.take(tp, value)
	}
	if source, ok := a.byOutput[tp.Topic]; ok {
		return a.others[source].result(value)
	}
	return a.performance.take(tp, value)
}

// sent counts an event that was sent.
func (a *accounts) sent(i trace.Item) {
	if k, ok := a.others[i.Source]; ok {
		k.sent(i.Event)
	} else if v, ok := i.Event.(llm.Performance); ok {
		a.performance.truth.Add(v)
	}
}

// event counts an event that an input holds, by its source.
func (a *accounts) event(source string, value []byte) error {
	if k, ok := a.others[source]; ok {
		return k.event(value)
	}
	e, err := llm.PerformanceCodec.Decode(value)
	if err == nil {
		a.performance.truth.Add(e)
	}
	return err
}

// countEvents adds to the truth what the inputs, whose sources are by their
// topics, hold before the given offsets.
func (a *accounts) countEvents(ctx context.Context, client *kafka.Client, inputs map[string]string, before map[kafka.TopicPartition]int64) error {
	topics := make([]string, 0, len(inputs))
	for topic := range inputs {
		topics = append(topics, topic)
	}
	t, err := follow(ctx, client, func(tp kafka.TopicPartition, r kafka.Record) error {
		if r.Offset >= before[tp] {
			return nil
		}
		return a.event(inputs[tp.Topic], append([]byte(nil), r.Value...))
	}, topics...)
	if err != nil {
		return err
	}
	defer t.close()
	return t.reach(ctx, before)
}

// typedAccount is the account of events V and results R.
type typedAccount[V, R any] struct {
	events    codec.Codec[V]
	results   codec.Codec[R]
	add, drop func(V)
	compare   func(iter.Seq[R]) truth.Report
	place     func(*R) *llm.Place

	final   map[resultKey]R
	dropped []V
}

func (k *typedAccount[V, R]) event(value []byte) error { return decodeFor(k.events, value, k.add) }

func (k *typedAccount[V, R]) sent(event any) {
	if v, ok := event.(V); ok {
		k.add(v)
	}
}

func (k *typedAccount[V, R]) late(value []byte) error {
	return decodeFor(k.events, value, func(v V) { k.dropped = append(k.dropped, v) })
}

func (k *typedAccount[V, R]) result(value []byte) error {
	return decodeFor(k.results, value, func(r R) {
		at := k.place(&r)
		if !at.Final || at.Retracted {
			return
		}
		if k.final == nil {
			k.final = map[resultKey]R{}
		}
		k.final[resultKey{at.Key, at.WindowStart}] = r
	})
}

func (k *typedAccount[V, R]) report() truth.Report {
	for _, v := range k.dropped {
		k.drop(v)
	}
	return k.compare(maps.Values(k.final))
}

func decodeFor[T any](c codec.Codec[T], value []byte, take func(T)) error {
	v, err := c.Decode(value)
	if err == nil {
		take(v)
	}
	return err
}

// print writes the accounts: those of the other kinds in a line each, then the
// differences of performance, and its account as the last line.
func (p *program) print(a *accounts) error {
	differences := 0
	for _, kind := range a.kinds {
		r := a.others[kind].report()
		if _, err := fmt.Fprintf(p.out, "%s: %v\n", kind, r); err != nil {
			return err
		}
		if !r.Equal() {
			differences += max(1, len(r.Differences))
		}
	}
	r := a.performance.report()
	line, listed, _ := strings.Cut(r.String(), "\n")
	if listed != "" {
		fmt.Fprintln(p.out, listed)
	}
	if _, err := fmt.Fprintln(p.out, line); err != nil {
		return err
	}
	if !r.Equal() {
		differences += max(1, len(r.Differences))
	}
	if differences > 0 {
		return errDiffers{differences}
	}
	return nil
}
