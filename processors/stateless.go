package processors

// Chain returns one edge to all of next.
func Chain[K, V any](next []Forward[K, V]) Forward[K, V] {
	switch len(next) {
	case 0:
		return func(*Record[K, V]) error { return nil }
	case 1:
		return next[0]
	}
	return func(r *Record[K, V]) error {
		for _, f := range next {
			if err := f(r); err != nil {
				return err
			}
		}
		return nil
	}
}

// Filter passes on the records that keep returns true for.
func Filter[K, V any](rt *Runtime, n *Node, keep func(Record[K, V]) bool, next Forward[K, V]) Forward[K, V] {
	return func(r *Record[K, V]) error {
		rt.Node = n
		if !keep(*r) {
			return nil
		}
		return next(r)
	}
}

// Peek calls look with each record and passes the record on.
func Peek[K, V any](rt *Runtime, n *Node, look func(Record[K, V]), next Forward[K, V]) Forward[K, V] {
	return func(r *Record[K, V]) error {
		rt.Node = n
		look(*r)
		return next(r)
	}
}

// Map replaces key and value; time, headers, window and pane stay.
func Map[K, V, K2, V2 any](rt *Runtime, n *Node, f func(Record[K, V]) (K2, V2, error), next Forward[K2, V2]) Forward[K, V] {
	out := new(Record[K2, V2])
	return func(r *Record[K, V]) error {
		rt.Node = n
		key, value, err := f(*r)
		if err != nil {
			return n.fail(err)
		}
		*out = Record[K2, V2]{Key: key, Value: value, Time: r.Time, Headers: r.Headers, Window: r.Window, Pane: r.Pane}
		return next(out)
	}
}

// MapValues replaces the value.
func MapValues[K, V, V2 any](rt *Runtime, n *Node, f func(Record[K, V]) (V2, error), next Forward[K, V2]) Forward[K, V] {
	out := new(Record[K, V2])
	return func(r *Record[K, V]) error {
		rt.Node = n
		value, err := f(*r)
		if err != nil {
			return n.fail(err)
		}
		*out = Record[K, V2]{Key: r.Key, Value: value, Time: r.Time, Headers: r.Headers, Window: r.Window, Pane: r.Pane, nullKey: r.nullKey}
		return next(out)
	}
}

// SelectKey replaces the key.
func SelectKey[K, V, K2 any](rt *Runtime, n *Node, f func(Record[K, V]) K2, next Forward[K2, V]) Forward[K, V] {
	out := new(Record[K2, V])
	return func(r *Record[K, V]) error {
		rt.Node = n
		*out = Record[K2, V]{Key: f(*r), Value: r.Value, Time: r.Time, Headers: r.Headers, Window: r.Window, Pane: r.Pane}
		return next(out)
	}
}

// FlatMap calls f, which sends any number of records by emit. What it sends
// keeps the time and headers of the record that it was made from.
func FlatMap[K, V, K2, V2 any](rt *Runtime, n *Node, f func(r Record[K, V], emit func(K2, V2) error) error, next Forward[K2, V2]) Forward[K, V] {
	out := new(Record[K2, V2])
	var from *Record[K, V]
	var failed error
	emit := func(key K2, value V2) error {
		*out = Record[K2, V2]{Key: key, Value: value, Time: from.Time, Headers: from.Headers, Window: from.Window, Pane: from.Pane}
		err := next(out)
		rt.Node = n
		if failed == nil {
			failed = err
		}
		return err
	}
	return func(r *Record[K, V]) error {
		rt.Node, from, failed = n, r, nil
		err := f(*r, emit)
		switch {
		case failed != nil:
			return failed
		case err != nil:
			return n.fail(err)
		}
		return nil
	}
}

// Split passes a record to the first branch whose predicate is true, or else
// to rest.
func Split[K, V any](rt *Runtime, n *Node, when []func(Record[K, V]) bool, branches []Forward[K, V], rest Forward[K, V]) Forward[K, V] {
	return func(r *Record[K, V]) error {
		rt.Node = n
		for i, is := range when {
			if is(*r) {
				return branches[i](r)
			}
		}
		return rest(r)
	}
}
