package window

import (
	"fmt"
	"reflect"
)

// Generator makes the watermark of one partition of a source by rules of the
// user's own; see Custom. There is one for each partition, it is called by one
// goroutine at a time, and its methods must neither block nor panic. All times
// are Unix milliseconds; now is the wall clock.
//
// What it promises by a watermark W is that no on-time event earlier than W is
// to come in its partition. The caller keeps the greatest W that it was told, so
// that a lower one changes nothing; MinTime says nothing.
type Generator[V any] interface {
	// Event takes note of a record with value v and event time t, in the order
	// of offsets, and returns the watermark that holds behind it: the record
	// itself is judged by the one before. A watermark further ahead of now than
	// Strategy.MaxAhead allows is an error of this record, which is refused; the
	// generator should forget it then. v is valid during the call only: it may
	// alias bytes that are used again.
	Event(v V, t, now int64) (watermark int64)

	// Tick is called every few milliseconds, also while nothing comes, and
	// returns the watermark. One too far ahead of now stops the instance.
	Tick(now int64) (watermark int64)
}

// Punctuated takes watermarks from the events themselves: mark looks at a value
// and returns, if ok is true, a watermark in Unix milliseconds that holds behind
// this event: no earlier one is to come on time in its partition. Events without
// one leave the watermark as it is, and so does one that is lower. For writers
// that say how far they are, as by the end of an hour's file. mark is called by
// all tasks, several at a time, with a value that is valid during the call only.
//
// V is the type of the source's values; Build refuses another one.
func Punctuated[V any](mark func(v V) (watermark int64, ok bool)) Strategy {
	v := &values{maker: "Punctuated", kind: "punctuated", of: reflect.TypeFor[V]()}
	if mark != nil {
		v.start = func(int64) Generator[V] { return punctuated[V](mark) }
	}
	return Strategy{values: v}
}

// Custom makes watermarks with a Generator of the user's. start returns a new
// one for a partition that a task begins to read: first, after a restart, and
// when it comes from another instance. watermark is what was committed of the
// partition's then, MinTime if there was none, and all that outlives a restart
// of the generator's state: events behind the committed offset come again, those
// before it do not. start is called by several goroutines at a time and must
// return a new generator each time.
//
// V is the type of the source's values; Build refuses another one.
func Custom[V any](start func(watermark int64) Generator[V]) Strategy {
	v := &values{maker: "Custom", kind: "custom", of: reflect.TypeFor[V]()}
	if start != nil {
		v.start = start
	}
	return Strategy{values: v}
}

// values is the part of a strategy that knows the type of a source's values.
type values struct {
	maker, kind string
	of          reflect.Type
	// start is a func(watermark int64) Generator[V], or nil if the user gave
	// none.
	start any
}

// punctuated is the generator that a function makes.
type punctuated[V any] func(V) (int64, bool)

func (p punctuated[V]) Event(v V, _, _ int64) int64 {
	if w, ok := p(v); ok {
		return w
	}
	return MinTime
}

func (punctuated[V]) Tick(int64) int64 { return MinTime }

// Generates reports whether the watermark comes from a Generator, and not from
// the event times.
func (s Strategy) Generates() bool { return s.values != nil }

// CheckValues returns an error that wraps ErrInvalid if s looks at values of
// another type than V.
func CheckValues[V any](s Strategy) error {
	if v := s.values; v != nil && v.of != reflect.TypeFor[V]() {
		return fmt.Errorf("%w: window.%s looks at values of type %v, and those of the source are %v",
			ErrInvalid, v.maker, v.of, reflect.TypeFor[V]())
	}
	return nil
}

// NewGenerator returns a generator for one partition, of which watermark was
// committed; nil if s has none. It wraps ErrInvalid if s looks at values of
// another type, and if the user's function returns nil.
func NewGenerator[V any](s Strategy, watermark int64) (Generator[V], error) {
	if s.values == nil {
		return nil, nil
	}
	if err := CheckValues[V](s); err != nil {
		return nil, err
	}
	start, _ := s.values.start.(func(int64) Generator[V])
	if start == nil {
		return nil, fmt.Errorf("%w: the function of window.%s is nil", ErrInvalid, s.values.maker)
	}
	g := start(watermark)
	if g == nil {
		return nil, fmt.Errorf("%w: the function of window.%s returned no generator", ErrInvalid, s.values.maker)
	}
	return g, nil
}
