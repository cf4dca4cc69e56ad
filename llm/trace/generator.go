package trace

import (
	"container/heap"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"github.com/millrace/millrace/llm"
)

// Options say what a Generator makes of the rows. The zero Options replay them
// once, in order, at their own times.
type Options struct {
	// Events is how many events to make, duplicates not counted; the rows are
	// repeated, each time shifted behind the time before. 0 means the rows once.
	Events int64
	// End is when the last event in the order of time happens; all others are
	// shifted with it. The zero End keeps the rows' own times.
	End time.Time
	// Disorder is the longest by which an event is delivered after its time,
	// DisorderShare (0 to 1) the share of events to which that happens.
	Disorder      time.Duration
	DisorderShare float64
	// Duplicates is the share (0 to 1) of events that are delivered twice, the
	// second time out of order if DisorderShare says so.
	Duplicates float64
	// Seed determines all that is random.
	Seed uint64
}

// Delivery is an event and when it is due.
type Delivery struct {
	Event llm.Performance
	// At is when the event is to be delivered, in Unix milliseconds on the
	// events' own clock: its timestamp, or up to Options.Disorder later. It
	// never falls from one delivery to the next.
	At int64
}

// Generator makes events of rows.
type Generator struct {
	rows     []Row
	options  Options
	model    *modeller
	delivery *rand.Rand

	shift   int64 // added to every row's time, in milliseconds
	period  int64 // from one repetition to the next
	next    int64 // number of the next event by time
	delayed delayed
	order   int64 // of entry into delayed
}

// NewGenerator returns a Generator of rows, which are by rising time and do not
// change any more. Errors wrap ErrOptions and name the option.
func NewGenerator(rows []Row, o Options) (*Generator, error) {
	switch {
	case len(rows) == 0:
		return nil, fmt.Errorf("%w: no rows", ErrOptions)
	case o.Events < 0:
		return nil, fmt.Errorf("%w: events %d, want 0 or more", ErrOptions, o.Events)
	case o.Disorder < 0 || o.Disorder > 365*24*time.Hour:
		return nil, fmt.Errorf("%w: disorder %v, want 0 to a year", ErrOptions, o.Disorder)
	case !(o.DisorderShare >= 0 && o.DisorderShare <= 1):
		return nil, fmt.Errorf("%w: disorder share %v, want 0 to 1", ErrOptions, o.DisorderShare)
	case !(o.Duplicates >= 0 && o.Duplicates <= 1):
		return nil, fmt.Errorf("%w: duplicates %v, want 0 to 1", ErrOptions, o.Duplicates)
	}
	if o.Events == 0 {
		o.Events = int64(len(rows))
	}
	span := rows[len(rows)-1].At - rows[0].At
	g := &Generator{
		rows: rows, options: o,
		model:    newModeller(o.Seed),
		delivery: rand.New(rand.NewPCG(o.Seed, 0x64656c69766572)),
		// The usual distance of two rows lies between repetitions.
		period: span + max(span/int64(len(rows)), 1),
	}
	const latest = 1 << 52 // far from any overflow
	if o.Events/int64(len(rows)) > latest/g.period {
		return nil, fmt.Errorf("%w: events %d reach beyond any date", ErrOptions, o.Events)
	}
	if !o.End.IsZero() {
		g.shift = o.End.UnixMilli() - g.time(o.Events-1)
	}
	if first := g.time(0); first < 0 {
		return nil, fmt.Errorf("%w: events %d begin before 1970 if they end %v: ask for fewer, or keep the trace's time",
			ErrOptions, o.Events, o.End.UTC().Format(time.RFC3339))
	}
	return g, nil
}

// time returns the event time of event number n, counted by time.
func (g *Generator) time(n int64) int64 {
	size := int64(len(g.rows))
	return g.rows[n%size].At + n/size*g.period + g.shift
}

// Next returns the next delivery, or false after the last one.
func (g *Generator) Next() (Delivery, bool) {
	for {
		more := g.next < g.options.Events
		if len(g.delayed) > 0 && (!more || g.delayed[0].At <= g.time(g.next)) {
			return heap.Pop(&g.delayed).(waiting).Delivery, true
		}
		if !more {
			return Delivery{}, false
		}
		at := g.time(g.next)
		event := g.model.event(g.rows[g.next%int64(len(g.rows))], at)
		g.next++
		if g.options.Duplicates > 0 && g.delivery.Float64() < g.options.Duplicates {
			g.wait(event, at+g.delay())
		}
		delay := g.delay()
		if delay == 0 {
			return Delivery{event, at}, true
		}
		g.wait(event, at+delay)
	}
}

// delay draws by how many milliseconds a delivery follows its event.
func (g *Generator) delay() int64 {
	if limit := g.options.Disorder.Milliseconds(); limit > 0 && g.delivery.Float64() < g.options.DisorderShare {
		return 1 + g.delivery.Int64N(limit)
	}
	return 0
}

func (g *Generator) wait(event llm.Performance, at int64) {
	heap.Push(&g.delayed, waiting{Delivery{event, at}, g.order})
	g.order++
}

// All returns the deliveries that are left. It can be used once.
func (g *Generator) All() iter.Seq[Delivery] {
	return func(yield func(Delivery) bool) {
		for d, ok := g.Next(); ok; d, ok = g.Next() {
			if !yield(d) {
				return
			}
		}
	}
}

// waiting is a delivery that is not due yet.
type waiting struct {
	Delivery
	order int64
}

// delayed is a heap by time, then by order.
type delayed []waiting

func (d delayed) Len() int { return len(d) }

func (d delayed) Less(i, j int) bool {
	if d[i].At != d[j].At {
		return d[i].At < d[j].At
	}
	return d[i].order < d[j].order
}

func (d delayed) Swap(i, j int) { d[i], d[j] = d[j], d[i] }

func (d *delayed) Push(x any) { *d = append(*d, x.(waiting)) }

func (d *delayed) Pop() any {
	last := len(*d) - 1
	w := (*d)[last]
	*d = (*d)[:last]
	return w
}
