package topology

import (
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// ErrBufferFull is wrapped by the error of an instance that a full buffer has
// stopped: see [Buffer.ShutDownWhenFull].
var ErrBufferFull = processors.ErrBufferFull

// Suppression says how long results are held back: [UntilWindowCloses], for results
// of windows, or [UntilTimeLimit], for any.
type Suppression interface{ suppression() suppression }

type suppression struct {
	finals bool
	limit  time.Duration
	buffer Buffer
}

type untilWindowCloses struct{}

// UntilWindowCloses holds the results of each key and window back until the window
// is closed, and sends the final one alone. It needs no buffer, and nothing can be
// full: a result says whether it is final, and the aggregate's own store holds the
// value until then. What it sends is never retracted.
//
// If nobody needs the other results, give the aggregate window.OnClose instead.
func UntilWindowCloses() Suppression { return untilWindowCloses{} }

func (untilWindowCloses) suppression() suppression { return suppression{finals: true} }

// TimeLimit is the suppression that [UntilTimeLimit] makes, which needs no windows.
type TimeLimit struct{ s suppression }

// UntilTimeLimit holds results back until the watermark has passed the first one of
// a key, or of a key and window, by d of event time. It then sends the last one of
// those that came meanwhile, and the next one begins to wait anew. 0 lets only those
// wait that are ahead of the watermark.
func UntilTimeLimit(d time.Duration, b Buffer) TimeLimit {
	return TimeLimit{suppression{limit: d, buffer: b}}
}

func (t TimeLimit) suppression() suppression { return t.s }

// Buffer is where results wait for their time. It is a value; its methods return a
// changed copy.
type Buffer struct {
	name                 string
	records, bytes       int64
	strict               bool
	hasRecords, hasBytes bool
}

// BufferIn makes a buffer without bounds in a store of its own, whose changelog topic
// is <application>-<store>-changelog. One Suppress uses it.
func BufferIn(store string) Buffer { return Buffer{name: store} }

// MaxRecords bounds how many keys, or keys and windows, wait in each task. When there
// is one more, the earliest is sent before its time.
func (b Buffer) MaxRecords(n int64) Buffer {
	b.records, b.hasRecords = n, true
	return b
}

// MaxBytes bounds the encoded keys and results that wait in each task. When they take
// more, the earliest are sent before their time.
func (b Buffer) MaxBytes(n int64) Buffer {
	b.bytes, b.hasBytes = n, true
	return b
}

// ShutDownWhenFull stops the instance when a bound is passed, whatever the error
// policy, for readers that cannot take more than the limit lets through. The error
// wraps [ErrBufferFull].
func (b Buffer) ShutDownWhenFull() Buffer {
	b.strict = true
	return b
}

// Suppress holds results back, and sends fewer of them: the final one of each key and
// window, or the last one of each stretch of event time. The aggregate's own stream
// still has all of them.
func (t WindowedTable[K, A]) Suppress(until Suppression, opts ...SuppressOption) Stream[K, A] {
	if until == nil {
		until = TimeLimit{} // which is a mistake of its own
	}
	x := until.suppression()
	out, n := suppressed(t.s, x, opts)
	b := out.b
	if t.emit.Mode() == window.Discarding {
		b.mistake(n, "discarding results are parts that a reader adds up, and Suppress would keep only the last: use accumulating or retracting ones")
	}
	if x.finals && t.emit.UpdatesOnly() {
		b.mistake(n, "until the window closes: an aggregate that sends updates only has no final result: use window.OnTime, or Suppress until a time limit")
	}
	if x.finals {
		out.retracts = false
		t.s.children = append(t.s.children, func(in *instance) (processors.Forward[K, A], error) {
			next, err := out.edge(in)
			if err != nil {
				return nil, err
			}
			return processors.Finals(next), nil
		})
		return out.handle()
	}
	st := bufferStore(b, n, x)
	hold(t.results, out, n, st, x, processors.SuppressConfig[K, A, processors.HeldKey[K]]{
		ID:    processors.HeldKeyCodec(t.key),
		Of:    func(key K, w window.Window) processors.HeldKey[K] { return processors.HeldKey[K]{Key: key, Window: w} },
		Parts: func(k processors.HeldKey[K]) (K, window.Window) { return k.Key, k.Window },
	})
	return out.handle()
}

// Suppress holds the updates of a table back, and sends the last one of each stretch
// of event time.
func (t Table[K, A]) Suppress(until TimeLimit, opts ...SuppressOption) Stream[K, A] {
	out, n := suppressed(t.s, until.s, opts)
	st := bufferStore(out.b, n, until.s)
	hold(t.results, out, n, st, until.s, processors.SuppressConfig[K, A, K]{
		ID:    t.key,
		Of:    func(key K, _ window.Window) K { return key },
		Parts: func(key K) (K, window.Window) { return key, window.Window{} },
	})
	return out.handle()
}

// hold makes the node hold results in a store. c says how its entries are told apart.
func hold[K, A, I any](t results[K, A], out *stream[K, A], n *node, st *store, x suppression, c processors.SuppressConfig[K, A, I]) {
	st.forms.versions = codec.LineageOf(t.value)
	c.Limit, c.MaxRecords, c.MaxBytes, c.Strict = x.limit.Milliseconds(), x.buffer.records, x.buffer.bytes, x.buffer.strict
	st.open = func(db *stores.DB) (any, error) {
		return stores.OpenKeyValue(db, stores.KeyValueConfig[I, processors.Held[A]]{
			Name: st.name, Key: c.ID, Value: processors.HeldCodec(t.value), Layout: "buffer",
		})
	}
	t.s.children = append(t.s.children, func(in *instance) (processors.Forward[K, A], error) {
		next, err := out.edge(in)
		if err != nil {
			return nil, err
		}
		own := c
		own.Store, own.Next = in.opened[st.name].(*stores.KeyValue[I, processors.Held[A]]), next
		node := processors.NewSuppress(in.rt, in.node(n), own)
		in.addStateful(n, node)
		return node.Process, nil
	})
}

// suppressed adds the node.
func suppressed[K, A any](s *stream[K, A], x suppression, opts []SuppressOption) (*stream[K, A], *node) {
	o := options{}
	for _, opt := range opts {
		opt.suppress(&o)
	}
	n := s.b.add(kindSuppress, o, s.node.id)
	return &stream[K, A]{b: s.b, node: n, keyChanged: s.keyChanged, retracts: s.retracts, windows: s.windows}, n
}

// bufferStore adds the store of a buffer and notes what is wrong with it.
func bufferStore(b *Builder, n *node, x suppression) *store {
	wrong := func(format string, args ...any) { b.mistake(n, "until a time limit: "+format, args...) }
	if x.limit < 0 || x.limit%time.Millisecond != 0 {
		wrong("%v: want whole milliseconds, at least 0", x.limit)
	}
	if x.buffer.hasRecords && x.buffer.records < 1 {
		wrong("at most %d records: want at least 1", x.buffer.records)
	}
	if x.buffer.hasBytes && x.buffer.bytes < 1 {
		wrong("at most %d bytes: want at least 1", x.buffer.bytes)
	}
	if x.buffer.strict && !x.buffer.hasRecords && !x.buffer.hasBytes {
		wrong("ShutDownWhenFull belongs to a buffer with MaxRecords or MaxBytes: this one is never full")
	}
	return b.addStore(x.buffer.name, kindBuffer, n)
}
