package processors

import "github.com/millrace/millrace/window"

// placeCount adds a record to the open count window of its key. The window that
// was full before stays until then, for its number.
func (a *WindowAggregate[K, V, A]) placeCount(r *Record[K, V]) (p placed, err error) {
	lane, err := a.c.Spans.Of(a.key)
	if err != nil {
		return p, a.node.fail(err)
	}
	a.rt.Touched = true
	if len(lane) == 0 {
		live, err := a.c.Spans.Create(a.key, window.Window{Start: 0, End: 1})
		if err != nil {
			return p, a.node.fail(err)
		}
		live.Firing.Mark(window.EntryEmpty)
		return p, a.add(r, live, live.Window(), &p)
	}
	// The last one is open. What a crash has left of earlier ones is deleted.
	live := lane[len(lane)-1]
	for len(lane) > 1 {
		a.c.Spans.Delete(lane[0])
		if lane, err = a.c.Spans.Of(a.key); err != nil {
			return p, a.node.fail(err)
		}
	}
	if live.Firing.Final() {
		x := live.Window()
		a.c.Spans.Move(live, window.Window{Start: x.End, End: x.End + 1})
		live.Value, live.Firing = a.c.New(), window.Firing{}
		live.Firing.Mark(window.EntryEmpty)
	} else if err := a.c.Spans.Load(live); err != nil {
		return p, a.node.fail(err)
	}
	return p, a.add(r, live, live.Window(), &p)
}
