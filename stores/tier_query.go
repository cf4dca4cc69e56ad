package stores

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"

	"github.com/millrace/millrace/window"
)

// How stores of windows show what is closed to a cold tier. Those of panes have
// none: what a window of panes shows may still change when it is closed, by late
// events of later windows.
//
// What is closed has sent its final result. An entry that has not, though its
// place says that it is closed, is where a session was that has moved since: under
// DeletesDeferred the engine has it for one commit longer.

// ifFinal calls visit with e if its final result was sent.
func ifFinal(e closedEntry, visit func(closedEntry) (bool, error)) (bool, error) {
	if _, f, _, err := splitLive(e.value); err != nil || !f.Final() {
		return true, err
	}
	return visit(e)
}

func (q *windowedQuery[K, A]) byKey() bool { return false }

func (q *windowedQuery[K, A]) scanClosed(v *View, from, to int64, after []byte, visit func(closedEntry) (bool, error)) error {
	span := Span{Lower: q.startKey(from), Upper: q.startKey(to)}
	if after != nil {
		span.Lower = append(append(q.info.prefix[:len(q.info.prefix):prefixLen], after...), 0)
	}
	err := scanView(v.ctx, v.snapshot, span, func(key, value []byte) (bool, error) {
		if key = key[prefixLen:]; len(key) < 8 {
			return false, fmt.Errorf("%w: key %x has no window", ErrCorrupt, key)
		}
		start := int64(binary.BigEndian.Uint64(key) ^ (1 << 63))
		return ifFinal(closedEntry{order: start, position: key, key: key[8:], window: q.window(start), value: value}, visit)
	})
	return q.info.wrap(err)
}

func (q *windowedQuery[K, A]) row(e closedEntry) (ColdRow, error) { return q.closedRow(e) }

func (q *windowedQuery[K, A]) coldItem(r ColdRow) (Item, error) {
	item, err := q.rowItem(r)
	item.Position = append(binary.BigEndian.AppendUint64(nil, uint64(r.Window.Start)^(1<<63)), r.Key...)
	return item, err
}

func (q *windowedQuery[K, A]) placeOf(position []byte) (ColdPlace, error) {
	if len(position) < 8 {
		return ColdPlace{}, q.info.wrap(fmt.Errorf("%w: place %x has no window", ErrCorrupt, position))
	}
	start := int64(binary.BigEndian.Uint64(position) ^ (1 << 63))
	return ColdPlace{Key: position[8:], Window: window.Window{Start: start, End: start}}, nil
}

func (q *spansQuery[K]) byKey() bool { return true }

// scanClosed reads the whole store: its entries are not in the order of time.
func (q *spansQuery[K]) scanClosed(v *View, from, to int64, after []byte, visit func(closedEntry) (bool, error)) error {
	span := q.info.span()
	if after != nil {
		span.Lower = append(append(q.info.prefix[:prefixLen:prefixLen], after...), 0)
	}
	err := scanView(v.ctx, v.snapshot, span, func(key, value []byte) (bool, error) {
		key = key[prefixLen:]
		inner, x, err := splitSpanKey(key)
		if err != nil {
			return false, err
		}
		if at := q.due(x); at >= from && at < to {
			return ifFinal(closedEntry{order: at, position: key, key: inner, window: x, value: value}, visit)
		}
		return true, nil
	})
	return q.info.wrap(err)
}

func (q *spansQuery[K]) row(e closedEntry) (ColdRow, error) { return q.closedRow(e) }

func (q *spansQuery[K]) coldItem(r ColdRow) (Item, error) {
	item, err := q.rowItem(r)
	item.Position = appendSpanKey(nil, r.Key, r.Window)
	return item, err
}

func (q *spansQuery[K]) placeOf(position []byte) (ColdPlace, error) {
	key, x, err := splitSpanKey(position)
	return ColdPlace{Key: key, Window: x}, q.info.wrap(err)
}

// closedRow turns an entry of the engine into a row.
func (q *keyQuery[K]) closedRow(e closedEntry) (ColdRow, error) {
	time, f, value, err := splitLive(e.value)
	if err != nil {
		return ColdRow{}, q.info.wrap(err)
	}
	r := ColdRow{
		Key: append([]byte{}, e.key...), Window: e.window, Value: append([]byte{}, value...),
		Time: time, Sequence: max(0, f.Sequence()-1),
	}
	r.Item, err = q.item(e.key, e.value)
	r.Item.Window = &r.Window
	return r, err
}

// rowItem is item for a row.
func (q *keyQuery[K]) rowItem(r ColdRow) (Item, error) {
	value := binary.BigEndian.AppendUint64(nil, uint64(r.Time))
	value = append(append(value, noFiring()...), r.Value...)
	item, err := q.item(r.Key, value)
	item.Window, item.Final = &r.Window, true
	return item, err
}

// Compare orders places: by key, start and end if byKey, or by start and key; then
// by partition.
func (p ColdPlace) Compare(o ColdPlace, byKey bool) int {
	keys, starts := bytes.Compare(p.Key, o.Key), cmp.Compare(p.Window.Start, o.Window.Start)
	partitions := cmp.Compare(p.Partition, o.Partition)
	if byKey {
		return cmp.Or(keys, starts, cmp.Compare(p.Window.End, o.Window.End), partitions)
	}
	return cmp.Or(starts, keys, partitions)
}
