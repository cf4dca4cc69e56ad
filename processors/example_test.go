package processors_test

import (
	"fmt"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
)

// onChange is a processor that passes on only values that differ from the last
// one of their key, which it keeps in a store.
type onChange struct {
	handle topology.KeyValue[string, string]
	ctx    *processors.Context[string, string]
	last   *processors.Store[string, string]
}

func (p *onChange) Init(ctx *processors.Context[string, string]) (err error) {
	p.ctx = ctx
	p.last, err = p.handle.In(ctx)
	return err
}

func (p *onChange) Process(r processors.Record[string, string]) error {
	last, known, err := p.last.Get(r.Key)
	if err != nil || known && last == r.Value {
		return err
	}
	if err := p.last.Put(r.Key, r.Value); err != nil {
		return err
	}
	return p.ctx.Forward(r)
}

func (p *onChange) Close() error { return nil }

// A processor keeps what must outlive it in a store of its task.
func ExampleProcessor() {
	b := topology.New("status")
	last := topology.KeyValueStore(b, "last", codec.String, codec.String)
	newOnChange := func() topology.Processor[string, string, string, string] { return &onChange{handle: last} }
	status := topology.Source(b, "status", codec.String, codec.String)
	topology.Process(status, newOnChange, topology.Uses(last)).To("changes", codec.String, codec.String)
	top, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	d, err := streamtest.Open(top)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	in := streamtest.Input(d, "status", codec.String, codec.String)
	in.Send("db", "up", d.Now())
	in.Send("db", "up", d.Now())
	d.Crash() // the last status is in the store
	in.Send("db", "up", d.Now())
	in.Send("db", "down", d.Now())
	for _, m := range streamtest.Output(d, "changes", codec.String, codec.String).All() {
		fmt.Println(m.Key, m.Value)
	}
	// Output:
	// db up
	// db down
}
