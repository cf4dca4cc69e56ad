package main

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/llm/truth"
)

// account gathers what the application has written, to be compared with what is
// computed directly from the events. Its methods are called by one goroutine at
// a time.
type account struct {
	truth *truth.Truth
	// packed: results are MessagePack, not JSON.
	packed bool
	// final is called for each final result that is not a repeat.
	final func(llm.Result)

	results map[resultKey]llm.Result
	late    []llm.Performance
}

type resultKey struct {
	model string
	start int64
}

func newAccount(c llm.Config, final func(llm.Result)) *account {
	return &account{truth: truth.New(c.Size), packed: c.PackedResults, final: final, results: map[resultKey]llm.Result{}}
}

// take notes a record of the results' or the late events' topic.
func (a *account) take(tp kafka.TopicPartition, r kafka.Record) error {
	if tp.Topic == llm.LateTopic {
		e, err := llm.PerformanceCodec.Decode(r.Value)
		e.Model = strings.Clone(e.Model)
		a.late = append(a.late, e)
		return err
	}
	format := llm.ResultJSON
	if a.packed {
		format = llm.ResultCodec
	}
	result, err := format.Decode(r.Value)
	if err != nil || !result.Final || result.Retracted {
		return err
	}
	result.Key = strings.Clone(result.Key)
	key := resultKey{result.Key, result.WindowStart}
	_, repeated := a.results[key]
	a.results[key] = result
	if !repeated && a.final != nil {
		a.final(result)
	}
	return nil
}

// report compares. It is the end of the account.
func (a *account) report() truth.Report {
	for _, e := range a.late {
		a.truth.Drop(e)
	}
	return a.truth.Compare(maps.Values(a.results))
}

// errDiffers means that the application computed something else than the direct
// computation.
type errDiffers struct{ differences int }

func (e errDiffers) Error() string {
	return fmt.Sprintf("the results differ from the direct computation in %d places, the first of which are above; "+
		"a killed instance's last records count again, at least once", e.differences)
}

// print writes the differences of a report, each model and window in which the
// two computations disagree, and its account as the last line.
func (p *program) print(r truth.Report) error {
	line, differences, _ := strings.Cut(r.String(), "\n")
	if differences != "" {
		fmt.Fprintln(p.out, differences)
	}
	if _, err := fmt.Fprintln(p.out, line); err != nil {
		return err
	}
	if !r.Equal() {
		return errDiffers{max(1, len(r.Differences))}
	}
	return nil
}

// countEvents adds to the truth what a topic holds before the given offsets.
func (a *account) countEvents(ctx context.Context, client *kafka.Client, topic string, before map[kafka.TopicPartition]int64) error {
	t, err := follow(ctx, client, func(tp kafka.TopicPartition, r kafka.Record) error {
		if r.Offset >= before[tp] {
			return nil
		}
		e, err := llm.PerformanceCodec.Decode(r.Value)
		if err == nil {
			a.truth.Add(e)
		}
		return err
	}, topic)
	if err != nil {
		return err
	}
	defer t.close()
	return t.reach(ctx, before)
}
