package streams

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millrace/millrace/stores"
)

// pressureLevel says how near the process is to its memory budget.
type pressureLevel int

const (
	relaxed pressureLevel = iota
	tight                 // clean live objects are shed, and then Pebble's cache
	severe                // the same, and the budget is all but used up
)

// String returns the level's name in the log.
func (l pressureLevel) String() string { return [...]string{"relaxed", "tight", "severe"}[l] }

// liveShare is how much of a process's memory can be live: the collector needs the
// rest for garbage, or it does nothing but collect.
func liveShare(process int64) int64 { return process / 4 * 3 }

// Bounds of the levels, in per cent of the budget. What counts is what the process
// takes and what it will have grown by in pressureAhead, so that it acts before the
// budget is used up.
const (
	becomesTight  = 85
	becomesSevere = 95
	leavesSevere  = 90
	leavesTight   = 75
)

// How pressure is judged and met.
const (
	pressureStep  = time.Second
	pressureAhead = 5 * time.Second
	// pressureCalm is how long a lower level must have held before it counts.
	pressureCalm = 10 * time.Second
	// smoothed: the newest growth counts for this part.
	smoothed = 4
	// A step sheds no more than mostShed's part of what there is, and leaves
	// leastShare's part of a share; a relaxed one gives givenBack's part back.
	mostShed, leastShare, givenBack = 4, 16, 8
)

// resizable is a Storage whose cache can be made smaller.
type resizable interface{ ResizeCache(bytes int64) }

// pressure keeps the process within its memory budget by what can be had again:
// first live objects that are clean, which are in the stores below, then the blocks
// that Pebble keeps, which are on the disk. When there is room again the cache gets
// its share back first. It is a prometheus.Collector.
type pressure struct {
	budget  int64 // of what is live
	process int64 // what the process may take
	shares  shares
	memory  *memory
	objects *stores.Budget
	read    func() footprint
	log     *slog.Logger
	// shed has the workers evict what the objects' limit does not allow any more.
	shed func()

	// The goroutine of run owns these.
	last     footprint
	lastAt   time.Time
	unseen   int64     // shed, and still counted by the runtime
	growth   float64   // bytes a second, from collection to collection, smoothed
	high     time.Time // when the present level was last called for
	overfull bool      // state in memory is above its ceiling

	limits, level, pressed *prometheus.Desc

	mu        sync.Mutex // guards what follows
	now       pressureLevel
	cache     int64 // what Pebble's cache may hold
	footprint int64
}

func newPressure(in *Instance) *pressure {
	labels := prometheus.Labels{"application": in.cfg.Application}
	p := &pressure{
		budget: liveShare(in.cfg.ProcessMemory), process: in.cfg.ProcessMemory, shares: in.shares, memory: in.memory, objects: in.memory.objects, log: in.log,
		read: in.memory.readFootprint, shed: in.shedObjects, cache: in.shares.cache,
		limits:  prometheus.NewDesc("millrace_memory_limit_bytes", "Memory that the parts of the instance may hold at present.", []string{"part"}, labels),
		level:   prometheus.NewDesc("millrace_memory_pressure", "0 while the process is well within its memory budget, 1 if that is tight, 2 if it is all but used up.", nil, labels),
		pressed: prometheus.NewDesc("millrace_memory_footprint_bytes", "Memory that the process takes and cannot give back by collecting garbage.", nil, labels),
	}
	if in.cfg.hooks.footprint != nil {
		p.read = in.cfg.hooks.footprint
	}
	return p
}

// shedObjects has each worker evict clean objects.
func (in *Instance) shedObjects() {
	for _, w := range in.crew() {
		w.post(func(context.Context) error {
			for _, r := range w.tasks {
				r.state.DB.Shrink()
			}
			return nil
		})
	}
}

// run looks at the process until ctx ends.
func (p *pressure) run(ctx context.Context) {
	if p == nil {
		return
	}
	ticker := time.NewTicker(pressureStep)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			p.step(time.Now())
		}
	}
}

// step looks at the process once, and sheds or gives back.
func (p *pressure) step(now time.Time) {
	f := p.read()
	if f.cycle != p.last.cycle || p.lastAt.IsZero() {
		// Only a collection tells what is live, and how fast that grows.
		p.unseen = 0
		if since := now.Sub(p.lastAt); !p.lastAt.IsZero() && since > 0 {
			p.growth += (float64(f.bytes-p.last.bytes)/since.Seconds() - p.growth) / smoothed
		}
		p.last, p.lastAt = f, now
	}
	ahead := max(0, f.bytes-p.unseen) + int64(max(0, p.growth)*pressureAhead.Seconds())
	p.mu.Lock()
	before := p.now
	cache := p.cache
	p.mu.Unlock()
	level := p.judge(before, ahead)
	if level >= before {
		p.high = now
	} else if now.Sub(p.high) < pressureCalm {
		level = before
	}
	limit := p.objects.Limit()
	most := p.hotMost()
	switch {
	case level != relaxed:
		limit, cache = p.shrunk(limit, cache, ahead-p.part(becomesTight))
	case ahead < p.part(leavesTight):
		room := p.part(leavesTight) - ahead
		cache, room = grown(cache, p.shares.cache, room)
		limit, _ = grown(limit, most, room)
	}
	limit = min(limit, most)
	if limit != p.objects.Limit() {
		held := p.objects.Used()
		p.objects.SetLimit(limit)
		if held > limit {
			p.unseen += held - limit
			p.shed()
		}
	}
	p.resize(cache)
	p.mu.Lock()
	p.now, p.footprint = level, f.bytes
	p.mu.Unlock()
	if level != before {
		log := p.log.Warn
		if level < before {
			log = p.log.Info
		}
		log("memory pressure", "level", level.String(), "was", before.String(), "budget_bytes", p.process, "footprint_bytes", f.bytes,
			"soon_bytes", ahead, "objects_limit", limit, "cache_limit", cache)
	}
}

// part is so many per cent of the budget.
func (p *pressure) part(percent int64) int64 { return p.budget / 100 * percent }

// judge returns the level that follows from what the process soon takes. A level
// is left later than it was reached, so that it does not flutter.
func (p *pressure) judge(now pressureLevel, soon int64) pressureLevel {
	switch {
	case soon >= p.part(becomesSevere) || now == severe && soon >= p.part(leavesSevere):
		return severe
	case soon >= p.part(becomesTight) || now >= tight && soon >= p.part(leavesTight):
		return tight
	}
	return relaxed
}

// shrunk returns limits that are lower by so many bytes, the objects' first.
func (p *pressure) shrunk(limit, cache, excess int64) (objects, blocks int64) {
	if excess <= 0 {
		return limit, cache
	}
	held := min(limit, p.objects.Used())
	least := p.shares.hot / leastShare
	shed := min(excess, max(held/mostShed, 1<<20), max(0, held-least))
	limit = max(least, held-shed)
	if shed < excess && held-shed <= least {
		cache = max(p.shares.cache/leastShare, cache-min(excess-shed, max(cache/mostShed, 1<<20)))
	}
	return limit, cache
}

// grown returns a limit that is nearer to its share, and the room that is left.
func grown(limit, share, room int64) (grown, left int64) {
	more := max(0, min(share-limit, share/givenBack, room))
	return limit + more, room - more
}

// hotMost is how much live objects may hold at most: the hot share, less the state
// in memory, if that is where it is kept.
func (p *pressure) hotMost() int64 {
	engines, inMemory := p.memory.stateInMemory()
	if !inMemory {
		return p.shares.hot
	}
	if over := engines > p.shares.hot; over != p.overfull {
		p.overfull = over
		if over {
			p.log.Warn("state in memory is above its ceiling, and none of it can be shed: raise the ceiling, or keep state in Pebble",
				"state_bytes", engines, "ceiling_bytes", p.shares.hot)
		} else {
			p.log.Info("state in memory is below its ceiling again", "state_bytes", engines, "ceiling_bytes", p.shares.hot)
		}
	}
	return max(p.shares.hot/leastShare, p.shares.hot-engines)
}

// resize changes what Pebble's cache may hold.
func (p *pressure) resize(cache int64) {
	p.mu.Lock()
	changed := cache != p.cache
	p.cache = cache
	p.mu.Unlock()
	if changed {
		p.memory.resizeCache(cache)
		p.log.Debug("resized Pebble's cache", "bytes", cache)
	}
}

// Describe implements prometheus.Collector.
func (p *pressure) Describe(to chan<- *prometheus.Desc) {
	to <- p.limits
	to <- p.level
	to <- p.pressed
}

// Collect implements prometheus.Collector.
func (p *pressure) Collect(to chan<- prometheus.Metric) {
	p.mu.Lock()
	level, cache, taken := p.now, p.cache, p.footprint
	p.mu.Unlock()
	gauge := func(d *prometheus.Desc, v int64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	gauge(p.limits, p.objects.Limit(), "objects")
	gauge(p.limits, cache, "cache")
	gauge(p.limits, p.process, "process")
	gauge(p.level, int64(level))
	gauge(p.pressed, taken)
}
