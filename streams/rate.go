package streams

import (
	"math"
	"sync"
	"time"
)

// rate bounds how many records a second are read of sources, over all workers of
// an instance. Reading runs ahead a little, and rests then until what was read
// should have taken so long. A nil rate bounds nothing. The methods may be called
// by any goroutine.
type rate struct {
	perSecond float64

	mu   sync.Mutex // guards what follows
	paid time.Time  // when what was read should be done
}

// newRate returns the rate of so many records a second; nil for 0.
func newRate(perSecond int) *rate {
	if perSecond == 0 {
		return nil
	}
	return &rate{perSecond: float64(perSecond)}
}

// ahead is how far reading may run ahead: longer than a worker sleeps that has
// nothing to do, so that it does not rest for longer than it should.
const ahead = 100 * time.Millisecond

// slice returns how many records may be read at once: those of a tenth of a
// second.
func (r *rate) slice() int {
	if r == nil {
		return math.MaxInt
	}
	return max(1, int(r.perSecond/10))
}

// resting reports whether sources are not to be read at a time.
func (r *rate) resting(now time.Time) bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.paid.Sub(now) > ahead
}

// read takes note of n records that were read, and reports whether to rest now.
// Time in which nothing was read is not saved up.
func (r *rate) read(n int, now time.Time) (rest bool) {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if n > 0 {
		if r.paid.Before(now) {
			r.paid = now
		}
		r.paid = r.paid.Add(time.Duration(float64(n) / r.perSecond * float64(time.Second)))
	}
	return r.paid.Sub(now) > ahead
}
