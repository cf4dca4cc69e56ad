package window

import "maps"

// Alignment finds the slowest of the partitions that are read side by side, so
// that those which run too far ahead of it in event time can be paused; see
// Strategy.AlignWithin. P names a partition. The zero value is ready for use. It
// is not safe for use by several goroutines.
//
// It cannot come to a standstill: the slowest is never ahead of itself, and who
// has nothing to bring is not in it.
type Alignment[P comparable] struct {
	// waits has the watermarks of those that others wait for.
	waits   map[P]int64
	slowest P
	// stale is set when the slowest must be looked for again.
	stale bool
}

// Set takes note of a partition's watermark, and whether the others are to wait
// for it: see PartitionClock.Waits.
func (a *Alignment[P]) Set(p P, watermark int64, waits bool) {
	if !waits {
		a.Remove(p)
		return
	}
	before, known := a.waits[p]
	if known && before == watermark {
		return
	}
	if a.waits == nil {
		a.waits = map[P]int64{}
	}
	a.waits[p] = watermark
	a.stale = a.stale || p == a.slowest || len(a.waits) == 1 || watermark < a.waits[a.slowest]
}

// Remove forgets a partition.
func (a *Alignment[P]) Remove(p P) {
	delete(a.waits, p)
	a.stale = a.stale || p == a.slowest
}

// Keep forgets all partitions but those that keep says yes to.
func (a *Alignment[P]) Keep(keep func(P) bool) {
	maps.DeleteFunc(a.waits, func(p P, _ int64) bool { return !keep(p) })
	a.stale = true
}

// Slowest returns the partition that is furthest behind of those that others wait
// for, and its watermark; ok is false if they wait for none.
func (a *Alignment[P]) Slowest() (p P, watermark int64, ok bool) {
	if len(a.waits) == 0 {
		return p, MaxTime, false
	}
	if a.stale {
		first := true
		for q, w := range a.waits {
			if first || w < a.waits[a.slowest] {
				a.slowest, first = q, false
			}
		}
		a.stale = false
	}
	return a.slowest, a.waits[a.slowest], true
}

// Limit returns the watermark beyond which a partition is to be paused that is
// read at most within milliseconds ahead of the slowest; MaxTime if the others
// wait for nobody.
func (a *Alignment[P]) Limit(within int64) int64 {
	_, w, ok := a.Slowest()
	if !ok {
		return MaxTime
	}
	return addSaturated(w, within)
}
