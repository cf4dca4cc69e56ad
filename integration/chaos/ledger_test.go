package chaos

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/streams"
)

// sent is a reading as it was sent.
type sent struct {
	sensor string
	reading
}

// closingGroup is of the readings that end a run: they close the windows of all
// others.
const closingGroup = "closing"

// bucket is a group and the start of a window.
type bucket struct {
	group string
	start int64
}

func (b bucket) String() string {
	return fmt.Sprintf("%s at %s", b.group, time.UnixMilli(b.start).UTC().Format("15:04:05"))
}

func bucketOf(group string, at int64) bucket {
	size := windowSize.Milliseconds()
	return bucket{group, at / size * size}
}

// ledger is what was sent against what came out.
type ledger struct {
	guarantee streams.Guarantee
	truth     map[bucket]sums
	numbers   map[string]int64 // by group: the sum of the numbers of all its readings
	results   map[bucket][]result
	late      map[bucket]sums
	onTime    []string // what was late that was sent in time

	windows, readings, lates, repeats int64
}

func newLedger(guarantee streams.Guarantee, all []sent) *ledger {
	l := &ledger{guarantee: guarantee, truth: map[bucket]sums{}, numbers: map[string]int64{}}
	perSensor := map[string]int64{}
	for _, s := range all {
		group := groupOf(s.sensor)
		b := bucketOf(group, s.At)
		sum := l.truth[b]
		sum.add(s.reading)
		l.truth[b] = sum
		perSensor[s.sensor]++
		l.numbers[group] += perSensor[s.sensor]
	}
	l.windows, l.readings = int64(len(l.truth)), int64(len(all))
	return l
}

// read takes what the topology has sent.
func (l *ledger) read(results, late []*kgo.Record) error {
	l.results, l.late, l.onTime, l.lates = map[bucket][]result{}, map[bucket]sums{}, nil, 0
	for _, rec := range results {
		var r result
		if err := json.Unmarshal(rec.Value, &r); err != nil {
			return fmt.Errorf("result at %d: %w", rec.Offset, err)
		}
		b := bucket{string(rec.Key), r.Start}
		l.results[b] = append(l.results[b], r)
	}
	for _, rec := range late {
		var r reading
		if err := json.Unmarshal(rec.Value, &r); err != nil {
			return fmt.Errorf("late reading at %d: %w", rec.Offset, err)
		}
		b := bucketOf(string(rec.Key), r.At)
		sum := l.late[b]
		sum.add(r)
		l.late[b] = sum
		l.lates++
		if !r.Behind {
			l.onTime = append(l.onTime, fmt.Sprintf("reading %d of %v was late and had been sent in time", r.ID, b))
		}
	}
	return nil
}

// final returns the last final result of a window.
func (l *ledger) final(b bucket) (result, bool) {
	for _, r := range slices.Backward(l.results[b]) {
		if r.Final {
			return r, true
		}
	}
	return result{}, false
}

// open returns the windows that have no final result though something was counted
// in them.
func (l *ledger) open() (open []bucket) {
	for b, want := range l.truth {
		if _, ok := l.final(b); !ok && l.late[b].Count < want.Count {
			open = append(open, b)
		}
	}
	return open
}

// differences returns all that is not as promised.
func (l *ledger) differences() (found []string) {
	wrong := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	once := l.guarantee == streams.ExactlyOnce
	numbers := map[string]int64{}
	for b, want := range l.truth {
		last, _ := l.final(b)
		got := last.Sums
		got.merge(l.late[b])
		numbers[b.group] += got.Numbers
		l.repeats += got.Count - want.Count
		switch same := got.Count == want.Count && got.Sum == want.Sum && got.Hashes == want.Hashes; {
		case once && !same, got.Count < want.Count, got.Sum < want.Sum:
			wrong("%v: sent %d readings with sum %d; final result %d with sum %d, and %d late with sum %d; results: %v",
				b, want.Count, want.Sum, last.Sums.Count, last.Sums.Sum, l.late[b].Count, l.late[b].Sum, l.results[b])
		}
	}
	for b := range l.results {
		if _, ok := l.truth[b]; !ok && b.group != closingGroup {
			wrong("%v: %v where nothing was sent", b, l.results[b])
		}
	}
	for group, want := range l.numbers {
		if got := numbers[group]; got < want || once && got != want {
			wrong("group %s: the numbers of the readings sum up to %d, want %d: a store was set back or counted twice", group, got, want)
		}
	}
	if !once {
		return found
	}
	for b, results := range l.results {
		for i, r := range results {
			if r.Sequence != int64(i) || r.Final != (i == len(results)-1) && b.group != closingGroup {
				wrong("%v: results out of order, or final more than once: %v", b, results)
				break
			}
		}
	}
	return append(found, l.onTime...)
}
