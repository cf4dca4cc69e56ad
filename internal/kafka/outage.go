package kafka

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// outageReminder is how often the log is told of an outage that lasts.
const outageReminder = time.Minute

// outage tells the log when no broker answers, once and then now and then, and
// when one does again.
type outage struct {
	logger *slog.Logger

	mu    sync.Mutex // guards what follows; never held across a wait
	since time.Time  // when it began; zero while brokers answer
	told  time.Time
}

// noAnswer notes that no broker answered.
func (o *outage) noAnswer(tried []string, err error) {
	o.mu.Lock()
	now := time.Now()
	if o.since.IsZero() {
		o.since = now
	}
	quiet := !o.told.IsZero() && now.Sub(o.told) < outageReminder
	if !quiet {
		o.told = now
	}
	lasted := now.Sub(o.since)
	o.mu.Unlock()
	if !quiet {
		o.logger.LogAttrs(context.Background(), slog.LevelWarn, "no broker answers: trying again",
			slog.Any("tried", tried), slog.Duration("lasted", lasted.Round(time.Second)), slog.Any("error", err))
	}
}

// answered notes that a broker answered.
func (o *outage) answered() {
	o.mu.Lock()
	since := o.since
	o.since, o.told = time.Time{}, time.Time{}
	o.mu.Unlock()
	if !since.IsZero() {
		o.logger.LogAttrs(context.Background(), slog.LevelInfo, "brokers answer again",
			slog.Duration("lasted", time.Since(since).Round(time.Millisecond)))
	}
}
