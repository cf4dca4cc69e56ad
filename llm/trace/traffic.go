package trace

import (
	"container/heap"
	"iter"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/millrace/millrace/llm"
)

// Traffic makes events of all kinds: the Performance events of a Generator, and
// what the model has of the other kinds for the same requests. They come by the
// time of delivery.
type Traffic struct {
	performance *Generator // with the options' disorder
	requests    *Generator // the same events in order
	companions  *companions
	plan        []Degradation
	kinds       []string
	options     Options
	delivery    *rand.Rand

	next    Delivery // of performance
	more    bool
	request Delivery // whose companions come next
	left    bool
	waiting items
	order   int64
}

// Item is an event of any kind and when it is due.
type Item struct {
	// Source is the name of the source that it is for, as in llm.FeedbackSource.
	Source string
	// At is when the event is to be delivered, as in Delivery.
	At int64
	// Event is an llm.Performance, Feedback, Response, Health or Experiment.
	Event any
}

// NewTraffic returns the traffic of rows and options with the kinds that are
// named by their sources, and with degradations planted. All kinds come out of
// order as the options say, but reports of components by at most 10 seconds, and
// duplicates are of Performance events alone. Nothing happens after the last
// request. The events are the same whatever other kinds there are. Errors are
// NewGenerator's.
func NewTraffic(rows []Row, o Options, kinds []string, plan []Degradation) (*Traffic, error) {
	g, err := NewGenerator(rows, o)
	if err != nil {
		return nil, err
	}
	inOrder := o
	inOrder.Disorder, inOrder.DisorderShare, inOrder.Duplicates = 0, 0, 0
	requests, err := NewGenerator(rows, inOrder)
	if err != nil {
		return nil, err
	}
	t := &Traffic{
		performance: g, requests: requests, plan: plan, kinds: kinds, options: o,
		companions: newCompanions(o.Seed, plan, g.time(0)),
		delivery:   rand.New(rand.NewPCG(o.Seed, 0x74726166666963)),
	}
	t.next, t.more = g.Next()
	t.more = t.more && slices.Contains(kinds, llm.PerformanceSource)
	t.request, t.left = requests.Next()
	return t, nil
}

// Span returns the times of the first and the last request, in Unix
// milliseconds.
func (t *Traffic) Span() (first, last int64) {
	return t.performance.time(0), t.performance.time(t.performance.options.Events - 1)
}

// Next returns the next event, or false after the last one.
func (t *Traffic) Next() (Item, bool) {
	_, last := t.Span()
	for {
		// Nothing that is still to come is due earlier than these three.
		performance, request, waiting := int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64)
		if t.more {
			performance = t.next.At
		}
		if t.left {
			request = t.request.At
		}
		if len(t.waiting) > 0 {
			waiting = t.waiting[0].At
		}
		due := min(performance, request, waiting)
		switch {
		case t.companions.next <= min(due, last):
			t.companions.report(t.wait)
		case due == math.MaxInt64:
			return Item{}, false
		case request == due: // what belongs to it happens then or later
			v := t.request.Event
			degradePerformance(t.plan, &v)
			t.companions.of(&v, t.wait)
			t.request, t.left = t.requests.Next()
		case performance == due:
			degradePerformance(t.plan, &t.next.Event)
			item := Item{llm.PerformanceSource, t.next.At, t.next.Event}
			t.next, t.more = t.performance.Next()
			return item, true
		default:
			return heap.Pop(&t.waiting).(ordered).Item, true
		}
	}
}

// wait takes an event that is to be delivered at its time, or later.
func (t *Traffic) wait(source string, at int64, event any) {
	delay, limit := int64(0), t.options.Disorder.Milliseconds()
	if source == llm.SystemSource {
		limit = min(limit, healthDisorder.Milliseconds())
	}
	if limit > 0 && t.delivery.Float64() < t.options.DisorderShare {
		delay = 1 + t.delivery.Int64N(limit)
	}
	if _, last := t.Span(); at <= last && slices.Contains(t.kinds, source) {
		heap.Push(&t.waiting, ordered{Item{source, at + delay, event}, t.order})
		t.order++
	}
}

// All returns the events that are left. It can be used once.
func (t *Traffic) All() iter.Seq[Item] {
	return func(yield func(Item) bool) {
		for i, ok := t.Next(); ok; i, ok = t.Next() {
			if !yield(i) {
				return
			}
		}
	}
}

// ordered is an item that is not due yet.
type ordered struct {
	Item
	order int64
}

// items is a heap by time, then by order.
type items []ordered

func (s items) Len() int { return len(s) }

func (s items) Less(i, j int) bool {
	if s[i].At != s[j].At {
		return s[i].At < s[j].At
	}
	return s[i].order < s[j].order
}

func (s items) Swap(i, j int) { s[i], s[j] = s[j], s[i] }

func (s *items) Push(x any) { *s = append(*s, x.(ordered)) }

func (s *items) Pop() any {
	last := len(*s) - 1
	i := (*s)[last]
	*s = (*s)[:last]
	return i
}
