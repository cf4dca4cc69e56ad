package streams

import (
	"fmt"
	"maps"
	"sync"
	"time"
)

// load writes events for as long as a test wants.
type load struct {
	w    *world
	stop chan struct{}
	done chan struct{}

	mu   sync.Mutex
	want truth
}

// startLoad writes an event to each of the partitions every interval.
func (w *world) startLoad(partitions int32, interval time.Duration) *load {
	return w.load(interval, partitions, func(n int, p int32) string { return fmt.Sprint("k", (n+int(p))%7) })
}

// startKeyedLoad does so with one key a partition.
func (w *world) startKeyedLoad(interval time.Duration) *load {
	return w.load(interval, partitions, func(_ int, p int32) string { return partitionKey(p) })
}

func partitionKey(p int32) string { return fmt.Sprint("p", p) }

func (w *world) load(interval time.Duration, partitions int32, key func(n int, p int32) string) *load {
	l := &load{w: w, stop: make(chan struct{}), done: make(chan struct{}), want: truth{}}
	w.wg.Go(func() {
		defer close(l.done)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for n := 0; ; n++ {
			var events []event
			for p := range partitions {
				events = append(events, count(p, key(n, p), time.Now()))
			}
			w.write(events...)
			l.mu.Lock()
			l.want.add(events...)
			l.mu.Unlock()
			select {
			case <-l.stop:
				return
			case <-w.ending:
				return
			case <-ticker.C:
			}
		}
	})
	return l
}

// end ends the load and returns the truth about it.
func (l *load) end() truth {
	close(l.stop)
	<-l.done
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.want)
}

// drain runs one instance to the end of what was written.
func (w *world) drain() {
	w.t.Helper()
	w.start("drain", newDisk(), counts(w.t), func(c *Config) { c.UntilEnd = true }).wait()
}
