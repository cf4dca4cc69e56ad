package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/millrace/millrace/internal/kafka"
)

// Plan is what Compare runs.
type Plan struct {
	Settings
	Work Work
	// Load is what is asked for; a work may have one of its own.
	Load Load
	// Partitions is how many the topic of the events has.
	Partitions int32
	// Rounds is how often each contender runs; they take turns.
	Rounds int
	// Log is told of each run.
	Log io.Writer `json:"-"`
}

// Comparison is what Compare has found.
type Comparison struct {
	Plan
	Machine machine
	// Contenders are names, in the order of the first round.
	Contenders []string
	// Runs and Restores hold the reports by contender, in the order of rounds.
	Runs, Restores map[string][]Report
	Windows        int
}

// Compare writes a load to a topic and has the contenders work at it in turn, on
// one broker. The error wraps [ErrVoid] if one of them has computed something
// else than the raw floor.
func Compare(ctx context.Context, p Plan) (*Comparison, error) {
	p.Settings, p.Load = p.withDefaults(), p.Work.load(p.Load)
	client, err := kafka.Open(ctx, kafka.Config{Brokers: []string{p.Brokers}, ClientID: "millrace-compare"})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	dir, err := os.MkdirTemp("", "millrace-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	f, err := build(ctx, p.Settings, client, dir)
	if err != nil {
		return nil, err
	}
	input := fmt.Sprintf("bench-%s-%d", p.Work.Name, time.Now().UnixMilli())
	if err := Generate(ctx, client, input, p.Partitions, p.Load); err != nil {
		return nil, err
	}
	c := &Comparison{
		Plan: p, Machine: thisMachine(), Contenders: p.Work.contenders(), Runs: map[string][]Report{}, Restores: map[string][]Report{},
	}
	var want outcome
	for round := range p.Rounds {
		for i := range c.Contenders {
			name := c.Contenders[(i+round)%len(c.Contenders)]
			got, err := c.turn(ctx, f, name, fmt.Sprintf("%s-%d-%d", input, round, i), input)
			if err != nil {
				return nil, err
			}
			if want == nil {
				want, c.Windows = got, len(got)
			}
			if err := got.equal(want); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return c, client.DeleteTopic(ctx, input)
}

// settling is for how long a restore waits after the run that made the state: the broker
// still cleans and deletes for seconds what that and the contender before it have
// written, on the processors that the restore needs.
const settling = 10 * time.Second

// turn runs a contender once and, if it keeps state, has it restore that.
func (c *Comparison) turn(ctx context.Context, f *field, name, application, input string) (_ outcome, err error) {
	e := entry{Work: c.Work, contender: name, input: input, application: application}
	defer func() { err = errors.Join(err, f.clear(context.WithoutCancel(ctx), e)) }()
	report, got, err := f.run(ctx, e)
	if err != nil {
		return nil, err
	}
	if report.Records != c.Load.Events {
		return nil, fmt.Errorf("%w: %s has read %d events of %d", ErrVoid, name, report.Records, c.Load.Events)
	}
	c.Runs[name] = append(c.Runs[name], report)
	fmt.Fprintf(c.Log, "%-14s %9.0f events a CPU second, %9.0f a second, %4.0f MiB, %d results, %.3f allocations an event\n",
		name, perCPUSecond(report), perSecond(report), peakMiB(report), report.Results, report.AllocsPerRecord)
	if !c.Work.Restore || name == Raw || name == Plain {
		return got, nil
	}
	select {
	case <-time.After(settling):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	e.restore = true
	if report, _, err = f.run(ctx, e); err != nil {
		return nil, err
	}
	c.Restores[name] = append(c.Restores[name], report)
	fmt.Fprintf(c.Log, "%-14s restored %d records in %.2f s, %.0f a second\n", name, report.RestoredRecords, report.RestoreSeconds, restoredPerSecond(report))
	return got, nil
}
