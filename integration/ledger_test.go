//go:build integration

package integration_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// ledger is a topology with a store of each kind, whose values are event times
// in Unix milliseconds: windows that open and close all the time, totals behind
// a repartition, and a processor that puts and deletes.
func ledger(application, topic string) (*topology.Topology, error) {
	b := topology.New(application)
	events := topology.Source(b, topic, codec.String, codec.Int64).
		EventTime(func(at int64) int64 { return at }, window.BoundedDelay(time.Second).IdleAfter(2*time.Second))
	last := topology.KeyValueStore(b, "last", codec.String, codec.Int64)
	remembered := topology.Process(events, func() topology.Processor[string, int64, string, int64] {
		return &rememberer{store: last}
	}, topology.Uses(last))
	remembered.GroupByKey(codec.String, codec.Int64, topology.Named("by-key")).
		WindowedBy(window.Tumbling(10 * time.Second)).Count(topology.Store("windows"))
	topology.GroupBy(remembered, codec.String, codec.Int64, family, topology.Named("by-family")).
		Count(topology.Store("totals"))
	return b.Build()
}

// family is a key without what follows its dash.
func family[V any](r topology.Record[string, V]) string {
	name, _, _ := strings.Cut(r.Key, "-")
	return name
}

// rememberer keeps the latest time of each key, and forgets it again at every
// seventh.
type rememberer struct {
	store topology.KeyValue[string, int64]
	ctx   *topology.Context[string, int64]
	last  *topology.State[string, int64]
}

func (p *rememberer) Init(ctx *topology.Context[string, int64]) (err error) {
	p.ctx = ctx
	p.last, err = p.store.In(ctx)
	return err
}

func (p *rememberer) Process(r topology.Record[string, int64]) error {
	err := p.ctx.Forward(r)
	switch {
	case err != nil:
		return err
	case r.Value%7 == 0:
		return p.last.Delete(r.Key)
	}
	return p.last.Put(r.Key, r.Value)
}

func (p *rememberer) Close() error { return nil }

// durableStorage flushes a database after each batch, as a process with little
// memory might: the disk then shows what a kill would take away.
type durableStorage struct{ streams.Storage }

func (s durableStorage) Open(id processors.TaskID, onFailure func(error)) (stores.Engine, error) {
	e, err := s.Storage.Open(id, onFailure)
	if err != nil {
		return nil, err
	}
	return durableEngine{e}, nil
}

type durableEngine struct{ stores.Engine }

func (e durableEngine) Apply(b *stores.Batch) error {
	if err := e.Engine.Apply(b); err != nil {
		return err
	}
	if err := e.Flush(); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}
