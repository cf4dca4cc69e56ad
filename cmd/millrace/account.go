package main

import (
	"fmt"
	"maps"

	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/llm/truth"
)

// account gathers what the application has written of performance, to be compared
// with what is computed directly from the events. Its methods are called by one goroutine at
// a time.
type account struct {
	truth *truth.Truth
	// packed: results are MessagePack, not JSON.
	packed bool
	// read: the application reads performance at all.
	read bool
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
	return &account{truth: truth.New(c.Size), packed: c.PackedResults, read: c.Topic != "", final: final, results: map[resultKey]llm.Result{}}
}

// take notes the value of a record of the results' or the late events' topic. It
// keeps it.
func (a *account) take(tp kafka.TopicPartition, value []byte) error {
	if tp.Topic == llm.LateTopic {
		e, err := llm.PerformanceCodec.Decode(value)
		a.late = append(a.late, e)
		return err
	}
	format := llm.ResultJSON
	if a.packed {
		format = llm.ResultCodec
	}
	result, err := format.Decode(value)
	if err != nil || !result.Final || result.Retracted {
		return err
	}
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
